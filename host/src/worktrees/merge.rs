//! `workmux merge`: a worktree's branch into the one it came from, then the worktree goes.
//!
//! Nothing is begun where something could be lost: what is not committed in the worktree, what is changed in the target's
//! checkout. A conflict leaves everything as it was (P34). The merge itself is computed (`combine`) before any checkout is
//! touched (`carry`).

use std::path::Path;

use color_eyre::eyre::{Report, Result, WrapErr as _};
use nix::sys::signal::Signal;

use super::carry::Move;
use super::changes::{Behalf, Way, Work};
use super::find::{Here, Known};
use super::hooks::{About, Hook};
use super::record::{Entry, State};
use super::remove::{self, End, Only};
use super::scratch;
use crate::config::Config;
use crate::error::{Failure, hinted};
use crate::git::Repository;
use crate::launch::{self, Given};
use crate::runs::CheckoutLock;
use crate::surroundings::Surroundings;
use crate::text;

/// `merge`
#[derive(Debug, Clone)]
pub(crate) struct Merge {
    /// Which worktree; none = the one the user is in.
    pub name: Option<String>,
    /// The branch to merge into; none = the one it was made from, else the main branch.
    pub into: Option<String>,
    /// How.
    pub way: Way,
    /// Although something is not committed.
    pub ignore_uncommitted: bool,
    /// The worktree stays.
    pub keep: bool,
    /// The worktree goes even where there was nothing to merge.
    pub cleanup: bool,
    /// Although its agent is at work.
    pub force: bool,
    /// Without configured hooks.
    pub no_hooks: bool,
}

const NEEDED: [&str; 4] = ["main_branch", "pre_merge", "pre_remove", "hook_shell"];

/// Merges for the user.
pub(crate) fn merge(wish: &Merge, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    let known = here.named(wish.name.as_deref())?;
    let can_ask = crate::ui::can_ask();
    let loaded = launch::configuration(&here.main, &here.repository, Given::default(), &NEEDED, can_ask, surroundings)?;
    if !wish.no_hooks && loaded.refusals(&["pre_merge"]).next().is_some() {
        return Err(hinted(
            "the project wants 'pre_merge' to run before a merge, and you have not confirmed it",
            "merge in a terminal, where you are asked, or without it: --no-hooks",
        )
        .into());
    }
    let config = loaded.config(&NEEDED).map_err(Report::new)?.clone();
    let repository = known.repository()?;
    let into = match &wish.into {
        Some(into) => into.clone(),
        None => target(&known, &here, &config)?,
    };
    // Its own terminal may be what goes with the worktree.
    let lines = crate::task::stoppable_by(
        |signal| signal != Signal::SIGHUP,
        |stop| {
            let merging = Merging {
                here: &here,
                known: &known,
                repository: &repository,
                into: &into,
                config: &config,
                behalf: Behalf::User,
                hooks: !wish.no_hooks,
                wish,
                stop: &|| stop.check(),
            };
            merging.run(surroundings)
        },
    )?;
    for line in lines {
        crate::ui::print(&line);
    }
    if !wish.keep && !surroundings.cwd.is_dir() {
        crate::ui::note(&format!("this directory is gone: cd {}", text::quote(here.main.as_os_str())));
    }
    Ok(0)
}

/// Where a worktree's branch belongs.
fn target(known: &Known, here: &Here, config: &Config) -> Result<String> {
    let work = Work::new(&here.repository, Behalf::User)?;
    let branch = known.checkout.branch.as_deref();
    let base = known.entry.as_ref().and_then(|entry| entry.record.base.clone());
    if let Some(base) = base.filter(|base| Some(base.as_str()) != branch)
        && work.branch(&base).map_err(Report::new)?.is_some()
    {
        return Ok(base);
    }
    work.main_branch(config.main_branch.as_deref())?
        .filter(|main| Some(main.as_str()) != branch)
        .ok_or_else(|| hinted("cannot tell which branch to merge into", "name it: --into BRANCH"))
}

/// One merge.
pub(crate) struct Merging<'a> {
    /// The repository.
    pub here: &'a Here,
    /// What is merged.
    pub known: &'a Known,
    /// Its checkout.
    pub repository: &'a Repository,
    /// Into which branch.
    pub into: &'a str,
    /// What holds here.
    pub config: &'a Config,
    /// Who asks.
    pub behalf: Behalf,
    /// Run the configured hooks.
    pub hooks: bool,
    /// The rest.
    pub wish: &'a Merge,
    /// Fails once a signal has come.
    pub stop: &'a dyn Fn() -> Result<()>,
}

/// What is to be merged, once nothing is in the way.
struct Ready {
    branch: String,
    uncommitted: bool,
    checkout: Option<Repository>,
    ahead: usize,
}

impl Merging<'_> {
    /// Merges. Answers lines that say what was done.
    pub(crate) fn run(&self, surroundings: &Surroundings) -> Result<Vec<String>> {
        let hooked = self.hooks && !self.config.pre_merge.is_empty();
        // Not under the lock: a hook may start sandboxes, and what a guest has laid out for git to stumble over holds up
        // nobody else.
        if hooked || self.behalf == Behalf::Guest {
            let ready = self.look(surroundings)?;
            self.pre_merge(&ready.branch)?;
        }
        let alone = CheckoutLock::alone(&surroundings.state).wrap_err("nothing was merged")?;
        let ready = self.look(surroundings)?;
        (self.stop)()?;
        scratch::sweep(self.here)?;
        let source = Work::new(self.repository, self.behalf)?;
        if ready.ahead > 0 || self.wish.way == Way::Rebase {
            self.bring(&source, &ready, &surroundings.state)?;
        }
        let merged = source.branch(&ready.branch).map_err(Report::new)?;
        drop(alone);
        let (shown, into) = (text::line(&ready.branch), text::line(self.into));
        let mut lines = vec![match ready.ahead {
            0 => format!("✓ Nothing to merge: '{into}' has all of '{shown}'"),
            ahead => format!("✓ Merged '{shown}' into '{into}' ({ahead} commit(s))"),
        }];
        if self.wish.keep {
            return Ok(lines);
        }
        let name = text::line(&self.known.name);
        if ready.ahead == 0 && !self.wish.cleanup {
            lines.push(format!("Kept worktree '{name}'; remove it: workmux remove {name}"));
            return Ok(lines);
        }
        if ready.uncommitted {
            lines.push(format!("Kept worktree '{name}': it holds work that is not committed"));
            return Ok(lines);
        }
        if let Some(held) = remove::held(self.known, self.here)? {
            lines.push(format!("Kept worktree '{name}': it holds {held}"));
            return Ok(lines);
        }
        let main = Repository::discover(&self.here.main).map_err(Report::new)?;
        let main_branch = source.main_branch(self.config.main_branch.as_deref())?;
        let goes = main_branch.as_deref() != Some(ready.branch.as_str());
        let end = End {
            config: self.config,
            hooks: self.hooks,
            branch: goes,
            only: Only::Merged(merged.as_deref().unwrap_or_default()),
            main: &main,
            behalf: self.behalf,
        };
        end.of(self.known, self.here, surroundings).wrap_err("it is merged, but the worktree is kept")?;
        lines.push(format!("✓ Removed worktree '{name}'{}", if goes { " and its branch" } else { "" }));
        Ok(lines)
    }

    /// Looks for everything that is in the way.
    fn look(&self, surroundings: &Surroundings) -> Result<Ready> {
        let name = text::line(&self.known.name);
        remove::made(self.known)?;
        remove::import(self.known, surroundings).wrap_err("the sandbox's commits could not be brought over")?;
        let state = self.known.entry.as_ref().map(Entry::state);
        if state.as_ref().is_some_and(State::busy) && !self.wish.keep && !self.wish.force {
            return Err(hinted(
                format!("the agent of '{name}' is at work, and would be ended"),
                format!("wait for it: workmux wait {name}, or merge what there is: --keep"),
            ));
        }
        if !self.wish.keep
            && !self.wish.force
            && let Some(what) = remove::sandboxes(self.known, surroundings)
        {
            return Err(hinted(
                format!("{what} in '{name}', and would be ended"),
                "merge and keep the worktree: --keep",
            ));
        }
        let branch = self.repository.current_branch().map_err(Report::new)?.ok_or_else(|| {
            hinted(
                format!("no branch is checked out in '{name}'"),
                "finish what is under way there (git status), or check a branch out",
            )
        })?;
        let source = Work::new(self.repository, self.behalf)?;
        let uncommitted = source.uncommitted(true).map_err(Report::new)?;
        if let Some(first) = uncommitted.first().filter(|_| !self.wish.ignore_uncommitted) {
            return Err(hinted(
                format!("'{name}' holds work that is not committed: {first}"),
                "commit it, or merge without it: --ignore-uncommitted (it is kept)",
            ));
        }
        if self.wish.way == Way::Rebase && !uncommitted.is_empty() {
            return Err(hinted(
                format!("'{name}' holds work that is not committed: a rebase would move files under it"),
                "commit it, or merge without --rebase",
            ));
        }
        if branch == self.into {
            return Err(hinted(
                format!("'{}' cannot be merged into itself", text::line(&branch)),
                "name another: --into BRANCH",
            ));
        }
        if source.branch(self.into).map_err(Report::new)?.is_none() {
            return Err(hinted(
                format!("there is no branch '{}' to merge into", text::line(self.into)),
                "name another: --into BRANCH",
            ));
        }
        let checkout = self.checkout_of_target(surroundings)?;
        let ahead = source.ahead(&branch, self.into).map_err(Report::new)?;
        Ok(Ready { branch, uncommitted: !uncommitted.is_empty(), checkout, ahead })
    }

    /// Where the target is checked out, if it is: it must be clean.
    fn checkout_of_target(&self, surroundings: &Surroundings) -> Result<Option<Repository>> {
        let all = self.here.all()?;
        let Some(there) = all.iter().find(|known| known.checkout.branch.as_deref() == Some(self.into)) else {
            return self.nobody_rebases(&all).map(|()| None);
        };
        remove::import(there, surroundings).wrap_err("the commits of a sandbox could not be brought over")?;
        let repository = there.repository()?;
        if repository.current_branch().map_err(Report::new)?.as_deref() != Some(self.into) {
            return Err(Report::msg("the target's checkout has just changed; try again"));
        }
        let changed = Work::new(&repository, self.behalf)?.uncommitted(false).map_err(Report::new)?;
        if let Some(first) = changed.first().filter(|_| !crate::mutant::off("p34_target")) {
            let place = match self.behalf {
                Behalf::User => format!(" in {}", text::quote(repository.worktree.as_os_str())),
                Behalf::Guest => String::new(),
            };
            return Err(hinted(
                format!(
                    "'{}' is checked out{place} with changes that are not committed: {first}",
                    text::line(self.into)
                ),
                "commit or stash them there first",
            ));
        }
        Ok(Some(repository))
    }

    /// A branch that is being rebased is checked out nowhere, and still nobody else's to move.
    fn nobody_rebases(&self, all: &[Known]) -> Result<()> {
        let full = format!("refs/heads/{}", self.into);
        let being = |known: &&Known| {
            ["rebase-merge/head-name", "rebase-apply/head-name"].iter().any(|file| {
                std::fs::read_to_string(known.checkout.admin_dir.join(file)).is_ok_and(|name| name.trim_end() == full)
            })
        };
        match all.iter().find(being) {
            None => Ok(()),
            Some(known) => Err(hinted(
                format!("'{}' is being rebased in '{}'", text::line(self.into), text::line(&known.name)),
                "finish that first: git rebase --continue, or --abort",
            )),
        }
    }

    fn pre_merge(&self, branch: &str) -> Result<()> {
        if !self.hooks {
            return Ok(());
        }
        let about = About {
            handle: &self.known.name,
            worktree: &self.known.checkout.root,
            main: &self.here.main,
            config: &self.here.main,
            branch,
            target: Some(self.into),
        };
        Hook::PreMerge.run(self.config, &about)
    }

    fn bring(&self, source: &Work, ready: &Ready, state: &Path) -> Result<()> {
        let (way, branch) = (self.wish.way, ready.branch.as_str());
        let of = |name: &str| -> Result<String> {
            let commit = source.branch(name).map_err(Report::new)?;
            commit.ok_or_else(|| Report::msg(format!("there is no branch '{}'", text::line(name))))
        };
        let (ours, theirs) = (of(self.into)?, of(branch)?);
        let reason = format!("workmux: merge {branch}");
        let tip = match way {
            Way::Rebase => {
                let private = scratch::directory(state)?;
                source.rebased(&theirs, &ours, private.path())?
            }
            Way::Merge | Way::Squash => theirs.clone(),
        };
        let message = match way {
            Way::Squash => match &source.subjects(branch, self.into)?[..] {
                [only] => only.clone(),
                all => format!("{}\n\n* {}", text::line(branch), all.join("\n* ")),
            },
            _ => format!("Merge branch '{}' into {}", text::line(branch), text::line(self.into)),
        };
        // Both are looked at before either is moved.
        let new = source.combined(&ours, &tip, way, &message)?;
        let forward = new.as_ref().map(|new| Move { branch: self.into, from: &ours, to: new, reason: &reason });
        let rebased = (tip != theirs).then_some(Move { branch, from: &theirs, to: &tip, reason: &reason });
        let target = ready.checkout.as_ref().map(|there| Work::new(there, self.behalf)).transpose()?;
        if let (Some(step), Some(target)) = (&forward, &target) {
            target.can_move(step, state)?;
        }
        if let Some(step) = &rebased {
            source.can_move(step, state)?;
        }
        match (&forward, &target) {
            (Some(step), Some(target)) => target.move_checkout(step, state)?,
            (Some(step), None) => source.move_branch(step)?,
            (None, _) => {}
        }
        if let Some(step) = &rebased {
            source.move_checkout(step, state).wrap_err("it is merged, but its own branch is as before")?;
        }
        Ok(())
    }
}
