//! Makes one worktree, from a checked wish to a running agent, for the user and for guests alike.
//!
//! Every step is undone where a later one fails or a signal comes: branch, directory, records, window (P38). What is
//! left by a maker that was killed is undone by the next command that meets its record.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::beneath::Root;
use super::changes::{Added, Behalf, Work};
use super::hooks::{About, Hook};
use super::panes::Plan;
use super::record::{Entry, Parent, Record, Store, now};
use super::show::{self, Target};
use super::{files, live, names, prompt};
use crate::config::{Config, Loaded};
use crate::error::hinted;
use crate::git::Repository;
use crate::launch::Pinned;
use crate::runs::{self, CheckoutLock, ProcessIdentity};
use crate::surroundings::Surroundings;
use crate::text;

/// A branch for a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Branch {
    /// To be made at `start`, which `base` names where it is a branch.
    New {
        /// Its name.
        name: String,
        /// Where it starts: a full ref or a commit.
        start: String,
        /// The branch it starts from.
        base: Option<String>,
    },
    /// There already.
    Existing {
        /// Its name.
        name: String,
        /// What it is to be merged into one day.
        base: Option<String>,
    },
}

impl Branch {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::New { name, .. } | Self::Existing { name, .. } => name,
        }
    }

    fn base(&self) -> Option<&String> {
        match self {
            Self::New { base, .. } | Self::Existing { base, .. } => base.as_ref(),
        }
    }
}

/// Everything about the worktree that is wanted.
pub(crate) struct Making<'a> {
    /// The checkout it is asked for in.
    pub repository: &'a Repository,
    /// The main checkout.
    pub main: &'a Path,
    /// What the files say.
    pub loaded: &'a Loaded,
    /// The same, with flags applied; frozen for its panes.
    pub config: Config,
    /// Who wants it.
    pub behalf: Behalf,
    /// Its branch.
    pub branch: Branch,
    /// Its handle.
    pub handle: String,
    /// Its windows.
    pub windows: Vec<Plan>,
    /// What its agent is told.
    pub prompt: String,
    /// The run that asks.
    pub parent: Option<Parent>,
    /// The backend of its sandboxed panes.
    pub pinned: Option<Pinned>,
    /// Run `post_create`.
    pub hooks: bool,
    /// Copy and link files.
    pub files: bool,
    /// Where it is shown; `None` = nowhere.
    pub target: Option<Target>,
    /// Shown at once.
    pub seen: bool,
    /// Held until the name is taken: the lock under which somebody has counted.
    pub held: Cell<Option<File>>,
    /// What to bring from the checkout it is asked for in: untracked files too?
    pub changes: Option<bool>,
}

/// A name that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Taken {
    /// The branch.
    #[error("there is a branch '{}' already", text::line(.0))]
    Branch(String),
    /// Not it, but one that leaves no place for it.
    #[error("there is a branch above or below '{}' already", text::line(.0))]
    InTheWay(String),
    /// The worktree.
    #[error("there is a worktree '{}' already", text::line(.0))]
    Worktree(String),
    /// Its directory.
    #[error("{} exists already", text::quote(.0.as_os_str()))]
    Directory(PathBuf),
}

impl Taken {
    /// As a failure with its next step.
    pub(crate) fn with_hint(self) -> Report {
        let hint = match &self {
            Self::Branch(_) => "choose another name, or leave out --base to work on that branch".to_owned(),
            Self::Worktree(name) => {
                format!("go to it: workmux open {}, or choose another name: --name NAME", text::line(name))
            }
            Self::InTheWay(_) => "git has no place for 'a' beside 'a/b': choose another name".to_owned(),
            Self::Directory(_) => "choose another name: --name NAME".to_owned(),
        };
        hinted(self.to_string(), hint)
    }
}

/// What came of it.
pub(crate) struct Made {
    /// Its record.
    pub entry: Entry,
    /// Lines for the user.
    pub notes: Vec<String>,
}

/// Makes it. `stop` fails once a signal has come.
pub(crate) fn make(making: Making, stop: &dyn Fn() -> Result<()>, surroundings: &Surroundings) -> Result<Made> {
    let work = Work::new(making.repository, making.behalf)?;
    let store = Store::new(&surroundings.state);
    let (base, made_base) = base_directory(&making, surroundings)?;
    let mut undo = Undo {
        work: &work,
        base: made_base.then(|| base.clone()),
        tree: None,
        branch: None,
        entry: None,
        changes: None,
    };
    let made = steps(&making, &work, &store, &base, &mut undo, stop, surroundings);
    if made.is_err() {
        undo.all();
    }
    made
}

/// The directory that worktrees go to, resolved, and whether it is new.
fn base_directory(making: &Making, surroundings: &Surroundings) -> Result<(PathBuf, bool)> {
    let wanted = names::base_directory(&making.config, making.main, &surroundings.home)?;
    let there = wanted.is_dir();
    let failed = || format!("cannot make the directory for worktrees {}", text::quote(wanted.as_os_str()));
    // As it is written: what it leads to is for a guest to say, where one can write there.
    not_a_guests(&wanted, making.behalf, &surroundings.state)?;
    match wanted.strip_prefix(making.main) {
        // Its parts may be a guest's: no link of its leads us elsewhere.
        Ok(below) => {
            let made = Root::open(making.main).and_then(|main| main.make_directory(below)).wrap_err_with(failed)?;
            if !made.is_at(&wanted) {
                return Err(Report::msg("it was replaced at this moment")).wrap_err_with(failed);
            }
        }
        Err(_) => match in_a_mount(making, &wanted, &surroundings.home) {
            Some((root, below)) => {
                Root::open_resolved(&root).and_then(|root| root.make_directory(below)).wrap_err_with(failed)?;
            }
            None => fs::create_dir_all(&wanted).wrap_err_with(failed)?,
        },
    }
    Ok((wanted.canonicalize().wrap_err_with(failed)?, !there))
}

/// Refuses a place that a guest at work can write in: git writes by path, and could be led elsewhere.
fn not_a_guests(path: &Path, behalf: Behalf, state: &Path) -> Result<()> {
    let Some(place) = live::above(state, path) else { return Ok(()) };
    let place = match behalf {
        Behalf::User => text::quote(place.as_os_str()).to_string(),
        Behalf::Guest => "the directory of worktrees".to_owned(),
    };
    Err(hinted(
        format!("a sandbox can write in {place}, and could lead git elsewhere while it makes a worktree there"),
        "let 'worktree_dir' be a directory outside the checkout, or end the sandbox first",
    ))
}

/// The writable mount of sandboxes that this directory lies in, and where in it: one of them may have put a link there.
fn in_a_mount<'w>(making: &Making, wanted: &'w Path, home: &Path) -> Option<(PathBuf, &'w Path)> {
    let writable = making.config.sandbox.extra_mounts.iter().filter(|mount| mount.writable);
    writable.map(|mount| mount.host(home)).find_map(|mount| {
        let root = mount.canonicalize().ok()?;
        let below = wanted.strip_prefix(&mount).or_else(|_| wanted.strip_prefix(&root)).ok()?;
        Some((root, below))
    })
}

fn steps(
    making: &Making,
    work: &Work,
    store: &Store,
    base: &Path,
    undo: &mut Undo,
    stop: &dyn Fn() -> Result<()>,
    surroundings: &Surroundings,
) -> Result<Made> {
    let worktree = base.join(&making.handle);
    let below = making.loaded.project_file().and_then(Path::parent);
    let below = below.and_then(|dir| dir.strip_prefix(&making.repository.worktree).ok()).unwrap_or(Path::new(""));
    let record = Record {
        id: runs::new_id().wrap_err("cannot make an id")?,
        handle: making.handle.clone(),
        branch: making.branch.name().to_owned(),
        base: making.branch.base().cloned(),
        repository: making.repository.common_dir.clone(),
        cwd: worktree.join(below),
        worktree: worktree.clone(),
        parent: making.parent.clone(),
        created: now(),
        agent: agent_of(&making.windows),
        sandboxed: making.pinned.is_some(),
        windows: making.windows.clone(),
        place: None,
        maker: Some(ProcessIdentity::own()),
        new_branch: matches!(making.branch, Branch::New { .. }),
    };
    let mut entry = reserve(store, record, work)?;
    undo.entry = Some(entry.clone());
    drop(making.held.take());
    stop()?;
    if worktree.symlink_metadata().is_ok() {
        return Err(Taken::Directory(worktree).into());
    }
    checked_out(making, work, &worktree, undo, &surroundings.state)?;
    stop()?;
    if !entry.record.cwd.is_dir() {
        entry.record.cwd.clone_from(&worktree);
    }
    let mut notes = Vec::new();
    if making.files {
        notes = files::provide(&making.config.files, making.main, &worktree)?;
    }
    if let Some(untracked) = making.changes {
        bring_changes(making, work, &worktree, untracked, undo, &surroundings.state)?;
    }
    if making.hooks {
        let about = About {
            handle: &making.handle,
            worktree: &worktree,
            main: making.main,
            config: making.loaded.project_file().and_then(Path::parent).unwrap_or(making.main),
            branch: making.branch.name(),
            target: None,
        };
        Hook::PostCreate.run(&making.config, &about)?;
        stop()?;
    }
    if !making.prompt.is_empty() {
        entry.keep_prompt(&making.prompt).wrap_err("cannot keep the prompt")?;
        prompt::put(&entry.record, &making.prompt).wrap_err("cannot write the prompt into the worktree")?;
    }
    freeze(making.loaded, &making.config, making.pinned.as_ref(), &entry)?;
    entry.save().wrap_err("cannot keep the worktree's record")?;
    stop()?;
    if let Some(target) = &making.target {
        let name = names::window(&making.config, &names::project(making.main), &making.handle);
        show::open(&mut entry, target, &making.config, &name, making.seen, surroundings)?;
        undo.entry = Some(entry.clone());
    }
    entry.record.maker = None;
    entry.save().wrap_err("cannot keep the worktree's record")?;
    if let Some(stash) = undo.changes.take()
        && let Err(e) = work.forget(&stash)
    {
        notes.push(format!("the changes are also in the stash still: {e:#}"));
    }
    Ok(Made { entry, notes })
}

/// Takes the name. What a maker that was killed left of it goes first.
fn reserve(store: &Store, record: Record, work: &Work) -> Result<Entry> {
    let worktree = record.worktree.clone();
    store.sweep(&worktree);
    if let Some(old) = store.find(&worktree)
        && (old.abandoned() || (old.complete() && !worktree.exists()))
    {
        super::remove::leftover(&old, work);
        if work.commit("refs/stash").is_ok_and(|stash| stash.is_some_and(|stash| work.is_on_its_way(&stash))) {
            crate::ui::note("changes that a command was moving when it was killed are in the stash: git stash pop");
        }
    }
    store
        .reserve(record)
        .wrap_err("cannot keep the worktree's record")?
        .ok_or_else(|| Taken::Worktree(worktree.file_name().unwrap_or_default().to_string_lossy().into_owned()).into())
}

fn checked_out(making: &Making, work: &Work, worktree: &Path, undo: &mut Undo, state: &Path) -> Result<()> {
    let failed = || format!("the worktree for '{}' could not be made", text::line(making.branch.name()));
    // Sandboxes that start wait until the files are there: git writes them by path.
    let _alone = CheckoutLock::alone(state).wrap_err("no worktree was made")?;
    not_a_guests(worktree, making.behalf, state)?;
    undo.tree = Some(worktree.to_owned());
    // Git may fail before it notices that the branch is there: what was there is never taken back.
    let absent = matches!(work.branch(making.branch.name()), Ok(None));
    match &making.branch {
        Branch::New { name, start, base } => match work.add(worktree, name, start) {
            Ok(()) => {
                undo.branch = Some(name.clone());
                Ok(())
            }
            Err(Added::BranchExists) => Err(Taken::Branch(name.clone()).into()),
            Err(Added::InTheWay) => Err(Taken::InTheWay(name.clone()).into()),
            // Git makes the branch first.
            Err(Added::Failed(e)) => {
                let born = base.as_ref().is_none_or(|base| matches!(work.branch(base), Ok(Some(_))));
                undo.branch = work.branch(name).ok().flatten().filter(|_| absent).map(|_| name.clone());
                let why = Report::new(e);
                if born {
                    return Err(why).wrap_err_with(failed);
                }
                let base = text::line(base.as_deref().unwrap_or_default());
                Err(hinted(
                    format!("the branch '{base}' has no commit to start from"),
                    "commit something first: git commit --allow-empty -m 'Begin'",
                ))
            }
        },
        Branch::Existing { name, .. } => {
            let all = making.repository.checkouts().map_err(Report::new)?;
            if let Some(there) = all.iter().find(|checkout| checkout.branch.as_deref() == Some(name)) {
                return Err(hinted(
                    format!("'{}' is checked out in {}", text::line(name), text::quote(there.root.as_os_str())),
                    "go there, or choose another branch",
                ));
            }
            work.add_existing(worktree, name).wrap_err_with(failed)
        }
    }
}

/// Brings over what is not committed. The stash has it until all is made: what undoes the rest brings it back from there.
fn bring_changes(
    making: &Making,
    work: &Work,
    worktree: &Path,
    untracked: bool,
    undo: &mut Undo,
    state: &Path,
) -> Result<()> {
    let _alone = CheckoutLock::alone(state).wrap_err("no worktree was made")?;
    if live::overlaps(state, &making.repository.worktree) {
        return Err(hinted(
            "a sandbox works here: git would move the changes away under its hands",
            "end the sandbox first, or leave out --with-changes",
        ));
    }
    let there = Repository::discover(worktree)?;
    let there = Work::new(&there, Behalf::User)?;
    undo.changes = work.set_aside(untracked).wrap_err("the changes here could not be set aside")?;
    match &undo.changes {
        Some(stash) => there.bring(stash).wrap_err("the changes could not be brought to the new worktree"),
        None => Ok(()),
    }
}

/// Freezes what its panes will work by.
pub(crate) fn freeze(loaded: &Loaded, config: &Config, pinned: Option<&Pinned>, entry: &Entry) -> Result<()> {
    let (config, pinned) = (config.clone(), pinned.map(|pinned| (pinned.backend.clone(), pinned.table.clone())));
    let _replaced = fs::remove_file(entry.config());
    let frozen = loaded.freeze_with(&entry.directory, move |frozen| {
        *frozen = config;
        if let Some((backend, table)) = pinned {
            frozen.sandbox.enabled = true;
            frozen.sandbox.tables.insert(backend.clone(), table);
            frozen.sandbox.backend = Some(backend);
        }
    });
    frozen.map(drop).wrap_err("cannot keep a copy of the configuration")
}

/// The agent that leads.
pub(crate) fn agent_of(windows: &[Plan]) -> Option<String> {
    let (w, p) = super::panes::leading(windows)?;
    match &windows[w].panes[p].runs {
        super::panes::Runs::Agent { agent, .. } => Some(agent.clone()),
        _ => None,
    }
}

/// What was made so far.
struct Undo<'a> {
    work: &'a Work<'a>,
    base: Option<PathBuf>,
    tree: Option<PathBuf>,
    branch: Option<String>,
    entry: Option<Entry>,
    /// What was not committed, in the stash.
    changes: Option<String>,
}

impl Undo<'_> {
    /// Takes it all away, the last first. What cannot be is named.
    fn all(self) {
        if crate::mutant::off("p38_undo") {
            return;
        }
        let mut left = Vec::new();
        let mut done = |what: &str, outcome: Result<()>| {
            if let Err(e) = outcome {
                left.push(format!("{what}: {e:#}"));
            }
        };
        if let Some(entry) = &self.entry {
            done("its window", show::close(entry).map(drop));
        }
        if let Some(tree) = &self.tree {
            done("its directory", self.work.take_away(tree));
            if let Some(branch) = &self.branch {
                done("its branch", self.work.delete_branch(branch).map_err(Report::new));
            }
        }
        if let Some(entry) = &self.entry {
            done("its record", entry.remove().map_err(Report::new));
        }
        if let Some(stash) = &self.changes {
            match self.work.bring(stash) {
                Ok(()) => done("what is in the stash", self.work.forget(stash)),
                Err(e) => done(
                    "your changes",
                    Err(Report::msg(format!("{e}; they are kept, get them with: git stash apply {stash}"))),
                ),
            }
        }
        if let Some(base) = &self.base {
            // Kept where another worktree has come to be in it.
            let _in_use = fs::remove_dir(base);
        }
        for what in left {
            crate::ui::warning(&format!("could not take back {}", text::line(&what)));
        }
    }
}
