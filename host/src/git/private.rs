//! One private git dir: made for a repository, synced with it. The runs that share it are `boundary`'s.
//!
//! A populated submodule is a repository of its own and gets a private git dir of its own, with all that follows.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::alternates;
use super::base::Base;
use super::boundary::{GitMount, Imported};
use super::error::{GitError, clean};
use super::exchange::Exchange;
use super::guest::{Guest, Known};
use super::host_lock::HostLock;
use super::index::Index;
use super::layout::{self, Layout};
use super::record::Record;
use super::refs::{self, HostRefs};
use super::repository::Repository;
use super::round::{Next, Round};
use super::side::{Host, Stamped, parse_host_index, shown};
use super::skeleton::{self, HOST_LFS, HOST_OBJECTS};
use super::step;
use super::submodules::{self, Submodules};
use super::tracking;

/// A guest's git command that is writing its index gets this long to finish.
const GUEST_PATIENCE: Duration = Duration::from_millis(100);
/// A host that changes while we look is looked at again, so often.
const ROUNDS: usize = 10;
/// Notes, and conflicts, that one sync reports.
const MOST_LINES: usize = 100;

/// One private git dir and the repository it is for.
#[derive(Debug)]
pub(super) struct Private {
    pub repo: Repository,
    pub layout: Layout,
    /// Where the checkout's own files lie in the private git dir.
    pub admin: String,
    /// Of the populated submodules.
    pub modules: Vec<Private>,
    pub submodules: Submodules,
}

/// Which repository a private git dir is for, as a later process reads it.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    worktree: PathBuf,
    record: Record,
    submodules: Submodules,
}

/// What a sync did, and why the private git dir must not go away yet.
#[derive(Debug, Default)]
pub(super) struct Synced {
    pub imported: Imported,
    pub unfinished: Option<String>,
}

impl Private {
    /// Makes the private git dir. What an interrupted attempt left is no guest's and goes away.
    pub(super) fn make(repo: Repository, layout: Layout, run: &str) -> Result<Self, GitError> {
        let share = layout.share(&repo.common_dir);
        Self::make_in(&share, repo, layout, run, 0)
    }

    /// The same; what guests see comes to lie in `share`.
    fn make_in(share: &Path, repo: Repository, layout: Layout, run: &str, depth: usize) -> Result<Self, GitError> {
        repo.verify()?;
        layout.remove_open()?;
        for dir in [layout.exchange(), layout.modules()] {
            layout::remove_tree(&dir)?;
        }
        layout::private_dir(&layout.dir)?;
        layout.make_open()?;
        step("entered");
        let host = Host::read(&repo, &Stamped::default())?;
        let index = parse_host_index(&repo)?;
        skeleton::make(&repo, &layout, &host.refs)?;
        step("skeleton-made");
        let (submodules, repositories) = submodules::find(&repo, &index, &layout, depth)?;
        let modules = repositories.into_iter().enumerate().map(|(n, module)| {
            skeleton::make_room(&repo, &layout, &module.common_dir)?;
            Self::make_in(share, module, layout.module(n), run, depth + 1)
        });
        let modules = modules.collect::<Result<_, _>>()?;
        layout::save_first(&layout.base(), &first_base(run, host, &index, &layout))?;
        step("base-made");
        layout.share_open(share)?;
        // The last file: without it the directory is as good as absent.
        let stored = Stored { worktree: repo.worktree.clone(), record: repo.record.clone(), submodules };
        layout::save(&layout.record(), &stored)?;
        step("made");
        let admin = skeleton::admin_name(&repo);
        Ok(Self { repo, layout, admin, modules, submodules: stored.submodules })
    }

    /// Whether a finished private git dir lies at `layout`.
    pub(super) fn exists(layout: &Layout) -> bool {
        layout.record().exists()
    }

    /// The private git dir at `layout`, if its repository is still the one it was made for (P18).
    pub(super) fn open(layout: &Layout, program: &Path) -> Result<Self, GitError> {
        let stored: Stored = layout::load(&layout.record())?
            .ok_or_else(|| GitError::io("read", layout.record())(io::ErrorKind::NotFound.into()))?;
        let repo = Repository::recorded(&stored.worktree, program.to_owned(), &stored.record)?;
        let modules = (0..stored.submodules.populated).map(|n| Self::open(&layout.module(n), program));
        let modules = modules.collect::<Result<_, _>>()?;
        let admin = skeleton::admin_name(&repo);
        Ok(Self { repo, layout: layout.clone(), admin, modules, submodules: stored.submodules })
    }

    /// What a sandbox mounts, parents first.
    pub(super) fn mounts(&self) -> Vec<GitMount> {
        let repo = &self.repo;
        let fixed = |source: PathBuf, target: PathBuf| GitMount::of_the_host(source, target, false);
        let mut mounts = self.submodules.mounts(&repo.worktree, &self.layout);
        mounts.extend(self.checkouts_inside());
        let pointer = repo.worktree.join(".git");
        if pointer != repo.common_dir {
            mounts.push(fixed(pointer.clone(), pointer));
        }
        if crate::mutant::off("p13_private_dir") {
            mounts.push(GitMount::of_the_host(repo.common_dir.clone(), repo.common_dir.clone(), true));
            return mounts;
        }
        let (source, shares) = (self.layout.guest(), self.layout.shares());
        mounts.push(GitMount { source, target: repo.common_dir.clone(), writable: true, shares });
        let objects = repo.common_dir.join("objects");
        mounts.push(fixed(objects.clone(), repo.common_dir.join(HOST_OBJECTS)));
        let lfs = repo.common_dir.join("lfs/objects");
        // Made only where the host had some when the private git dir was made.
        let place = std::fs::symlink_metadata(self.layout.guest().join(HOST_LFS));
        if lfs.is_dir() && place.is_ok_and(|m| m.is_dir()) {
            mounts.push(fixed(lfs, repo.common_dir.join(HOST_LFS)));
        }
        mounts.extend(alternates::of(&objects).into_iter().map(|(source, target)| fixed(source, target)));
        mounts.extend(self.modules.iter().flat_map(Self::mounts));
        mounts
    }

    /// Other checkouts that lie inside this one: read-only, and so that nothing else can be put in their place.
    fn checkouts_inside(&self) -> Vec<GitMount> {
        let root = &self.repo.worktree;
        if crate::mutant::off("p13_checkouts_inside") {
            return Vec::new();
        }
        let mut mounts = Vec::new();
        let others = refs::other_checkouts(&self.repo).into_iter().filter_map(|(_, place)| place);
        for place in others.filter(|place| place != root && place.starts_with(root)) {
            if place.canonicalize().ok().as_ref() != Some(&place) {
                continue;
            }
            let above = place.ancestors().skip(1).take_while(|dir| *dir != root);
            mounts.extend(above.map(|dir| GitMount::of_the_host(dir.into(), dir.into(), true)));
            mounts.push(GitMount::of_the_host(place.clone(), place, false));
        }
        // Of two that are the same place, the one that is read-only counts: it comes last.
        mounts.sort_by_key(|mount| !mount.writable);
        mounts
    }

    /// Brings host and guest together. `last`: no guest is alive, so nothing is left for later.
    pub(super) fn sync(&self, last: bool) -> Result<Synced, GitError> {
        let mut all = Synced::default();
        // Before the commits that name theirs.
        for module in &self.modules {
            let path = module.repo.worktree.strip_prefix(&self.repo.worktree).unwrap_or(&module.repo.worktree);
            all.add(module.sync(last)?, &clean(&path.to_string_lossy()));
        }
        all.add(self.sync_own(last)?, "");
        if last {
            all.imported.notes.extend(self.submodules.end(&self.repo.worktree, &self.layout));
        }
        all.imported.notes.sort();
        all.imported.notes.dedup();
        all.imported.warnings.sort();
        all.imported.warnings.dedup();
        // Names are the guest's to make: nobody reads thousands of lines.
        let more = all.imported.notes.len().saturating_sub(MOST_LINES)
            + all.imported.conflicts.len().saturating_sub(MOST_LINES);
        if more > 0 {
            all.imported.notes.truncate(MOST_LINES);
            all.imported.conflicts.truncate(MOST_LINES);
            all.imported.notes.push(format!("and {more} more lines like these"));
        }
        Ok(all)
    }

    fn sync_own(&self, last: bool) -> Result<Synced, GitError> {
        let mut synced = Synced::default();
        for _ in 0..ROUNDS {
            synced.unfinished = None;
            synced.imported.conflicts.clear();
            match self.round(last, &mut synced)? {
                Next::Done => return Ok(synced),
                Next::Again => {}
            }
        }
        synced.unfinished.get_or_insert_with(|| "the host's repository kept changing".into());
        Ok(synced)
    }

    fn round(&self, last: bool, synced: &mut Synced) -> Result<Next, GitError> {
        self.repo.verify()?;
        HostLock::recover(&self.layout, &self.repo.admin_dir);
        let base: Option<Base> = layout::load(&self.layout.base())?;
        // Without it the private git dir was never finished, so no guest has seen it.
        let Some(base) = base else { return Ok(Next::Done) };
        let host = Host::read(&self.repo, &base.host_index)?;
        let guest = match self.read_guest(&base, &host, last) {
            Ok(guest) => guest,
            Err(e) => {
                let why = clean(&e.to_string());
                synced.imported.notes.push(format!("nothing was taken from the sandbox: {why}"));
                synced.unfinished = Some(why);
                return Ok(Next::Done);
            }
        };
        let (stored, exchange) = (base.clone(), Exchange::at(&self.layout, &self.repo));
        Round { private: self, host, guest, base, stored, last, synced, exchange }.run()
    }

    fn read_guest(&self, base: &Base, host: &Host, last: bool) -> io::Result<Guest> {
        let mut names = base.side.refs.clone();
        names.extend(host.side.refs.clone());
        let known = Known {
            format: self.repo.object_format,
            refs: &names,
            gitlinks: &base.gitlinks,
            index: &base.guest_index,
            index_digest: &base.side.index,
        };
        let until = Instant::now() + GUEST_PATIENCE;
        loop {
            let guest = Guest::read(&self.layout.guest(), &self.admin, &known)?;
            if !guest.busy || last || Instant::now() > until {
                return Ok(guest);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Synced {
    /// Adds what happened in the submodule at `path` (empty: in the repository itself).
    fn add(&mut self, other: Self, path: &str) {
        let name = |name: String| if path.is_empty() { name } else { format!("{path}:{name}") };
        let Imported { mut updated, mut conflicts, notes, warnings, kept } = other.imported;
        updated.iter_mut().for_each(|update| update.name = name(std::mem::take(&mut update.name)));
        conflicts.iter_mut().for_each(|conflict| conflict.name = name(std::mem::take(&mut conflict.name)));
        let line = |note: String| if path.is_empty() { note } else { format!("submodule '{path}': {note}") };
        self.imported.updated.extend(updated);
        self.imported.conflicts.extend(conflicts);
        self.imported.notes.extend(notes.into_iter().map(line));
        self.imported.warnings.extend(warnings.into_iter().map(line));
        self.imported.kept = self.imported.kept.take().or(kept);
        self.unfinished = self.unfinished.take().or(other.unfinished);
    }
}

fn first_base(run: &str, host: Host, index: &Index, layout: &Layout) -> Base {
    let HostRefs { refs, .. } = host.refs;
    Base {
        run: run.to_owned(),
        side: host.side,
        host_index: host.index,
        // The copy's stamp is not the host's; the first sync reads it.
        guest_index: Stamped::default(),
        gitlinks: index.gitlinks(),
        created: Default::default(),
        parked: Default::default(),
        told: Default::default(),
        warnings: Default::default(),
        pending: Default::default(),
        settled: String::new(),
        other: refs.into_iter().filter(|(name, _)| !shown(name) && name != "refs/stash").collect(),
        tracking: tracking::read(layout),
    }
}
