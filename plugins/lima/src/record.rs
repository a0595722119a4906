//! What is remembered of a machine between runs, in a directory that no guest sees:
//!
//! ```text
//! <state of this backend>/machines/<name>/
//!     lock          held by whoever makes, starts, stops or deletes the machine
//!     record.json   what was found out when it was last looked at
//!     consent       the user's word on git's own files
//!     lima.yaml     what it was made from
//!     provision     which of the user's wishes that was made from
//!     host/         exported to the machine, read-only
//! ```
//!
//! A record that fits the machine as it is spares every question to `limactl`: the paths, and the start it describes, are
//! compared with what lies on the disk.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workmux_plugin_api::{Context, Error, Result};

use crate::exports::Export;
use crate::files::Files;
use crate::layout::{Machine, Place};

const ACCEPTED: &str = "accepted-v1\n";
const PROVISION: &str = "provision";
const WAIT: Duration = Duration::from_millis(50);

/// What was found out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// Lima's directory for it.
    pub(crate) dir: PathBuf,
    pub(crate) ssh_config: PathBuf,
    pub(crate) exports: Vec<Export>,
    /// Where the machine has other things of the host, which are no sandbox's.
    pub(crate) others: Vec<PathBuf>,
    /// The start that all this was found out after.
    pub(crate) start: String,
    /// Its user's home, in the machine.
    pub(crate) home: PathBuf,
    /// A directory below `/run` that names are looked up with.
    pub(crate) resolver: Option<PathBuf>,
    pub(crate) user: String,
    /// The places that are there, since that start.
    pub(crate) places: BTreeSet<String>,
    /// The agent that was installed when it was made.
    pub(crate) agent: Option<String>,
    /// One that could not be installed.
    pub(crate) no_agent: Option<String>,
    /// The image it was made from.
    pub(crate) image: String,
    /// What it was to be prepared with when it was made, as a digest.
    pub(crate) provision: Option<String>,
    /// A development build of the guest program was placed in it.
    pub(crate) developed: bool,
    pub(crate) cpus: u32,
    pub(crate) memory: u64,
    /// Of the disk it was made with; 0 = not known.
    pub(crate) disk: u64,
}

/// The directory of one machine.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) name: String,
    dir: PathBuf,
}

/// The right to change the machine.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "closing it is what it is for")] File);

impl Kept {
    pub(crate) fn of(state: &Path, name: &str) -> Self {
        Self { name: name.to_owned(), dir: state.join("machines").join(name) }
    }

    pub(crate) fn files(&self) -> Files {
        Files::new(self.dir.join("host"))
    }

    /// What it is made from.
    pub(crate) fn template(&self) -> PathBuf {
        self.dir.join("lima.yaml")
    }

    /// What the machine was to be prepared with, as it was written when it was made.
    pub(crate) fn provision(&self) -> Option<String> {
        fs::read_to_string(self.dir.join(PROVISION)).ok()
    }

    pub(crate) fn set_provision(&self, digest: &str) -> Result<()> {
        self.write(PROVISION, digest.as_bytes())
    }

    /// Waits for whoever changes the machine now.
    pub(crate) async fn hold(&self, cx: &Context) -> Result<Held> {
        let path = self.dir.join("lock");
        let mut waited = Duration::ZERO;
        loop {
            let open = || {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
            };
            let file = open().map_err(|e| self.failed(&e))?;
            match file.try_lock() {
                // Whoever deleted the machine took the file away.
                Ok(()) if same(&file, &path) => return Ok(Held(file)),
                Ok(()) => {}
                Err(TryLockError::Error(e)) => return Err(self.failed(&e)),
                Err(TryLockError::WouldBlock) => {
                    if waited.as_millis().is_multiple_of(1000) {
                        cx.progress(format!("waiting: another workmux works on the machine '{}'", self.name), 0, 0);
                    }
                    cx.sleep(WAIT).await?;
                    waited += WAIT;
                }
            }
        }
    }

    /// What is remembered; nothing where that cannot be read.
    pub(crate) fn load(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.dir.join("record.json")).ok()?).ok()
    }

    /// Remembers, as one step.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec_pretty(record).map_err(|e| self.failed(&e.into()))?;
        self.write("record.json", &text)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let written = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
            let mut new = tempfile::NamedTempFile::new_in(&self.dir)?;
            new.write_all(content)?;
            new.persist(self.dir.join(name)).map(drop).map_err(|e| e.error)
        };
        written().map_err(|e| self.failed(&e))
    }

    /// Whether the user has agreed that the machine may write git's own files. A record that is not ours is none, and an
    /// error: somebody else put it there.
    pub(crate) fn has_consent(&self) -> Result<bool> {
        let path = self.dir.join("consent");
        let read = || -> io::Result<String> {
            let mut text = String::new();
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
                .open(&path)?;
            io::Read::read_to_string(&mut io::Read::take(file, 64), &mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) if text == ACCEPTED => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            other => {
                let error = Error::refused(format!("'{}' is no record of a consent", path.display()));
                let why = other.err().map_or("it holds something else".to_owned(), |e| e.to_string());
                Err(error.cause(why).hint("look at it, and remove it"))
            }
        }
    }

    pub(crate) fn consent(&self) -> Result<()> {
        self.write("consent", ACCEPTED.as_bytes())
    }

    /// Forgets the machine; it is gone. The lock goes last, with the directory.
    pub(crate) fn forget(&self, held: Held) -> Result<()> {
        let gone = match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.failed(&e)),
            _ => Ok(()),
        };
        drop(held);
        gone
    }

    fn failed(&self, e: &io::Error) -> Error {
        Error::internal(format!("could not keep what belongs to the machine in '{}'", self.dir.display()))
            .cause(e.to_string())
    }
}

impl Record {
    /// The machine, as far as it decides what a sandbox sees.
    pub(crate) fn machine<'a>(&'a self, exports: &'a [Export]) -> Machine<'a> {
        Machine { exports, others: &self.others, home: &self.home, resolver: self.resolver.as_deref() }
    }

    /// Whether all of these are there.
    pub(crate) fn has(&self, places: &[Place]) -> bool {
        places.iter().all(|place| self.places.contains(&place.key()))
    }

    /// Whether the machine is the one that was looked at, and has been running since.
    pub(crate) fn is_current(&self, lima_home: &Path) -> bool {
        self.dir.parent() == Some(lima_home)
            && !self.start.is_empty()
            && self.start == start(&self.dir)
            && self.ssh_config.exists()
    }
}

/// Names one start of a machine: its host agent, and the configuration it was started with.
pub(crate) fn start(dir: &Path) -> String {
    let pid = dir.join("ha.pid");
    let (Ok(number), Ok(meta), Ok(config)) =
        (fs::read_to_string(&pid), fs::metadata(&pid), fs::metadata(dir.join("lima.yaml")))
    else {
        return String::new();
    };
    let number = number.trim();
    if !number.parse().is_ok_and(lives) {
        return String::new();
    }
    format!(
        "{number} {}.{} {}.{} {}",
        meta.mtime(),
        meta.mtime_nsec(),
        config.mtime(),
        config.mtime_nsec(),
        config.ino()
    )
}

/// Whether what runs the machine itself is there, besides its host agent: each kind of driver has a file of its own.
pub(crate) fn driver_lives(dir: &Path) -> bool {
    let pids = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let drivers = pids.filter(|path| path.extension().is_some_and(|end| end == "pid") && !path.ends_with("ha.pid"));
    drivers.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).any(lives)
}

/// Whether a process is there and has not ended. One that nobody has waited for yet still has its number.
fn lives(pid: i32) -> bool {
    let there = pid > 0 && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok();
    let ended = |stat: String| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
    // Where there is no such file, the number is all there is to ask for.
    there && !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(ended)
}

fn same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p25_a_consent_is_a_file_of_ours_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::of(dir.path(), "wm-x");
        assert!(!kept.has_consent().unwrap());
        kept.consent().unwrap();
        assert!(kept.has_consent().unwrap());
        let path = kept.dir.join("consent");
        for content in ["", "accepted-v1", "accepted-v2\n", "accepted-v1\nmore"] {
            fs::write(&path, content).unwrap();
            assert!(kept.has_consent().is_err(), "{content:?}");
        }
        fs::write(dir.path().join("elsewhere"), ACCEPTED).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(kept.has_consent().is_err(), "a link");
    }

    #[test]
    fn a_record_is_good_for_one_start_of_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [("lima.yaml", "{}"), ("ssh.config", "Host x\n")] {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let pid = dir.path().join("ha.pid");
        fs::write(&pid, format!("{}\n", std::process::id())).unwrap();
        let record = Record {
            dir: dir.path().into(),
            ssh_config: dir.path().join("ssh.config"),
            start: start(dir.path()),
            ..Record::default()
        };
        let home = dir.path().parent().unwrap();
        assert!(!record.is_current(dir.path()), "it is another Lima's");
        assert!(record.is_current(home) && !Record::default().is_current(home));
        fs::write(dir.path().join("lima.yaml"), "{ }").unwrap();
        assert!(!record.is_current(home), "it was configured anew");
        let record = Record { start: start(dir.path()), ..record };
        fs::remove_file(&pid).unwrap();
        assert!(!record.is_current(home), "it was stopped");
        // No process has this number.
        fs::write(&pid, "2147483646").unwrap();
        assert_eq!(start(dir.path()), "");
    }

    #[test]
    fn one_that_ended_and_was_not_waited_for_does_not_live() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        assert!(lives(pid));
        child.kill().unwrap();
        let dead = |flags| {
            let pid = nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(pid));
            nix::sys::wait::waitid(pid, nix::sys::wait::WaitPidFlag::WEXITED | flags).unwrap()
        };
        dead(nix::sys::wait::WaitPidFlag::WNOWAIT);
        assert!(!lives(pid));
        child.wait().unwrap();
        assert!(!lives(pid) && !lives(0) && !lives(-1));
    }
}
