//! `workmux merge`: a worktree's branch into the one it came from, then the worktree goes.
//!
//! Nothing is begun where something could be lost: what is not committed in the worktree, what is changed in the target's
//! checkout. A conflict leaves everything as it was (P34).

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::changes::{Behalf, Way, Work};
use super::find::{Here, Known};
use super::hooks::{About, Hook};
use super::remove::{self, End};
use crate::config::Config;
use crate::error::{Failure, hinted};
use crate::git::Repository;
use crate::launch::{self, Given};
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
    let lines = Merging {
        here: &here,
        known: &known,
        repository: &repository,
        into: &into,
        config: &config,
        behalf: Behalf::User,
        hooks: !wish.no_hooks,
        wish,
    }
    .run(surroundings)?;
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
}

impl Merging<'_> {
    /// Merges. Answers lines that say what was done.
    pub(crate) fn run(&self, surroundings: &Surroundings) -> Result<Vec<String>> {
        remove::import(self.known, surroundings).wrap_err("the sandbox's commits could not be brought over")?;
        let busy = self.known.entry.as_ref().is_some_and(|entry| entry.state().busy());
        if busy && !self.wish.keep && !self.wish.force {
            let name = text::line(&self.known.name);
            return Err(hinted(
                format!("the agent of '{name}' is at work, and would be ended"),
                format!("wait for it: workmux wait {name}, or merge what there is: --keep"),
            ));
        }
        let branch = self.repository.current_branch().map_err(Report::new)?.ok_or_else(|| {
            hinted(
                format!("no branch is checked out in '{}'", text::line(&self.known.name)),
                "finish what is under way there (git status), or check a branch out",
            )
        })?;
        let source = Work::new(self.repository, self.behalf)?;
        let uncommitted = source.uncommitted(true).map_err(Report::new)?;
        if let Some(first) = uncommitted.first().filter(|_| !self.wish.ignore_uncommitted) {
            return Err(hinted(
                format!("'{}' holds work that is not committed: {first}", text::line(&self.known.name)),
                "commit it, or merge without it: --ignore-uncommitted (it is kept)",
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
        let checkout = self.checkout_of_target(&branch, surroundings)?;
        self.pre_merge(&branch)?;
        let ahead = source.ahead(&branch, self.into).map_err(Report::new)?;
        if ahead > 0 || self.wish.way == Way::Rebase {
            self.bring(&source, &branch, checkout.as_ref())?;
        }
        let (shown, into) = (text::line(&branch), text::line(self.into));
        let mut lines = vec![match ahead {
            0 => format!("✓ Nothing to merge: '{into}' has all of '{shown}'"),
            _ => format!("✓ Merged '{shown}' into '{into}' ({ahead} commit(s))"),
        }];
        if self.wish.keep {
            return Ok(lines);
        }
        if ahead == 0 && !self.wish.cleanup {
            let name = text::line(&self.known.name);
            lines.push(format!("Kept worktree '{name}'; remove it: workmux remove {name}"));
            return Ok(lines);
        }
        if !uncommitted.is_empty() {
            lines
                .push(format!("Kept worktree '{}': it holds work that is not committed", text::line(&self.known.name)));
            return Ok(lines);
        }
        let merged = source.branch(&branch).map_err(Report::new)?;
        let end = End {
            config: self.config,
            hooks: self.hooks,
            branch: true,
            unchanged: merged.as_deref(),
            main: &self.here.main,
        };
        let main = Repository::discover(&self.here.main).map_err(Report::new)?;
        end.of(self.known, &main, self.behalf).wrap_err("it is merged, but the worktree is kept")?;
        lines.push(format!("✓ Removed worktree '{}' and its branch", text::line(&self.known.name)));
        Ok(lines)
    }

    /// Where the target is checked out, if it is: it must be clean.
    fn checkout_of_target(&self, branch: &str, surroundings: &Surroundings) -> Result<Option<Repository>> {
        let all = self.here.all()?;
        let Some(there) = all.iter().find(|known| known.checkout.branch.as_deref() == Some(self.into)) else {
            return Ok(None);
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
        self.nothing_in_the_way(&repository, branch)?;
        Ok(Some(repository))
    }

    /// What git does not know there it would not spare: it overwrites what is ignored.
    fn nothing_in_the_way(&self, target: &Repository, branch: &str) -> Result<()> {
        let found = Work::new(target, self.behalf)?.in_the_way(branch, self.into).map_err(Report::new)?;
        match found.first().filter(|_| !crate::mutant::off("p34_ignored")) {
            None => Ok(()),
            Some(first) => Err(hinted(
                format!(
                    "'{first}' is in the way where '{}' is checked out: the merge would overwrite it",
                    text::line(self.into)
                ),
                "move it away or commit it there first",
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

    fn bring(&self, source: &Work, branch: &str, checkout: Option<&Repository>) -> Result<()> {
        let way = self.wish.way;
        let mut message = format!("Merge branch '{}' into {}", text::line(branch), text::line(self.into));
        if way == Way::Squash {
            let subjects = source.subjects(branch, self.into).map_err(Report::new)?;
            message = match &subjects[..] {
                [only] => only.clone(),
                all => format!("{}\n\n* {}", text::line(branch), all.join("\n* ")),
            };
        }
        if way == Way::Rebase {
            source.rebase(self.into)?;
        }
        match checkout {
            Some(repository) => Work::new(repository, self.behalf)?.merge(branch, way, &message),
            None => source.merge_unchecked(branch, self.into, way, &message),
        }
    }
}
