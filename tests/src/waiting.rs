//! A command in a sandbox that has begun and waits for the test: what "meanwhile" is made of, without sleeping.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::run::{Finished, Run, Running};
use crate::wait::wait_for;
use crate::world::World;

/// The command. Dropping it kills the supervisor.
pub struct Waiting {
    running: Running,
    // The guest reads the other end of this pipe, which lies in its worktree.
    told: File,
}

impl World {
    /// Starts `workmux sandbox COMMAND` in `dir`; the guest's shell has begun and runs `then` when it is told to.
    pub fn waiting(&self, command: &str, dir: &Path, then: &str) -> Waiting {
        self.waiting_as(dir, then, |script| self.workmux(&["sandbox", command, "--", "sh", "-c", script]).dir(dir))
    }

    /// The same, started as `run` says, which is given the script for `sh -c`.
    pub fn waiting_as(&self, dir: &Path, then: &str, run: impl FnOnce(&str) -> Run) -> Waiting {
        let (script, pipe) = pausing(then);
        let running = run(&script).start();
        Waiting { running, told: told(&dir.join(pipe)) }
    }
}

/// A script that pauses before `then`, and the name of the pipe it waits at.
pub fn pausing(then: &str) -> (String, String) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let pipe = format!(".pipe-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    (format!("mkfifo {pipe}; read line < {pipe}; rm {pipe}; {then}"), pipe)
}

/// Waits until somebody reads the pipe, and gives the end that tells them to go on when it is dropped.
pub fn told(pipe: &Path) -> File {
    // A pipe that nobody reads cannot be opened for writing without waiting.
    let open = || OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(pipe).ok();
    wait_for("the guest's command to begin", open)
}

impl Waiting {
    /// The supervisor.
    pub fn pid(&self) -> Pid {
        self.running.pid()
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Lets the guest go on. Only now its deadline begins: how long it waited was the test's choice.
    pub fn go_on(self) -> Running {
        drop(self.told);
        self.running.afresh()
    }

    /// Waits for the end without telling the guest anything.
    pub fn end(self) -> Finished {
        let Self { running, told } = self;
        let finished = running.wait();
        drop(told);
        finished
    }
}
