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

use super::private_directory;

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
    pub fn alone(state: &Path) -> io::Result<Self> {
        let held = Self::open(state)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::attempt(&held, File::try_lock) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() >= until => {
                    let why = "another workmux merges, makes or removes a worktree, and does not end";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                Ok(None) => std::thread::sleep(LOOK),
                Err(e) => return Err(e),
            }
        }
    }

    /// For who starts a sandbox; nothing while another writes.
    pub fn try_shared(state: &Path) -> io::Result<Option<Self>> {
        Self::attempt(&Self::open(state)?, File::try_lock_shared)
    }

    fn open(state: &Path) -> io::Result<File> {
        let path = state.join("checkouts.lock");
        let open = || OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        // The first thing that is kept, perhaps.
        open().or_else(|_| private_directory(state).and_then(|_| open()))
    }

    fn attempt(file: &File, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<Self>> {
        match lock(file) {
            Ok(()) => Ok(Some(Self { _held: file.try_clone()? })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
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
