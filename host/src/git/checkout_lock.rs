//! Who writes files into checkouts, and who starts sandboxes that write there too: the one waits for the other.
//!
//! Whoever brings commits into checkouts, makes or removes worktrees holds it alone, and looks for sandboxes once he has
//! it; a sandbox that starts shares it until its record can be found. It is a lock on a directory of the repository's own
//! that no guest sees, and writes nothing there.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::GitError;

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
    /// For who writes into checkouts of the repository with this common directory.
    pub fn alone(common_dir: &Path) -> Result<Self, GitError> {
        let held = Self::open(common_dir)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::attempt(&held, File::try_lock) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() >= until => {
                    return Err(failed(common_dir, io::Error::other("it merges or removes here, and does not end")));
                }
                Ok(None) => std::thread::sleep(LOOK),
                Err(e) => return Err(failed(common_dir, e)),
            }
        }
    }

    /// For who starts a sandbox; nothing while another writes.
    pub fn try_shared(common_dir: &Path) -> Result<Option<Self>, GitError> {
        Self::attempt(&Self::open(common_dir)?, File::try_lock_shared).map_err(|e| failed(common_dir, e))
    }

    fn open(common_dir: &Path) -> Result<File, GitError> {
        File::open(common_dir.join("refs")).map_err(|e| failed(common_dir, e))
    }

    fn attempt(file: &File, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<Self>> {
        match lock(file) {
            Ok(()) => Ok(Some(Self { _held: file.try_clone()? })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

fn failed(common_dir: &Path, source: io::Error) -> GitError {
    GitError::Io { what: "wait for another workmux", path: common_dir.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_or_many_together() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("refs")).unwrap();
        let first = CheckoutLock::try_shared(dir.path()).unwrap().unwrap();
        let second = CheckoutLock::try_shared(dir.path()).unwrap().unwrap();
        let other = File::open(dir.path().join("refs")).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop((first, second));
        let alone = CheckoutLock::alone(dir.path()).unwrap();
        assert!(matches!(other.try_lock_shared(), Err(TryLockError::WouldBlock)));
        assert!(CheckoutLock::try_shared(dir.path()).unwrap().is_none());
        drop(alone);
        assert!(other.try_lock_shared().is_ok());
    }
}
