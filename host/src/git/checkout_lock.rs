//! Who writes files into checkouts, and who starts sandboxes that write there too: the one waits for the other.
//!
//! Whoever brings commits into checkouts, makes or removes worktrees holds it alone, and looks for sandboxes once he has
//! it; a sandbox that starts shares it until its record can be found. One for all repositories of a user: a sandbox of one
//! may be able to write in a checkout of another.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::GitError;
use crate::runs::private_directory;

/// How long another may take: a merge of a big repository.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(10);

/// Held until dropped.
#[derive(Debug)]
#[must_use = "it is held until dropped"]
pub struct CheckoutLock {
    _held: File,
}

impl CheckoutLock {
    /// For who writes into checkouts. `state` = the user's state directory.
    pub fn alone(state: &Path) -> Result<Self, GitError> {
        let held = Self::open(state)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::attempt(&held, File::try_lock) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() >= until => {
                    return Err(failed(state, io::Error::other("it merges or removes here, and does not end")));
                }
                Ok(None) => std::thread::sleep(LOOK),
                Err(e) => return Err(failed(state, e)),
            }
        }
    }

    /// For who starts a sandbox; nothing while another writes.
    pub fn try_shared(state: &Path) -> Result<Option<Self>, GitError> {
        Self::attempt(&Self::open(state)?, File::try_lock_shared).map_err(|e| failed(state, e))
    }

    fn open(state: &Path) -> Result<File, GitError> {
        let path = state.join("checkouts.lock");
        let open = || OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        // The first thing that is kept, perhaps.
        let opened = open().or_else(|_| private_directory(state).and_then(|_| open()));
        opened.map_err(|e| failed(state, e))
    }

    fn attempt(file: &File, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<Self>> {
        match lock(file) {
            Ok(()) => Ok(Some(Self { _held: file.try_clone()? })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

fn failed(state: &Path, source: io::Error) -> GitError {
    GitError::Io { what: "wait for another workmux", path: state.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_or_many_together() {
        let dir = tempfile::tempdir().unwrap();
        let first = CheckoutLock::try_shared(dir.path()).unwrap().unwrap();
        let second = CheckoutLock::try_shared(dir.path()).unwrap().unwrap();
        let other = File::open(dir.path().join("checkouts.lock")).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop((first, second));
        let alone = CheckoutLock::alone(dir.path()).unwrap();
        assert!(matches!(other.try_lock_shared(), Err(TryLockError::WouldBlock)));
        assert!(CheckoutLock::try_shared(dir.path()).unwrap().is_none());
        drop(alone);
        assert!(other.try_lock_shared().is_ok());
    }
}
