//! A background terminal for one command, so that it can run without any window and outlive whoever started it.
//!
//! It knows nothing of what the command is. A handle ([`Detached`]) is a private directory of the caller's, in which lie
//! `log` (everything printed), `screen.sock` (where the supervisor listens) and `supervisor.json` (who that is).
//!
//! Three processes come from one start (`start.rs`): a first one that leaves the caller's session and is gone at once,
//! so that the supervisor is nobody's child; the supervisor (`supervise.rs`, `serve.rs`), which holds the terminal,
//! keeps `log.rs` and `screen.rs` and answers clients until the command ends; and the command itself. `client.rs` is
//! the other end of the socket, `wire.rs` what is said over it, `attach.rs` a person's terminal joined to this one.

mod attach;
mod client;
mod log;
mod screen;
mod serve;
mod start;
mod supervise;
#[cfg(test)]
mod tests;
mod wire;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use attach::Left;
pub use start::{Stage, main};

use client::Silence;
use wire::{Kind, MAX_INPUT};

use crate::runs::{self, ProcessIdentity};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a command may take to end after the window was closed on it.
const GRACE: Duration = Duration::from_secs(3);
/// Who the supervisor is.
const SUPERVISOR: &str = "supervisor.json";

/// Why a background terminal does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is not one.
    #[error(
        "'{}' cannot hold a background terminal: {why}. Give it an existing directory of mode 0700 of your own", .directory.display()
    )]
    Directory {
        /// Which.
        directory: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// One command a directory.
    #[error("a command already runs in the background terminal '{}'. Stop it first", .directory.display())]
    Occupied {
        /// Which.
        directory: PathBuf,
    },
    /// The command was not started, and nothing was left running.
    #[error("could not start '{}' in a background terminal: {why}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        why: String,
    },
    /// The command has ended.
    #[error("no command runs in the background terminal '{0}' any more. What it printed is in '{0}/log'", .directory.display())]
    Gone {
        /// Which.
        directory: PathBuf,
    },
    /// The command leaves unread what was typed before.
    #[error("nothing was typed: the command does not read what is typed. Try again when it does, or stop it")]
    Deaf,
    /// More than fits.
    #[error("{bytes} bytes are too much to type at once. Send parts of at most {MAX_INPUT}")]
    TooLong {
        /// How much it was.
        bytes: usize,
    },
    /// The deadline passed.
    #[error("the background terminal did not {what} within {} s. Try again, or look at its log", .after.as_secs())]
    Late {
        /// What it was to do.
        what: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The conversation failed.
    #[error("lost the background terminal, which was to {what}")]
    Lost {
        /// What it was to do.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Only a terminal can be attached.
    #[error("a background terminal can only be attached to a terminal: standard input and output must be one")]
    NoTerminal,
}

/// A background terminal, running or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detached {
    directory: PathBuf,
}

impl Detached {
    /// The one in this directory, which is the caller's to make (0700) and to remove. Nothing is started or looked at.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Starts a program in `cwd` with this process's variables and `set_env` over them, on a terminal of 200 columns by
    /// 50 rows. Returns when it runs and its terminal can be asked.
    ///
    /// # Errors
    /// It does not run; then nothing of it does.
    pub fn start(
        &self,
        program: &Path,
        words: &[OsString],
        cwd: &Path,
        set_env: &[(OsString, OsString)],
    ) -> Result<(), Error> {
        self.check()?;
        if self.alive() {
            return Err(Error::Occupied { directory: self.directory.clone() });
        }
        start::start(&self.directory, program, words, cwd, set_env)
    }

    /// Types exactly these bytes, at most 1 MiB at once and 1 MiB ahead of what the command reads.
    ///
    /// # Errors
    /// Nothing was typed.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > MAX_INPUT {
            return Err(Error::TooLong { bytes: bytes.len() });
        }
        let what = "take what is typed";
        match self.ask(what, Kind::Type, bytes)? {
            (Kind::Done, _) => Ok(()),
            (Kind::Deaf, _) => Err(Error::Deaf),
            _ => Err(strange(what)),
        }
    }

    /// The last lines of what was shown, as plain text without blank lines at its end.
    ///
    /// # Errors
    /// There is no answer. Once the command has ended only the log is left.
    pub fn capture(&self, lines: usize) -> Result<String, Error> {
        let what = "say what it shows";
        let lines = u32::try_from(lines).unwrap_or(u32::MAX);
        match self.ask(what, Kind::Capture, &lines.to_be_bytes())? {
            (Kind::Text, text) => String::from_utf8(text).map_err(|_| strange(what)),
            _ => Err(strange(what)),
        }
    }

    /// Ends the command as closing its window would, by force where it does not go within 3 s, and waits for that. One
    /// that has ended already is no error.
    ///
    /// # Errors
    /// It may still run.
    pub fn stop(&self) -> Result<(), Error> {
        let what = "end its command";
        match self.ask(what, Kind::Stop, b"") {
            Ok((Kind::Done, _)) | Err(Error::Gone { .. }) => {}
            Ok(_) => return Err(strange(what)),
            Err(error) => return Err(error),
        }
        let after = GRACE + ANSWER;
        if self.wait(Some(after)) { Ok(()) } else { Err(Error::Late { what, after }) }
    }

    /// Whether the supervisor lives, and with it the command. Asks nobody.
    pub fn alive(&self) -> bool {
        self.supervisor().is_some_and(|process| runs::alive(&process))
    }

    /// Waits until the supervisor is gone, for ever or that long; whether it is.
    pub fn wait(&self, until: Option<Duration>) -> bool {
        let until = until.map(|within| Instant::now() + within);
        let Some(process) = self.supervisor() else { return true };
        let Ok(pidfd) = crate::tool::pidfd_open(process.pid) else { return !runs::alive(&process) };
        // Only now is it certain which process the descriptor stands for.
        while runs::alive(&process) {
            let timeout = match until.map(|until| until.checked_duration_since(Instant::now())) {
                None => PollTimeout::NONE,
                Some(None) => return false,
                Some(Some(left)) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
            };
            match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                // Gone, though a zombie may be left for whoever reaps orphans here.
                Ok(1) => return true,
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(_) => return !runs::alive(&process),
            }
        }
        true
    }

    /// Where everything it printed lies, during the run and afterwards: raw, at most 8 MiB of it.
    pub fn log(&self) -> PathBuf {
        self.directory.join(log::NAME)
    }

    /// Joins the user's terminal to this one, until `Ctrl-b d` or the command's end. The user's terminal is afterwards as
    /// it was.
    ///
    /// # Errors
    /// It was never joined, or was lost.
    pub fn attach(&self) -> Result<Left, Error> {
        attach::attach(self)
    }

    fn supervisor(&self) -> Option<ProcessIdentity> {
        serde_json::from_slice(&std::fs::read(self.directory.join(SUPERVISOR)).ok()?).ok()
    }

    fn ask(&self, what: &'static str, kind: Kind, payload: &[u8]) -> Result<(Kind, Vec<u8>), Error> {
        let answer = client::ask(&self.directory, kind, payload, ANSWER).map_err(|why| self.silent(what, why))?;
        Ok((answer.kind, answer.payload))
    }

    fn silent(&self, what: &'static str, why: Silence) -> Error {
        match why {
            Silence::Gone => Error::Gone { directory: self.directory.clone() },
            Silence::Late => Error::Late { what, after: ANSWER },
            Silence::Lost(source) => Error::Lost { what, source },
        }
    }

    /// Whoever can enter the directory can type into the terminal.
    fn check(&self) -> Result<(), Error> {
        let refused = |why: String| Error::Directory { directory: self.directory.clone(), why };
        let found = std::fs::symlink_metadata(&self.directory).map_err(|e| refused(e.to_string()))?;
        if !found.is_dir() {
            return Err(refused("it is no directory".into()));
        }
        if found.uid() != nix::unistd::geteuid().as_raw() {
            return Err(refused("it belongs to another user".into()));
        }
        if found.mode() & 0o077 != 0 {
            return Err(refused(format!("its mode {:03o} lets others in", found.mode() & 0o777)));
        }
        Ok(())
    }
}

/// Has the runtime watch a terminal.
#[expect(deprecated, reason = "unsound for types whose descriptor can change; one that is just owned cannot")]
fn watched(terminal: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(terminal, interest)
}

fn strange(what: &'static str) -> Error {
    Error::Lost { what, source: io::Error::new(io::ErrorKind::InvalidData, "it answered something else") }
}
