//! `workmux remove`, and the end of a worktree after a merge: window, sandboxes, directory, branch and record go, work that
//! exists nowhere else does not. What there is to lose is looked at twice: for the user's answer, and once nobody works
//! there any more.

use color_eyre::eyre::{Report, Result, WrapErr as _};
use nix::sys::signal::Signal;

use super::changes::{Behalf, Work};
use super::find::{Here, Known};
use super::hooks::{About, Hook};
use super::record::{Entry, Parent};
use super::{live, show};
use crate::config::Config;
use crate::error::{Failure, hinted};
use crate::git::{Boundary, Repository};
use crate::launch::{self, Given};
use crate::runs::{self, CheckoutLock};
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
    let main = Repository::discover(&here.main).map_err(Report::new)?;
    let mut losses = Vec::new();
    for known in &chosen {
        made(known)?;
        losses.push(if wish.force {
            Vec::new()
        } else {
            import(known, surroundings)?;
            lost(known, &work, main_branch.as_deref(), wish.keep_branch, &here, surroundings)?
        });
    }
    if !wish.force && !agreed(&chosen, &losses, wish.all || wish.gone)? {
        crate::ui::print("Aborted.");
        return Ok(0);
    }
    let mut failed = 0u8;
    for (known, losses) in chosen.iter().zip(&losses) {
        let branch = known
            .checkout
            .branch
            .as_deref()
            .filter(|branch| !wish.keep_branch && main_branch.as_deref() != Some(branch));
        let agreed =
            Only::Losing { agreed: losses, main_branch: main_branch.as_deref(), keep_branch: wish.keep_branch };
        let end = End {
            config: &config,
            hooks: !wish.no_hooks,
            branch: branch.is_some(),
            only: if wish.force { Only::Anyway } else { agreed },
            main: &main,
            behalf: Behalf::User,
        };
        match crate::task::stoppable_by(|signal| signal != Signal::SIGHUP, |_| end.of(known, &here, surroundings)) {
            Ok(()) => {
                let branch = branch.map(|branch| format!(" and branch '{}'", text::line(branch))).unwrap_or_default();
                crate::ui::print(&format!("✓ Removed worktree '{}'{branch}", text::line(&known.name)));
            }
            Err(failure) => {
                if failure.code > 128 {
                    // A signal: the others stay too.
                    return Err(failure);
                }
                failed = failure.code.max(1);
                crate::ui::raw_error(&crate::error::render(&failure.report));
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

/// What exists nowhere else, and what would be ended.
fn lost(
    known: &Known,
    work: &Work,
    main_branch: Option<&str>,
    keep_branch: bool,
    here: &Here,
    surroundings: &Surroundings,
) -> Result<Vec<String>> {
    let mut lost = Vec::new();
    if known.entry.as_ref().is_some_and(|entry| entry.state().busy()) {
        lost.push("its agent is at work".to_owned());
    }
    lost.extend(sandboxes(known, surroundings));
    let admin = &known.checkout.admin_dir;
    if admin.join("locked").exists() {
        lost.push("it is locked (git worktree lock)".to_owned());
    }
    if known.checkout.root.is_dir() {
        let repository = match known.repository() {
            Ok(repository) => repository,
            Err(e) => {
                lost.push(format!("it cannot be looked at: {e:#}"));
                return Ok(lost);
            }
        };
        let uncommitted = Work::new(&repository, Behalf::User)?.uncommitted(true).map_err(Report::new)?;
        if let Some(first) = uncommitted.first() {
            let more =
                if uncommitted.len() > 1 { format!(" and {} more", uncommitted.len() - 1) } else { String::new() };
            lost.push(format!("not committed: {first}{more}"));
        }
        if ["rebase-merge", "rebase-apply", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG"]
            .iter()
            .any(|under_way| admin.join(under_way).exists())
        {
            lost.push("something is under way there (git status says what)".to_owned());
        }
    }
    lost.extend(held(known, here)?);
    let commits = |count: usize| if count == usize::MAX { "commits".to_owned() } else { format!("{count} commit(s)") };
    let Some(branch) = &known.checkout.branch else {
        // Also of a branch that is being rebased.
        let head = match known.checkout.root.is_dir() {
            true => Work::new(&known.repository()?, Behalf::User)?.commit("HEAD").map_err(Report::new)?,
            false => None,
        };
        if let Some(head) = head {
            let only = work.only_here(&head, None).map_err(Report::new)?;
            lost.extend((only > 0).then(|| format!("{} on no branch", commits(only))));
        }
        return Ok(lost);
    };
    if keep_branch || main_branch == Some(branch) {
        return Ok(lost);
    }
    let base = known.entry.as_ref().and_then(|entry| entry.record.base.clone());
    let mut into = None;
    for place in base.iter().map(String::as_str).chain(main_branch).filter(|place| place != branch) {
        if into.is_none() && work.branch(place).map_err(Report::new)?.is_some() {
            into = Some(place);
        }
    }
    let Some(tip) = work.branch(branch).map_err(Report::new)? else { return Ok(lost) };
    let (ahead, place) = match into {
        Some(into) => (work.ahead(branch, into).map_err(Report::new)?, format!("not in '{}'", text::line(into))),
        None => (work.only_here(&tip, Some(branch)).map_err(Report::new)?, "on no other branch".to_owned()),
    };
    lost.extend((ahead > 0).then(|| format!("{} {place}", commits(ahead))));
    Ok(lost)
}

/// What lies in a worktree that is no part of its branch and is not looked into.
pub(crate) fn held(known: &Known, here: &Here) -> Result<Option<String>> {
    if std::fs::read_dir(known.checkout.admin_dir.join("modules")).is_ok_and(|mut modules| modules.next().is_some()) {
        return Ok(Some("the repositories of its submodules".to_owned()));
    }
    let root = &known.checkout.root;
    let all = here.all()?;
    let inside = all.iter().find(|other| other.checkout.root != *root && other.checkout.root.starts_with(root));
    Ok(inside.map(|inside| format!("another worktree, '{}'", text::line(&inside.name))))
}

/// Sandboxes that work in a worktree beside its agent, in words.
pub(crate) fn sandboxes(known: &Known, surroundings: &Surroundings) -> Option<String> {
    let own = known.entry.as_ref().map(Entry::state).filter(super::record::State::running);
    match live::others(&surroundings.state, &known.checkout.root, own.as_ref()).len() {
        0 => None,
        1 => Some("another sandbox works".to_owned()),
        several => Some(format!("{several} other sandboxes work")),
    }
}

/// On what condition a worktree goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Only<'a> {
    /// On none.
    Anyway,
    /// If no more is lost than the user has agreed to.
    Losing {
        /// What was shown.
        agreed: &'a [String],
        /// The main branch.
        main_branch: Option<&'a str>,
        /// The branch stays.
        keep_branch: bool,
    },
    /// If its branch is at this commit, and nothing lies there uncommitted.
    Merged(&'a str),
}

/// The end of a worktree.
pub(crate) struct End<'a> {
    /// What holds here.
    pub config: &'a Config,
    /// Run `pre_remove`.
    pub hooks: bool,
    /// The branch goes as well.
    pub branch: bool,
    /// On this condition, looked at when nobody works there any more.
    pub only: Only<'a>,
    /// The main checkout.
    pub main: &'a Repository,
    /// Who wants it.
    pub behalf: Behalf,
}

impl End<'_> {
    /// Ends it.
    pub(crate) fn of(&self, known: &Known, here: &Here, surroundings: &Surroundings) -> Result<()> {
        let work = Work::new(self.main, self.behalf)?;
        let root = &known.checkout.root;
        // Not in a directory that has come in its place.
        if self.hooks && known.repository().is_ok() {
            let about = About {
                handle: &known.name,
                worktree: root,
                main: &here.main,
                config: &here.main,
                branch: known.checkout.branch.as_deref().unwrap_or_default(),
                target: None,
            };
            // Not under the lock: a hook may start sandboxes.
            Hook::PreRemove.run(self.config, &about)?;
        }
        let _alone = CheckoutLock::alone(&surroundings.state).wrap_err("nothing was removed")?;
        same(known, here)?;
        if let Some(entry) = &known.entry {
            show::close(entry)?;
        }
        if !crate::mutant::off("p9_remove") {
            live::end(&surroundings.state, root)?;
        }
        match import(known, surroundings) {
            Err(e) if !matches!(self.only, Only::Anyway) => return Err(e),
            _ => {}
        }
        self.still(known, &work, here, surroundings)?;
        work.remove_worktree(root, Some(&known.checkout.admin_dir))?;
        if let Some(base) = root.parent().filter(|base| base.ends_with(super::names::usual(&here.main))) {
            // Ours, and gone with the last worktree in it.
            let _others = std::fs::remove_dir(base);
        }
        if let Some(entry) = &known.entry {
            adopt(entry, here);
            entry.remove()?;
        }
        if let (true, Some(branch)) = (self.branch, &known.checkout.branch) {
            let kept = || format!("the worktree is removed, its branch '{}' is not", text::line(branch));
            work.delete_branch(branch).wrap_err_with(kept)?;
        }
        Ok(())
    }

    /// Looks again.
    fn still(&self, known: &Known, work: &Work, here: &Here, surroundings: &Surroundings) -> Result<()> {
        let name = text::line(&known.name);
        match self.only {
            Only::Anyway => Ok(()),
            Only::Losing { agreed, main_branch, keep_branch } => {
                let now = lost(known, work, main_branch, keep_branch, here, surroundings)?;
                match now.iter().find(|loss| !agreed.contains(loss)) {
                    None => Ok(()),
                    Some(new) => Err(hinted(
                        format!("'{name}' is kept: there is more to lose now: {new}"),
                        format!("look at it, then remove it again: workmux remove {name}"),
                    )),
                }
            }
            Only::Merged(commit) => {
                let branch = known.checkout.branch.as_deref().unwrap_or_default();
                let now = work.branch(branch).map_err(Report::new)?;
                let left = match known.checkout.root.is_dir() {
                    true => Work::new(&known.repository()?, self.behalf)?.uncommitted(true).map_err(Report::new)?,
                    false => Vec::new(),
                };
                if now.as_deref() == Some(commit) && left.is_empty() {
                    return Ok(());
                }
                Err(hinted(
                    format!("'{name}' has new work since it was merged: it is kept"),
                    format!("look at it, then merge again: workmux merge {name}"),
                ))
            }
        }
    }
}

/// Refuses where another worktree has come in its place since it was looked up, or none is left.
fn same(known: &Known, here: &Here) -> Result<()> {
    let now = here.all()?.into_iter().find(|now| now.checkout.admin_dir == known.checkout.admin_dir);
    let id = |known: &Known| known.entry.as_ref().map(|entry| entry.record.id.clone());
    match now {
        Some(now) if now.checkout.root == known.checkout.root && id(&now) == id(known) => Ok(()),
        _ => Err(Report::msg(format!("'{}' has been removed meanwhile, by somebody else", text::line(&known.name)))),
    }
}

/// Agents that one in this worktree has started belong to who started that one.
fn adopt(gone: &Entry, here: &Here) {
    let id = Some(gone.record.id.as_str());
    for mut child in here.store.of_repository(&here.repository.common_dir) {
        let Some(parent) = child.record.parent.as_ref().filter(|parent| parent.record.as_deref() == id) else {
            continue;
        };
        let above = gone.record.parent.as_ref();
        child.record.parent = Some(Parent {
            run: above.map_or_else(|| parent.run.clone(), |above| above.run.clone()),
            record: above.and_then(|above| above.record.clone()),
            handle: above.and_then(|above| above.handle.clone()),
            family: parent.family.clone(),
            depth: parent.depth,
        });
        let _of_no_family = child.save();
    }
}

/// Refuses a worktree that somebody is still making.
pub(crate) fn made(known: &Known) -> Result<()> {
    match &known.entry {
        Some(entry) if !entry.complete() && !entry.abandoned() => Err(hinted(
            format!("'{}' is still being made", text::line(&known.name)),
            "wait for the command that makes it, or end that",
        )),
        _ => Ok(()),
    }
}

/// Brings what a sandbox of this worktree has committed to the host, now.
pub(crate) fn import(known: &Known, surroundings: &Surroundings) -> Result<()> {
    if !known.checkout.root.is_dir() || !Boundary::exists(&surroundings.state, &known.checkout.root) {
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
        let _not_there = work.take_away(&record.worktree);
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
