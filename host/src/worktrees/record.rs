//! What is known of each worktree that was made here: `<state>/worktrees/<key>/`, the key following from its path.
//!
//! `record.json` is written by who makes, opens or closes it; `state.json` by the process in its agent's pane and by who
//! tells the agent something. Both are replaced whole. A directory without a record is a worktree in the making: whoever made the directory owns the name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::panes::Plan;
use crate::runs::{ProcessIdentity, alive, private_directory};

const RECORD: &str = "record.json";
const STATE: &str = "state.json";
const LOCK: &str = "state.lock";
const OPEN_LOCK: &str = "open.lock";
const PROMPT: &str = "prompt";
/// The frozen configuration, named by `config`.
const CONFIG: &str = "config.json";
/// The status of an agent that was told something and has not said yet that it works at it.
const ASKED: &str = "asked";
/// Seconds that a pane's process may take to begin.
const STARTING: u64 = 60;
/// Beyond that it is none of ours.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// One worktree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// 32 hex digits; its window carries them as a token.
    pub id: String,
    /// What commands call it.
    pub handle: String,
    /// Its branch when it was made.
    pub branch: String,
    /// The branch it was made from, where it was one.
    pub base: Option<String>,
    /// The repository's common directory.
    pub repository: PathBuf,
    /// Its root, canonical.
    pub worktree: PathBuf,
    /// Where its panes start: the root, or the directory of the project's file.
    pub cwd: PathBuf,
    /// Who asked for it, if a guest did.
    pub parent: Option<Parent>,
    /// Seconds since 1970.
    pub created: u64,
    /// The agent's name, for lists.
    pub agent: Option<String>,
    /// Whether its agent works in a sandbox.
    pub sandboxed: bool,
    /// Its windows, and what runs in them.
    pub windows: Vec<Plan>,
    /// What shows them.
    pub place: Option<Place>,
    /// Who makes it, until it is made.
    pub maker: Option<ProcessIdentity>,
    /// Whether its branch is new, and goes where it is not finished.
    pub new_branch: bool,
}

impl Record {
    /// The directory of its repository, for people: the main checkout, or a bare repository itself.
    pub(crate) fn project(&self) -> &Path {
        let git = self.repository.as_path();
        git.parent().filter(|_| git.ends_with(".git")).unwrap_or(git)
    }
}

/// The run that asked for a worktree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    /// The run's id.
    pub run: String,
    /// The record of the worktree that the run works for, if it has one.
    pub record: Option<String>,
    /// Its handle, for lists.
    pub handle: Option<String>,
    /// All that comes from one command of the user's is one family: the id of the first run, or record.
    pub family: String,
    /// How far from the user: 1 = by a run that the user started.
    pub depth: u32,
}

/// What shows a worktree's windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Place {
    /// A window of a multiplexer's; found again by the record's id.
    Window {
        /// The multiplexer.
        multiplexer: String,
        /// Its socket.
        socket: PathBuf,
        /// The agent's pane, or the first one.
        pane: String,
    },
    /// A terminal nobody sees.
    Background,
}

/// How its agent is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// What it last said: `working`, `waiting`, `done`; `asked` once it was told something after that; empty = nothing.
    pub status: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// The run it works in.
    pub run: Option<String>,
    /// Whether its sandbox is there and its command has begun.
    #[serde(default)]
    pub begun: bool,
    /// How its command ended.
    pub exit_code: Option<i32>,
    /// The process in its pane; a shell takes it over when the agent has ended.
    pub process: Option<ProcessIdentity>,
}

impl State {
    /// The agent says this of itself; empty = nothing any more.
    pub(crate) fn say(&mut self, status: &str) {
        self.status = status.to_owned();
        self.since = now();
    }

    /// It was told something: what it said before holds no more. One that works goes on, and will say when it is done.
    pub(crate) fn asked(&mut self) {
        if self.status != "working" {
            self.say(ASKED);
        }
    }

    /// It was not told after all.
    pub(crate) fn untold(&mut self, before: &str) {
        if self.status == ASKED {
            self.say(before);
        }
    }

    /// Whether it is known to be at something.
    pub(crate) fn busy(&self) -> bool {
        self.running() && matches!(&*self.status, "working" | ASKED)
    }

    /// Its window was opened a moment ago, and its process has not said so yet.
    pub(crate) fn starting(&self) -> bool {
        let waited = now().saturating_sub(self.since);
        self.process.is_none() && self.exit_code.is_none() && self.since > 0 && waited < STARTING
    }

    /// Whether the agent works.
    pub(crate) fn running(&self) -> bool {
        self.exit_code.is_none() && self.process.as_ref().is_some_and(alive)
    }
}

/// All records.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// Those below this state directory.
    pub(crate) fn new(state: &Path) -> Self {
        Self { root: state.join("worktrees") }
    }

    /// Where merges are computed, in worktrees that nobody else is to see.
    pub(crate) fn merges(&self) -> PathBuf {
        self.root.with_file_name(super::scratch::MERGES)
    }

    fn directory(&self, worktree: &Path) -> PathBuf {
        let hash = Sha256::digest(worktree.as_os_str().as_bytes());
        let key: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.root.join(key)
    }

    /// Takes a worktree's name; nothing where somebody has it.
    pub(crate) fn reserve(&self, mut record: Record) -> io::Result<Option<Entry>> {
        // Joined with nothing, a path ends with a slash that shells would show.
        record.cwd = record.cwd.components().collect();
        private_directory(&self.root)?;
        let directory = self.directory(&record.worktree);
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(e) => return Err(e),
        }
        let entry = Entry { directory, record };
        match entry.save() {
            Ok(()) => Ok(Some(entry)),
            Err(e) => {
                let _incomplete = fs::remove_dir_all(&entry.directory);
                Err(e)
            }
        }
    }

    /// The worktree with this root.
    pub(crate) fn find(&self, worktree: &Path) -> Option<Entry> {
        Entry::read(self.directory(worktree)).filter(|entry| entry.record.worktree == worktree)
    }

    /// All that can be read, oldest first.
    pub(crate) fn all(&self) -> Vec<Entry> {
        let directories = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut all: Vec<Entry> = directories.filter_map(|found| Entry::read(found.path())).collect();
        all.sort_by(|a, b| (a.record.created, &a.record.handle).cmp(&(b.record.created, &b.record.handle)));
        all
    }

    /// All of one repository.
    pub(crate) fn of_repository(&self, common_dir: &Path) -> Vec<Entry> {
        let mut all = self.all();
        all.retain(|entry| entry.record.repository == common_dir);
        all
    }

    /// Holds back everybody else who decides by counting.
    pub(crate) fn lock(&self) -> io::Result<File> {
        private_directory(&self.root)?;
        let path = self.root.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        file.lock()?;
        Ok(file)
    }

    /// Takes away a directory whose maker died before it wrote anything.
    pub(crate) fn sweep(&self, worktree: &Path) {
        let directory = self.directory(worktree);
        if Entry::read(directory.clone()).is_none()
            && fs::metadata(&directory)
                .and_then(|m| m.modified())
                .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age.as_secs() > 10))
        {
            let _gone = fs::remove_dir_all(directory);
        }
    }
}

/// One worktree's record and where it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Private, and never shown to a guest.
    pub directory: PathBuf,
    /// What is known.
    pub record: Record,
}

impl Entry {
    /// The entry kept there.
    pub(crate) fn read(directory: PathBuf) -> Option<Self> {
        let record = load(&directory.join(RECORD))?;
        Some(Self { directory, record })
    }

    /// Keeps what is known now.
    pub(crate) fn save(&self) -> io::Result<()> {
        save(&self.directory, RECORD, &self.record)
    }

    /// Holds back everybody else who opens it.
    pub(crate) fn lock(&self) -> io::Result<File> {
        let path = self.directory.join(OPEN_LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        file.lock()?;
        Ok(file)
    }

    /// How its agent is.
    pub(crate) fn state(&self) -> State {
        load(&self.directory.join(STATE)).unwrap_or_default()
    }

    /// Changes how its agent is.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) -> io::Result<()> {
        change_state(&self.directory, change)
    }

    /// The frozen configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory.join(CONFIG)
    }

    /// Keeps the prompt, byte for byte.
    pub(crate) fn keep_prompt(&self, prompt: &str) -> io::Result<()> {
        let path = self.directory.join(PROMPT);
        if prompt.is_empty() {
            return match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            };
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(prompt.as_bytes())?;
        file.persist(path)?;
        Ok(())
    }

    /// The prompt it was made with.
    pub(crate) fn prompt(&self) -> Option<String> {
        fs::read_to_string(self.directory.join(PROMPT)).ok()
    }

    /// Forgets it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Whether it was made to the end.
    pub(crate) fn complete(&self) -> bool {
        self.record.maker.is_none()
    }

    /// Whether nobody will ever finish it.
    pub(crate) fn abandoned(&self) -> bool {
        self.record.maker.as_ref().is_some_and(|maker| !alive(maker))
    }
}

/// Changes the state kept in a worktree's directory, one change after the other.
pub(crate) fn change_state(directory: &Path, change: impl FnOnce(&mut State)) -> io::Result<()> {
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(directory.join(LOCK))?;
    lock.lock()?;
    let mut state: State = load(&directory.join(STATE)).unwrap_or_default();
    change(&mut state);
    save(directory, STATE, &state)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    if fs::metadata(path).ok()?.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn save(directory: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.persist(directory.join(name))?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record of this worktree.
    pub(crate) fn record(worktree: &str) -> Record {
        Record {
            id: format!("{:032x}", worktree.len()),
            handle: Path::new(worktree).file_name().unwrap().to_string_lossy().into_owned(),
            branch: "b".into(),
            base: None,
            repository: "/r/.git".into(),
            worktree: worktree.into(),
            cwd: worktree.into(),
            parent: None,
            created: 1,
            agent: None,
            sandboxed: true,
            windows: Vec::new(),
            place: None,
            maker: Some(ProcessIdentity::own()),
            new_branch: true,
        }
    }

    #[test]
    fn p7_a_name_is_taken_once() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path());
        let entry = store.reserve(record("/w/x")).unwrap().unwrap();
        assert!(store.reserve(record("/w/x")).unwrap().is_none());
        assert!(store.reserve(record("/w/y")).unwrap().is_some());
        assert_eq!(store.all().len(), 2);
        assert!(!entry.complete() && !entry.abandoned());
        entry.remove().unwrap();
        assert!(store.find(Path::new("/w/x")).is_none() && store.find(Path::new("/w/y")).is_some());
    }

    #[test]
    fn an_agent_runs_while_its_process_does_and_has_not_ended() {
        let state = tempfile::tempdir().unwrap();
        let entry = Store::new(state.path()).reserve(record("/w/x")).unwrap().unwrap();
        assert!(!entry.state().running());
        assert!(!entry.state().starting());
        entry.change(|state| state.since = now()).unwrap();
        assert!(entry.state().starting() && !entry.state().running());
        entry.change(|state| state.since = now() - STARTING).unwrap();
        assert!(!entry.state().starting());
        entry.change(|state| state.process = Some(ProcessIdentity::own())).unwrap();
        assert!(entry.state().running());
        entry.change(|state| state.exit_code = Some(0)).unwrap();
        assert!(!entry.state().running());
        let dead = ProcessIdentity { pid: 1, start: "x".into() };
        entry.change(|state| *state = State { process: Some(dead), ..State::default() }).unwrap();
        assert!(!entry.state().running());
    }
}
