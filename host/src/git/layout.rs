//! Where the files of one boundary lie, and the locks that say who may touch them.
//!
//! ```text
//! <state>/git/<worktree hash>/
//!     lock            held for each operation: one process at a time
//!     run-<run id>    held by a live run for as long as it lives
//!     record.json     which repository this is for
//!     base.json       what host and guest last agreed on
//!     exchange/       the host's own bare repository, where the guest's objects are checked
//!     modules/<n>/    the same again for each populated submodule
//!     open            a link to what guests see:
//! <state>/git/open/<repository hash>/<random>/
//!     guest/          the private git dir that is mounted: everything in it is the guest's
//!     covers/<n>/     mounted over each submodule that is not populated
//! ```
//!
//! What guests see of all worktrees of a repository lies in one directory, beside nothing of the host's, and that
//! directory stays: instances that keep the mounts they were made with are given it whole. Whoever rules such an instance
//! is there all the time and can put links in it. So what guests see is made in the place of the link, where nobody else
//! is, and moved into the directory when it is whole; afterwards no link there is followed. The link is made before what
//! it leads to, and goes after it, so that nothing is ever lost sight of.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::error::GitError;
use super::oid::Oid;
use super::step;

/// How long one operation waits for another process's. Longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(180);
/// What a directory is called while it is being removed.
const GONE: &str = "gone-";
const POLL: Duration = Duration::from_millis(5);
/// The directory of what guests see.
const SHARED: &str = "open";
/// What the names of live runs begin with.
const RUN: &str = "run-";

/// The directory of one worktree's boundary.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub dir: PathBuf,
}

/// The right to change what lies in the directory.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "closing it is what it is for")] File);

impl Layout {
    pub(super) fn of(state_root: &Path, worktree: &Path) -> Self {
        Self { dir: state_root.join("git").join(hash(worktree)) }
    }

    /// The directories below `state_root` that belong to worktrees, kept ones not among them.
    pub(super) fn all(state_root: &Path) -> Vec<Self> {
        let entries = fs::read_dir(state_root.join("git")).into_iter().flatten().flatten();
        let ours = |name: &str| name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit());
        entries.filter(|e| e.file_name().to_str().is_some_and(ours)).map(|e| Self { dir: e.path() }).collect()
    }

    /// The link to what guests see; until that is whole, what will be it.
    fn open(&self) -> PathBuf {
        self.dir.join("open")
    }

    /// What [`Self::open`] becomes, while it does.
    fn open_new(&self) -> PathBuf {
        self.dir.join("open.new")
    }

    /// What guests see, as it is mounted: without the link.
    pub(super) fn opened(&self) -> PathBuf {
        fs::read_link(self.open()).unwrap_or_else(|_| self.open())
    }

    /// Directories above what guests see, the narrowest first: of the same repository, of all.
    pub(super) fn shares(&self) -> Vec<PathBuf> {
        self.opened().ancestors().skip(1).take(2).map(Path::to_owned).collect()
    }

    /// The directory of all that guests see of a repository, given its common dir.
    pub(super) fn share(&self, common_dir: &Path) -> PathBuf {
        self.dir.with_file_name(SHARED).join(hash(common_dir))
    }

    /// Makes room for what guests will see.
    pub(super) fn make_open(&self) -> Result<(), GitError> {
        private_dir(&self.open())
    }

    /// Moves what guests see into `share`, now that it is whole.
    pub(super) fn share_open(&self, share: &Path) -> Result<(), GitError> {
        private_dir(share)?;
        let (link, new, target) = (self.open(), self.open_new(), share.join(random_name()?));
        std::os::unix::fs::symlink(&target, &new).map_err(GitError::io("make", &new))?;
        step("link-made");
        fs::rename(&link, &target).map_err(GitError::io("rename", &link))?;
        step("shared");
        fs::rename(&new, &link).map_err(GitError::io("rename", &new))
    }

    /// Removes what guests see, of submodules too.
    pub(super) fn remove_open(&self) -> Result<(), GitError> {
        for entry in fs::read_dir(self.modules()).into_iter().flatten().flatten() {
            Self { dir: entry.path() }.remove_open()?;
        }
        for link in [self.open(), self.open_new()] {
            match fs::read_link(&link) {
                Ok(target) => {
                    remove_tree(&target)?;
                    fs::remove_file(&link).map_err(GitError::io("remove", &link))?;
                }
                Err(_) => remove_tree(&link)?,
            }
        }
        Ok(())
    }

    /// Brings what guests see here, of submodules too, in the place of the links to it.
    fn gather(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.modules()).into_iter().flatten().flatten() {
            Self { dir: entry.path() }.gather()?;
        }
        let (link, new) = (self.open(), self.open_new());
        if let Ok(target) = fs::read_link(&link) {
            // In this order it is always to be found from here.
            fs::rename(target, &new)?;
            fs::remove_file(&link)?;
            fs::rename(new, link)?;
        }
        Ok(())
    }

    pub(super) fn guest(&self) -> PathBuf {
        self.opened().join("guest")
    }

    pub(super) fn exchange(&self) -> PathBuf {
        self.dir.join("exchange")
    }

    pub(super) fn record(&self) -> PathBuf {
        self.dir.join("record.json")
    }

    pub(super) fn base(&self) -> PathBuf {
        self.dir.join("base.json")
    }

    /// The private git dirs of populated submodules.
    pub(super) fn modules(&self) -> PathBuf {
        self.dir.join("modules")
    }

    /// One of them.
    pub(super) fn module(&self, n: usize) -> Self {
        Self { dir: self.modules().join(n.to_string()) }
    }

    /// What is mounted over submodules that are not populated.
    pub(super) fn covers(&self) -> PathBuf {
        self.opened().join("covers")
    }

    /// Names the lock file we may have left in the repository.
    pub(super) fn index_lock(&self) -> PathBuf {
        self.dir.join("index-lock")
    }

    fn run(&self, run: &str) -> PathBuf {
        self.dir.join(format!("{RUN}{run}"))
    }

    /// Makes the directory where it is missing, and takes it.
    pub(super) fn enter(&self) -> Result<Held, GitError> {
        let until = Instant::now() + PATIENCE;
        loop {
            private_dir(&self.dir)?;
            match self.hold(until)? {
                Some(held) => return Ok(held),
                // Its last user removed it meanwhile.
                None => continue,
            }
        }
    }

    /// Takes the directory, or `None` where there is none any more.
    pub(super) fn hold_existing(&self) -> Result<Option<Held>, GitError> {
        match self.dir.is_dir() {
            true => self.hold(Instant::now() + PATIENCE),
            false => Ok(None),
        }
    }

    fn hold(&self, until: Instant) -> Result<Option<Held>, GitError> {
        let path = self.dir.join("lock");
        let file = match lock_file(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(GitError::io("open", path)(e)),
        };
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(POLL),
                Err(TryLockError::WouldBlock) => return Err(GitError::Busy(path)),
                Err(TryLockError::Error(e)) => return Err(GitError::io("lock", path)(e)),
            }
        }
        let same = |a: io::Result<fs::Metadata>, b: io::Result<fs::Metadata>| matches!((a, b), (Ok(a), Ok(b)) if a.ino() == b.ino() && a.dev() == b.dev());
        Ok(same(file.metadata(), fs::metadata(&path)).then_some(Held(file)))
    }

    /// Says that `run` is alive for as long as the answer is kept open.
    pub(super) fn live(&self, run: &str) -> Result<File, GitError> {
        let path = self.run(run);
        let file = lock_file(&path).map_err(GitError::io("make", &path))?;
        file.try_lock().map_err(|_| GitError::Busy(path))?;
        Ok(file)
    }

    /// Ends what [`Self::live`] said.
    pub(super) fn gone(&self, run: &str, live: File) {
        let _already = fs::remove_file(self.run(run));
        drop(live);
    }

    /// Whether a run is alive here. Only with the directory held: marks of dead runs are removed.
    pub(super) fn in_use(&self, _held: &Held) -> bool {
        let mut live = false;
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if !entry.file_name().as_encoded_bytes().starts_with(RUN.as_bytes()) {
                continue;
            }
            let path = entry.path();
            match lock_file(&path).map(|file| file.try_lock()) {
                Ok(Ok(())) => _ = fs::remove_file(&path),
                // Also where it cannot be known.
                _ => live = true,
            }
        }
        live
    }

    /// Removes the directory as one step that others see.
    pub(super) fn remove(&self, held: Held) -> Result<(), GitError> {
        let gone = self.beside(&format!("{GONE}{}", random_name()?));
        fs::rename(&self.dir, &gone).map_err(GitError::io("remove", &self.dir))?;
        step("removing");
        drop(held);
        // Files of another user's in it: everything is imported, and the next sweep tries again.
        let _best_effort = remove_gone(&gone);
        Ok(())
    }

    /// Puts the directory aside for the user, and says where.
    pub(super) fn keep(&self, held: Held, run: &str) -> Result<PathBuf, GitError> {
        let mut kept = self.beside(&format!("kept-{run}"));
        for n in 2.. {
            if !kept.exists() {
                break;
            }
            kept = self.beside(&format!("kept-{run}-{n}"));
        }
        fs::rename(&self.dir, &kept).map_err(GitError::io("rename", &self.dir))?;
        drop(held);
        // What cannot be brought there stays where it is: the link leads to it.
        let _best_effort = Self { dir: kept.clone() }.gather();
        Ok(kept)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        self.dir.with_file_name(format!("{name}.{suffix}"))
    }

    /// Removes what processes that were killed while removing have left.
    pub(super) fn sweep(state_root: &Path) {
        for entry in fs::read_dir(state_root.join("git")).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&format!(".{GONE}")) {
                // Whoever is still at it, or comes next, removes the rest.
                let _best_effort = remove_gone(&entry.path());
            }
        }
    }
}

/// What was renamed to be removed: first what it leads to.
fn remove_gone(path: &Path) -> Result<(), GitError> {
    Layout { dir: path.to_owned() }.remove_open()?;
    step("removed-open");
    remove_tree(path)
}

/// Sixteen hex digits that stand for a path.
fn hash(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let hash = Sha256::digest(path.as_os_str().as_bytes());
    Oid::from_raw(&hash).as_str()[..16].to_owned()
}

/// Sixteen hex digits nobody else has.
pub(super) fn random_name() -> Result<String, GitError> {
    let mut random = [0; 8];
    let failed = |e| GitError::io("read", "/dev/urandom")(io::Error::other(e));
    getrandom::fill(&mut random).map_err(failed)?;
    Ok(Oid::from_raw(&random).to_string())
}

/// Removes what a guest may have filled: unreadable directories are made readable first.
pub(super) fn remove_tree(path: &Path) -> Result<(), GitError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            unlock_dirs(path, 0);
            fs::remove_dir_all(path).map_err(GitError::io("remove", path))
        }
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(GitError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn unlock_dirs(path: &Path, depth: usize) {
    use std::os::unix::fs::PermissionsExt;
    if depth > 256 || !fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()) {
        return;
    }
    let _best_effort = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        unlock_dirs(&entry.path(), depth + 1);
    }
}

/// A directory that is ours alone, made with its parents.
pub(super) fn private_dir(path: &Path) -> Result<(), GitError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(GitError::io("make", path))
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Replaces the file at `path` as one step.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<(), GitError> {
    let new = path.with_extension("new");
    fs::write(&new, content).map_err(GitError::io("write", &new))?;
    fs::rename(&new, path).map_err(GitError::io("rename", &new))
}

/// [`write_whole`], as JSON.
pub(super) fn save(path: &Path, value: &impl Serialize) -> Result<(), GitError> {
    let text = serde_json::to_vec(value).map_err(io::Error::from).map_err(GitError::io("write", path))?;
    write_whole(path, &text)
}

/// [`save`] for a file that nobody looks for before a later one is there.
pub(super) fn save_first(path: &Path, value: &impl Serialize) -> Result<(), GitError> {
    let text = serde_json::to_vec(value).map_err(io::Error::from).map_err(GitError::io("write", path))?;
    fs::write(path, text).map_err(GitError::io("write", path))
}

/// What [`save`] wrote, or `None` where there is no such file.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, GitError> {
    match fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map(Some).map_err(io::Error::from).map_err(GitError::io("read", path))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(GitError::io("read", path)(e)),
    }
}
