//! Records of running sandboxes: `<state>/runs/<run id>/`.
//!
//! A record says which backend made what, for which worktree, by which process. The supervisor holds a lock in it for
//! life, so that what a killed supervisor left can be proved to be an orphan: the lock is free **and** the recorded
//! process (number and start time) is gone. `reap` acts on that and on nothing less.

mod checkout_lock;
mod process;
mod reap;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use workmux_plugin_api::{Instance, Purpose, Route};

pub use checkout_lock::CheckoutLock;
pub use process::{ProcessIdentity, alive};
pub use reap::{Orphan, end_guests, has_distant_guests, orphans};

/// The record's file in a run's directory.
const RECORD: &str = "record.json";

/// What is known of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 32 lower-case hex digits.
    pub run: String,
    /// What it was started for.
    pub purpose: Purpose,
    /// The backend's name.
    pub backend: String,
    /// What the backend made; absent until it has.
    pub instance: Option<Instance>,
    /// The supervisor.
    pub supervisor: ProcessIdentity,
    /// The instance's first process, where it is one of this machine.
    pub first_process: Option<ProcessIdentity>,
    /// The repository's common directory, canonical.
    pub repository: PathBuf,
    /// The checkout's top level, canonical.
    pub worktree: PathBuf,
    /// What else of the host's the guest can write.
    #[serde(default)]
    pub writable: Vec<PathBuf>,
    /// Where the command was started.
    pub cwd: PathBuf,
    /// Seconds since 1970.
    pub started: u64,
    /// The backend's settings, needed to reach the instance again.
    pub settings: serde_json::Value,
    /// How its guests reach a supervisor.
    #[serde(default)]
    pub route: Route,
}

/// A run of this process: its directory, locked until dropped.
#[derive(Debug)]
pub struct Run {
    directory: PathBuf,
    record: Record,
    _lock: File,
}

impl Run {
    /// Makes the directory, takes the lock and writes the first record.
    pub fn begin(state: &Path, record: Record) -> io::Result<Self> {
        let runs = private_directory(&state.join("runs"))?;
        let directory = runs.join(&record.run);
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let lock = OpenOptions::new().create_new(true).write(true).mode(0o600).open(directory.join("lock"))?;
        // Nobody else knows the directory yet, but a reaper may be looking.
        lock.lock()?;
        let run = Self { directory, record, _lock: lock };
        // The first one replaces nothing: cut short by a crash it is as good as none.
        fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(run.directory.join(RECORD))?
            .write_all(&serde_json::to_vec(&run.record)?)?;
        for part in ["sock", "scratch"] {
            fs::DirBuilder::new().mode(0o700).create(run.directory.join(part))?;
        }
        Ok(run)
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.record.run
    }

    /// The run's directory; never mounted itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory of sockets that the guest sees.
    pub fn sockets(&self) -> PathBuf {
        self.directory.join("sock")
    }

    /// The backend's directory for files of this run.
    pub fn scratch(&self) -> PathBuf {
        self.directory.join("scratch")
    }

    /// Changes the record, on disk too.
    pub fn update(&mut self, change: impl FnOnce(&mut Record)) -> io::Result<()> {
        change(&mut self.record);
        self.write()
    }

    /// Removes everything of this run.
    pub fn end(self) -> io::Result<()> {
        remove(&self.directory)
    }

    fn write(&self) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&serde_json::to_vec(&self.record)?)?;
        file.persist(self.directory.join(RECORD))?;
        Ok(())
    }
}

/// The runs that are alive, newest first. Unreadable records are left to the reaper.
pub fn live(state: &Path) -> Vec<(PathBuf, Record)> {
    let mut all: Vec<_> = directories(state)
        .into_iter()
        .filter_map(|dir| Some((read(&dir)?, dir)))
        .filter(|(record, _)| alive(&record.supervisor))
        .map(|(record, dir)| (dir, record))
        .collect();
    all.sort_by_key(|(_, record)| std::cmp::Reverse(record.started));
    all
}

/// Every run whose guest may be alive: a supervisor that was killed may have left it.
pub fn perhaps_live(state: &Path) -> Vec<Record> {
    let left = |record: &Record| match &record.first_process {
        Some(process) => alive(process),
        None => record.instance.is_some(),
    };
    let all = directories(state).into_iter().filter_map(|dir| read(&dir));
    all.filter(|record| alive(&record.supervisor) || left(record)).collect()
}

/// Where the run with this id keeps its things.
pub fn directory(state: &Path, run: &str) -> PathBuf {
    state.join("runs").join(run)
}

fn directories(state: &Path) -> Vec<PathBuf> {
    fs::read_dir(state.join("runs"))
        .map(|entries| entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| is_run_id(p)).collect())
        .unwrap_or_default()
}

fn is_run_id(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.len() == 32 && n.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn read(directory: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(directory.join(RECORD)).ok()?).ok()
}

fn remove(directory: &Path) -> io::Result<()> {
    // The record goes first: a directory without one is only rubbish to whoever finds it.
    let _absent = fs::remove_file(directory.join(RECORD));
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes a directory that only the user can enter.
pub fn private_directory(path: &Path) -> io::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Ok(path.to_owned())
}

/// A fresh run id: 128 random bits as 32 hex digits.
pub fn new_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn record(run: &str, supervisor: ProcessIdentity) -> Record {
        Record {
            run: run.into(),
            purpose: Purpose::Agent,
            backend: "acme".into(),
            instance: None,
            supervisor,
            first_process: None,
            repository: "/r/.git".into(),
            worktree: "/r".into(),
            writable: Vec::new(),
            cwd: "/r".into(),
            started: 1,
            settings: serde_json::Value::Null,
            route: Route::Sockets,
        }
    }

    #[test]
    fn a_run_leaves_nothing_behind() {
        let state = tempfile::tempdir().unwrap();
        let mut run = Run::begin(state.path(), record(&new_id().unwrap(), ProcessIdentity::own())).unwrap();
        run.update(|r| r.instance = Some(Instance { name: "i".into(), ..Instance::default() })).unwrap();
        let live = live(state.path());
        assert_eq!(live.len(), 1);
        assert_eq!(live[0].1.instance.as_ref().unwrap().name, "i");
        assert!(orphans(state.path()).is_empty());
        run.end().unwrap();
        assert_eq!(fs::read_dir(state.path().join("runs")).unwrap().count(), 0);
    }
}
