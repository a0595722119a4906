//! A program on a terminal of its own, as an interactive user has it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use crate::given::given;
use crate::run::Run;
use crate::wait::{PATIENCE, wait_until};

/// A running program and our end of its terminal.
pub struct Pty {
    master: File,
    slave: OwnedFd,
    child: Leader,
    seen: String,
    /// Up to here `seen` was already waited for.
    at: usize,
}

impl Pty {
    /// Starts a program as the leader of a session on a new terminal of 80 by 24.
    ///
    /// # Panics
    /// When there is no terminal or the program cannot be started.
    pub fn start(run: Run) -> Self {
        // Not inherited by what other tests start at this moment: a terminal that somebody else holds never hangs up.
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("its other end");
        let name = ptsname_r(&master).expect("its name");
        let slave = OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NOCTTY).open(name);
        let slave = OwnedFd::from(slave.expect("its other end opens"));
        let user = &given().user;
        if user.borrowed {
            // A login gives the terminal to its user; programs open it by name.
            nix::unistd::fchown(&slave, Some(user.uid), Some(user.gid)).expect("root may give it away");
        }
        // Becoming a session's leader in the child ourselves takes unsafe code.
        let mut command = run.behind("setsid", &["--ctty", "--"]).into_command();
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        command.stdin(end()).stdout(end()).stderr(end());
        let sized = Command::new("stty").args(["rows", "24", "cols", "80"]).stdin(end()).status();
        assert!(sized.is_ok_and(|status| status.success()), "stty");
        let child = Leader(command.spawn().expect("the program starts"));
        Self { master: OwnedFd::from(master).into(), slave, child, seen: String::new(), at: 0 }
    }

    /// Types.
    ///
    /// # Panics
    /// When nobody reads any more.
    pub fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits until `text` appears after what was waited for before, and returns what came with it.
    ///
    /// # Panics
    /// When it does not appear.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.seen[self.at..].find(text) {
                let end = self.at + found + text.len();
                let passage = self.seen[self.at..end].to_owned();
                self.at = end;
                return passage;
            }
            assert!(self.read(until), "{text:?} did not appear on the terminal; it shows:\n{}", self.seen);
        }
    }

    /// Gives the terminal another size.
    ///
    /// # Panics
    /// When it cannot be set.
    pub fn resize(&self, rows: u16, columns: u16) {
        let words = ["rows".to_owned(), rows.to_string(), "cols".to_owned(), columns.to_string()];
        let slave = self.slave.try_clone().expect("a descriptor");
        let status = Command::new("stty").args(words).stdin(slave).status().expect("stty starts");
        assert!(status.success(), "stty: {status}");
    }

    /// The foreground process group of the terminal.
    pub fn foreground(&self) -> Option<nix::unistd::Pid> {
        // Our end answers whoever asks; the other one only those whose terminal it is.
        nix::unistd::tcgetpgrp(self.master.as_fd()).ok()
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Closes the terminal, as closing its window does, and waits for the program's end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn close(self) {
        let Self { master, slave, mut child, .. } = self;
        drop((master, slave));
        wait_until("the program to end", || child.0.try_wait().expect("it can be waited for").is_some());
    }

    /// Everything it showed so far.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Waits for its end: its exit code, or 128 + the signal.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn wait(mut self) -> (i32, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            // Its output is read meanwhile, or it could wait for us for ever.
            self.read(Instant::now() + Duration::from_millis(20));
            if let Some(status) = self.child.0.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(Instant::now() < until, "it did not end; the terminal shows:\n{}", self.seen);
        };
        while self.read(Instant::now()) {}
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        (code, std::mem::take(&mut self.seen))
    }

    /// Reads what is there by `until`; whether there was something.
    fn read(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now()).as_millis().min(60_000) as i32;
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if poll(&mut fds, timeout).unwrap_or(0) == 0 {
            return false;
        }
        let mut chunk = [0; 16 * 1024];
        match self.master.read(&mut chunk) {
            Ok(n @ 1..) => self.seen.push_str(&String::from_utf8_lossy(&chunk[..n])),
            // The last holder of the other end is gone.
            _ => return false,
        }
        true
    }
}

/// The program; it ends with the value.
struct Leader(Child);

impl Drop for Leader {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}
