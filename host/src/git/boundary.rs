//! The boundary of one worktree, as a run sees it: enter, mount, import, leave.
//!
//! The runs alive in a worktree share one private git dir. The first makes it, the last imports and removes it; what
//! cannot be imported is kept and named. Everything happens under the directory's lock, one process at a time.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{GitError, clean};
use super::layout::Layout;
use super::oid::Oid;
use super::private::Private;
use super::reap;
use super::repository::Repository;
use super::watch::Watch;

/// One mount a sandbox needs for git. Both paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitMount {
    /// On the host.
    pub source: PathBuf,
    /// In the guest.
    pub target: PathBuf,
    /// Whether the guest may write there.
    pub writable: bool,
    /// Directories above the source that may be given to an instance whole, the narrowest first.
    pub shares: Vec<PathBuf>,
}

impl GitMount {
    /// One of the host's own files, which is given to nobody but by itself.
    pub(super) fn of_the_host(source: PathBuf, target: PathBuf, writable: bool) -> Self {
        Self { source, target, writable, shares: Vec::new() }
    }
}

/// A ref of the host that an import moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// Its full name.
    pub name: String,
    /// Before; `None` if it is new.
    pub old: Option<Oid>,
    /// After; `None` if it is gone.
    pub new: Option<Oid>,
}

/// A ref (or `HEAD`) that stayed as it was on the host although the guest changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefConflict {
    /// Its full name.
    pub name: String,
    /// The host's value.
    pub host: Option<Oid>,
    /// The guest's value.
    pub guest: Option<Oid>,
    /// The ref of the host that holds the guest's value.
    pub kept_at: Option<String>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for RefConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' was not changed: {}", clean(&self.name), self.reason)?;
        match &self.kept_at {
            Some(place) => write!(f, "; the sandbox's work is at '{place}'"),
            None => Ok(()),
        }
    }
}

/// What one import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Refs that moved.
    pub updated: Vec<RefUpdate>,
    /// Refs that did not.
    pub conflicts: Vec<RefConflict>,
    /// Lines for the user, fit for a terminal.
    pub notes: Vec<String>,
    /// The same, where a next step of the user's own could be dangerous.
    pub warnings: Vec<String>,
    /// The private git dir, where something of it is not on the host yet.
    pub kept: Option<PathBuf>,
}

/// A run's part in the private git dir of its worktree. Dropped without [`Self::leave`], it counts as crashed.
#[derive(Debug)]
pub struct Boundary {
    private: Private,
    run: String,
    live: Option<File>,
    recovered: Option<Imported>,
    mounts: Vec<GitMount>,
}

impl Boundary {
    /// Makes the private git dir of `repo` below `state_root`, or joins the one of live runs. What a crashed run left
    /// there is imported first: see [`Self::recovered`].
    pub fn enter(repo: Repository, state_root: &Path, run_id: &str) -> Result<Self, GitError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if run_id.is_empty() || run_id.len() > 64 || run_id.starts_with('-') || !run_id.bytes().all(plain) {
            return Err(GitError::refused(format!("'{}' is no run id", clean(run_id)), "use letters, digits and '-'"));
        }
        let layout = Layout::of(state_root, &repo.worktree);
        let mut held = layout.enter()?;
        let mut recovered = None;
        if Private::exists(&layout) && !layout.in_use(&held) {
            recovered = Some(reap::finish(&layout, held, &repo.program)?);
            held = layout.enter()?;
        }
        let private = match Private::exists(&layout) {
            true => Private::open(&layout, &repo.program)?,
            false => match Private::make(repo, layout.clone(), run_id) {
                Ok(private) => private,
                Err(why) => {
                    // Nobody has seen what was made of it.
                    layout.remove(held)?;
                    return Err(why);
                }
            },
        };
        let live = Some(private.layout.live(run_id)?);
        let mounts = private.mounts();
        drop(held);
        Ok(Self { private, run: run_id.to_owned(), live, recovered, mounts })
    }

    /// Whether this worktree has a private git dir: of live runs, or of one that crashed.
    pub fn exists(state_root: &Path, worktree: &Path) -> bool {
        Private::exists(&Layout::of(state_root, worktree))
    }

    /// What [`Self::enter`] imported on behalf of a crashed run.
    pub fn recovered(&self) -> Option<&Imported> {
        self.recovered.as_ref()
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.private.repo
    }

    /// What the sandbox mounts for git, parents first, after the work tree itself (which is not among them).
    pub fn mounts(&self) -> Vec<GitMount> {
        self.mounts.clone()
    }

    /// Brings host and guest together once.
    pub fn import(&self) -> Result<Imported, GitError> {
        match self.private.layout.hold_existing()? {
            Some(_held) => Ok(self.private.sync(false)?.imported),
            None => Err(GitError::Changed(self.private.layout.dir.clone())),
        }
    }

    /// Ends this run's part. The last one out imports and removes the private git dir, or keeps it and says where.
    pub fn leave(mut self) -> Result<Imported, GitError> {
        let layout = &self.private.layout;
        let held = layout.hold_existing()?.ok_or_else(|| GitError::Changed(layout.dir.clone()))?;
        if let Some(live) = self.live.take() {
            layout.gone(&self.run, live);
        }
        if layout.in_use(&held) {
            return Ok(self.private.sync(false)?.imported);
        }
        reap::end(&self.private, held)
    }

    /// Notices changes the guest makes, and another repository in this one's place.
    pub fn watch(&self) -> io::Result<Watch> {
        Watch::new(&self.private.layout.guest(), &self.private.admin, &self.private.repo.record.paths())
    }
}
