//! Imports the guest's git work while it runs: on change, one import at a time, on a thread of its own.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;

use super::log::Log;
use crate::git::{Boundary, GitError};

/// A commit is several changes in a row; they are one import.
const SETTLE: Duration = Duration::from_millis(100);
/// A command that ends sooner is imported once, at its end, and never watched: closing a watch takes the kernel up to
/// 20 ms, and the end of the run would wait for it.
const SHORT: Duration = Duration::from_millis(500);

/// The thread that imports on change.
pub(super) struct Imports {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Imports {
    /// Begins to watch. Without a watch the import at the end is the only one. `lost` is told when the repository is
    /// no longer the one that the guest was given: what is mounted over it has moved away with it.
    pub(super) fn begin(boundary: &Arc<Boundary>, log: Log, lost: oneshot::Sender<GitError>) -> std::io::Result<Self> {
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (boundary, told) = (Arc::clone(boundary), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("imports".into()).spawn(move || {
            if let Err(why) = watch(&boundary, &told, &log) {
                let _run_is_over = lost.send(why);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops watching; an import under way is finished first.
    pub(super) async fn end(mut self) {
        let _full = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _panicked = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Imports {
    /// A run that fails before its end must not be held up by who still watches it.
    fn drop(&mut self) {
        let _full = self.stop.write(1);
    }
}

/// Fails where the repository was replaced; ends well when told to.
fn watch(boundary: &Boundary, stop: &EventFd, log: &Log) -> Result<(), GitError> {
    if stopped(stop, timeout(SHORT)) {
        return Ok(());
    }
    let mut watch = match boundary.watch() {
        Ok(watch) => watch,
        Err(e) => {
            // What cannot be watched may have been replaced already.
            boundary.repository().verify()?;
            log.line(&format!("cannot watch the sandbox's git directory: {e}"));
            return Ok(());
        }
    };
    let mut said = String::new();
    // What changed before there was a watch.
    let mut pending = true;
    while pending || changed(watch.as_fd(), stop, PollTimeout::NONE) {
        let relevant = watch.drain() || pending;
        if watch.ground_moved() || pending {
            boundary.repository().verify()?;
        }
        pending = false;
        if !relevant {
            continue;
        }
        if stopped(stop, timeout(SETTLE)) {
            return Ok(());
        }
        watch.drain();
        match boundary.import() {
            Ok(imported) => {
                // What stays in the way is said again by each import, and once by us.
                let notes = [imported.warnings, imported.notes].concat().join("; ");
                if !notes.is_empty() && notes != said {
                    log.line(&notes);
                }
                said = notes;
            }
            Err(e @ GitError::Changed(_)) => return Err(e),
            Err(e) => log.line(&format!("import failed, will be tried again: {e}")),
        }
    }
    Ok(())
}

fn timeout(after: Duration) -> PollTimeout {
    PollTimeout::try_from(after).unwrap_or(PollTimeout::ZERO)
}

/// Waits for a change; false when told to stop.
fn changed(watch: BorrowedFd, stop: &EventFd, timeout: PollTimeout) -> bool {
    loop {
        let mut fds = [PollFd::new(watch, PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => return fds[1].revents().is_none_or(|r| r.is_empty()),
        }
    }
}

fn stopped(stop: &EventFd, timeout: PollTimeout) -> bool {
    let mut fds = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
}
