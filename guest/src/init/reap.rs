//! Ending every process that is left, and waiting until they are gone.
//!
//! The first process of a PID namespace reaches all of them with one call. Anybody else is the reaper of its
//! descendants: it kills its own children until it has none, as each dead child's children become its own. A child's
//! pid cannot be reused before its parent has reaped it, so nothing else is ever hit.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid};

use super::signals::Signals;

/// Killed processes go at once, unless the kernel holds them (a hung file system): that we do not wait out.
const DEADLINE: Duration = Duration::from_secs(5);
/// Children of ours that appear while we look make no event; look again this often.
const AGAIN: Duration = Duration::from_millis(20);
/// A PID namespace begins at 1, and few get further than this.
const LIKELY_PID: i32 = 64 * 1024;
/// The highest pid any kernel gives (`PID_MAX_LIMIT`). Asking about all of them takes about a second.
const MAX_PID: i32 = 4 * 1024 * 1024;

/// Kills everything this process is responsible for.
pub(super) fn end_everything(signals: &Signals) {
    let all = getpid().as_raw() == 1;
    let deadline = Instant::now() + DEADLINE;
    while has_children() && Instant::now() < deadline {
        if all {
            let _ = crate::sys::kill(-1, libc::SIGKILL);
        } else {
            kill_children(deadline);
        }
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, super::poll_timeout(Some(AGAIN)));
        while signals.next().is_some() {}
    }
}

/// Reaps whoever has ended; says whether anybody is left.
fn has_children() -> bool {
    loop {
        match crate::sys::next_change() {
            Ok(Some(_)) | Err(Errno::EINTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn kill_children(deadline: Instant) {
    let kill = |pid: i32| is_child(pid) && crate::sys::kill(pid, libc::SIGKILL).is_ok();
    let listed = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let mut found = false;
    for pid in listed.split_ascii_whitespace().filter_map(|word| word.parse().ok()) {
        found |= kill(pid);
    }
    // No /proc, or one of another namespace: ask about every pid, the likely ones first.
    for pids in [1..=LIKELY_PID, LIKELY_PID + 1..=MAX_PID] {
        if found || Instant::now() >= deadline {
            return;
        }
        for pid in pids {
            found |= kill(pid);
        }
    }
}

fn is_child(pid: i32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(Pid::from_raw(pid)), flags), Err(Errno::ECHILD | Errno::EINVAL))
}
