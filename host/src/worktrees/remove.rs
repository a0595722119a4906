//! `workmux remove`, and the end of a worktree after a merge: window, sandbox, directory, branch and record go, work that
//! exists nowhere else does not.

use color_eyre::eyre::{Report, Result};

use super::changes::{Behalf, Work};
use super::find::{Here, Known};
use super::hooks::{About, Hook};
use super::record::Entry;
use super::show;
use crate::config::Config;
use crate::error::{Failure, hinted};
use crate::git::{Boundary, Repository};
use crate::launch::{self, Given};
use crate::runs;
use crate::surroundings::Surroundings;
use crate::text;

/// `remove`
#[derive(Debug, Default)]
pub(crate) struct Remove {
    /// Which; none = the one the user is in.
    pub names: Vec<String>,
    /// Those whose upstream branch is gone.
    pub gone: bool,
    /// All of this repository.
    pub all: bool,
    /// Whatever is in them.
    pub force: bool,
    /// The branches stay.
    pub keep_branch: bool,
    /// Without `pre_remove`.
    pub no_hooks: bool,
}

const NEEDED: [&str; 3] = ["main_branch", "pre_remove", "hook_shell"];

/// Removes worktrees.
pub(crate) fn remove(wish: &Remove, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    let work = Work::new(&here.repository, Behalf::User)?;
    let chosen = chosen(wish, &here, &work)?;
    if chosen.is_empty() {
        crate::ui::print("No worktrees to remove.");
        return Ok(0);
    }
    let can_ask = crate::ui::can_ask();
    let loaded = launch::configuration(&here.main, &here.repository, Given::default(), &NEEDED, can_ask, surroundings)?;
    let config = loaded.config(&NEEDED).map_err(Report::new)?.clone();
    let main_branch = work.main_branch(config.main_branch.as_deref())?;
    let mut failed = 0u8;
    let mut losses = Vec::new();
    for known in &chosen {
        import(known, surroundings)?;
        losses.push(lost(known, &work, main_branch.as_deref(), wish.keep_branch)?);
    }
    if !wish.force && !agreed(&chosen, &losses, wish.all || wish.gone)? {
        crate::ui::print("Aborted.");
        return Ok(0);
    }
    let main = Repository::discover(&here.main).map_err(Report::new)?;
    for known in &chosen {
        let end = End {
            config: &config,
            hooks: !wish.no_hooks,
            branch: !wish.keep_branch,
            unchanged: None,
            main: &here.main,
        };
        match end.of(known, &main, Behalf::User) {
            Ok(()) => {
                let branch = known.checkout.branch.as_deref().filter(|_| !wish.keep_branch);
                let branch = branch.map(|branch| format!(" and branch '{}'", text::line(branch))).unwrap_or_default();
                crate::ui::print(&format!("✓ Removed worktree '{}'{branch}", text::line(&known.name)));
            }
            Err(e) => {
                failed = 1;
                crate::ui::raw_error(&crate::error::render(&e));
            }
        }
    }
    Ok(failed)
}

fn chosen(wish: &Remove, here: &Here, work: &Work) -> Result<Vec<Known>> {
    if wish.all || wish.gone {
        let gone = if wish.gone { work.gone()? } else { Vec::new() };
        let mut all = here.all()?;
        all.retain(|known| {
            let branch = known.checkout.branch.as_ref();
            !known.checkout.main && (wish.all || branch.is_some_and(|branch| gone.contains(branch)))
        });
        return Ok(all);
    }
    if wish.names.is_empty() {
        return Ok(vec![here.named(None)?]);
    }
    let mut chosen: Vec<Known> = Vec::new();
    for name in &wish.names {
        let known = here.named(Some(name))?;
        if !chosen.iter().any(|other| other.checkout.root == known.checkout.root) {
            chosen.push(known);
        }
    }
    Ok(chosen)
}

/// Asks where something would be lost, and before several are removed at once. Without a terminal the first is refused.
fn agreed(chosen: &[Known], losses: &[Vec<String>], several: bool) -> Result<bool> {
    let lost = losses.iter().any(|loss| !loss.is_empty());
    if !lost && !several {
        return Ok(true);
    }
    for (known, loss) in chosen.iter().zip(losses).filter(|(_, loss)| several || !loss.is_empty()) {
        let loss = if loss.is_empty() { String::new() } else { format!(": {}", loss.join("; ")) };
        crate::ui::note(&format!("'{}'{loss}", text::line(&known.name)));
    }
    if !crate::ui::can_ask() && lost {
        return Err(hinted("something would be lost", "commit and merge it, or remove it with --force"));
    }
    Ok(crate::ui::confirm(if lost { "Remove, and lose this?" } else { "Remove all of these?" }))
}

/// What exists nowhere else.
fn lost(known: &Known, work: &Work, main_branch: Option<&str>, keep_branch: bool) -> Result<Vec<String>> {
    let mut lost = Vec::new();
    if known.entry.as_ref().is_some_and(|entry| entry.state().busy()) {
        lost.push("its agent is at work".to_owned());
    }
    if known.checkout.root.is_dir() {
        let repository = known.repository()?;
        let uncommitted = Work::new(&repository, Behalf::User)?.uncommitted(true).map_err(Report::new)?;
        if let Some(first) = uncommitted.first() {
            let more =
                if uncommitted.len() > 1 { format!(" and {} more", uncommitted.len() - 1) } else { String::new() };
            lost.push(format!("not committed: {first}{more}"));
        }
    }
    if keep_branch {
        return Ok(lost);
    }
    if let Some(branch) = &known.checkout.branch {
        let base = known.entry.as_ref().and_then(|entry| entry.record.base.clone());
        let into = base.filter(|base| base != branch).or_else(|| main_branch.map(str::to_owned));
        if let Some(into) = into.filter(|into| into != branch) {
            let ahead = match work.branch(&into).map_err(Report::new)? {
                Some(_) => work.ahead(branch, &into).map_err(Report::new)?,
                None => usize::MAX,
            };
            if ahead > 0 {
                let commits = if ahead == usize::MAX { "commits".to_owned() } else { format!("{ahead} commit(s)") };
                lost.push(format!("{commits} not in '{}'", text::line(&into)));
            }
        }
    }
    Ok(lost)
}

/// The end of a worktree.
pub(crate) struct End<'a> {
    /// What holds here.
    pub config: &'a Config,
    /// Run `pre_remove`.
    pub hooks: bool,
    /// The branch goes as well.
    pub branch: bool,
    /// Only if the branch is still at this commit once the agent has ended, and nothing lies there uncommitted.
    pub unchanged: Option<&'a str>,
    /// The main checkout.
    pub main: &'a std::path::Path,
}

impl End<'_> {
    /// Ends it. `main` is not the checkout that goes.
    pub(crate) fn of(&self, known: &Known, main: &Repository, behalf: Behalf) -> Result<()> {
        let work = Work::new(main, behalf)?;
        let there = known.checkout.root.is_dir();
        if self.hooks && there {
            let about = About {
                handle: &known.name,
                worktree: &known.checkout.root,
                main: self.main,
                config: self.main,
                branch: known.checkout.branch.as_deref().unwrap_or_default(),
                target: None,
            };
            Hook::PreRemove.run(self.config, &about)?;
        }
        if let Some(entry) = &known.entry {
            show::close(entry)?;
        }
        let branch = known.checkout.branch.as_deref();
        if let (Some(expected), Some(branch)) = (self.unchanged, branch) {
            let now = work.branch(branch).map_err(Report::new)?;
            let left = if there {
                let repository = known.repository()?;
                Work::new(&repository, behalf)?.uncommitted(true).map_err(Report::new)?
            } else {
                Vec::new()
            };
            if now.as_deref() != Some(expected) || !left.is_empty() {
                return Err(hinted(
                    format!("'{}' has new work since it was merged: it is kept", text::line(&known.name)),
                    format!("look at it, then merge again: workmux merge {}", text::line(&known.name)),
                ));
            }
        }
        if there {
            work.remove_worktree(&known.checkout.root).map_err(Report::new)?;
        } else {
            work.prune_worktrees().map_err(Report::new)?;
        }
        if let Some(base) = known.checkout.root.parent().filter(|base| base.ends_with(super::names::usual(self.main))) {
            // Ours, and gone with the last worktree in it.
            let _others = std::fs::remove_dir(base);
        }
        if let (true, Some(branch)) = (self.branch, branch) {
            work.delete_branch(branch).map_err(Report::new)?;
        }
        if let Some(entry) = &known.entry {
            entry.remove()?;
        }
        Ok(())
    }
}

/// Brings what a sandbox of this worktree has committed to the host, now.
pub(crate) fn import(known: &Known, surroundings: &Surroundings) -> Result<()> {
    if !Boundary::exists(&surroundings.state, &known.checkout.root) {
        return Ok(());
    }
    let boundary = Boundary::enter(known.repository()?, &surroundings.state, &runs::new_id()?)?;
    boundary.leave()?;
    Ok(())
}

/// Takes away what a maker that was killed left: nobody has worked in it.
pub(crate) fn leftover(entry: &Entry, work: &Work) {
    let record = &entry.record;
    let _not_there = show::close(entry);
    if entry.abandoned() {
        let _not_there = work.remove_worktree(&record.worktree);
        if record.new_branch && matches!(work.branch(&record.branch), Ok(Some(_))) {
            let merged =
                record.base.as_ref().is_some_and(|base| work.ahead(&record.branch, base).is_ok_and(|n| n == 0));
            if merged {
                let _not_there = work.delete_branch(&record.branch);
            }
        }
    }
    let _next_time = entry.remove();
}
