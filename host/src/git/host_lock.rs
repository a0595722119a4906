//! The lock on the host's index, taken as git takes it, and recognised again if we die while holding it.
//!
//! The token is written down before the lock exists, and the lock comes into being with the token inside (a hard
//! link to a finished file). So a lock with our token is ours and stale, and any other lock is somebody else's.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::GitError;
use super::layout::{Layout, random_name, write_whole};
use super::step;

const POLL: Duration = Duration::from_millis(10);

/// The held lock of one checkout's index.
#[derive(Debug)]
pub(super) struct HostLock {
    admin: PathBuf,
    token: String,
    note: PathBuf,
}

impl HostLock {
    /// Takes the lock, waiting for `patience`; `None` if somebody else has it for longer.
    pub(super) fn take(layout: &Layout, admin: &Path, patience: Duration) -> Result<Option<Self>, GitError> {
        let lock = Self { admin: admin.to_owned(), token: random_name()?, note: layout.index_lock() };
        write_whole(&lock.note, lock.token.as_bytes())?;
        step("lock-noted");
        let (new, path) = (lock.new_file(), admin.join("index.lock"));
        fs::write(&new, &lock.token).map_err(GitError::io("write", &new))?;
        step("lock-made");
        let until = Instant::now() + patience;
        loop {
            match link_or_make(&new, &path, &lock.token) {
                Ok(()) => {
                    step("locked");
                    return Ok(Some(lock));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && Instant::now() < until => {
                    std::thread::sleep(POLL)
                }
                Err(e) => {
                    let _our_own = fs::remove_file(&new);
                    let _our_own = fs::remove_file(&lock.note);
                    // Dropping must not remove what is not ours.
                    std::mem::forget(lock);
                    return match e.kind() {
                        io::ErrorKind::AlreadyExists => Ok(None),
                        _ => Err(GitError::io("lock", path)(e)),
                    };
                }
            }
        }
    }

    /// Replaces the index while the lock is held.
    pub(super) fn write_index(&self, content: &[u8]) -> Result<(), GitError> {
        let new = self.new_file();
        // Not through the old name: it is the lock's other name.
        fs::remove_file(&new).map_err(GitError::io("remove", &new))?;
        fs::write(&new, content).map_err(GitError::io("write", &new))?;
        step("index-written");
        let path = self.admin.join("index");
        fs::rename(&new, &path).map_err(GitError::io("replace", path))
    }

    fn new_file(&self) -> PathBuf {
        self.admin.join(format!("index.workmux-{}", self.token))
    }

    fn release(&self) {
        let path = self.admin.join("index.lock");
        if fs::read(&path).is_ok_and(|text| text == self.token.as_bytes()) {
            let _gone = fs::remove_file(path);
        }
        let _gone = fs::remove_file(self.new_file());
        let _gone = fs::remove_file(&self.note);
    }

    /// Removes what an earlier process of ours left when it was killed. Call with the boundary held.
    pub(super) fn recover(layout: &Layout, admin: &Path) {
        if let Ok(token) = fs::read_to_string(layout.index_lock())
            && token.len() == 16
            && token.bytes().all(|b| b.is_ascii_hexdigit())
        {
            Self { admin: admin.to_owned(), token, note: layout.index_lock() }.release();
        }
    }
}

/// Gives the finished lock its name, or, on file systems without hard links, makes it under that name.
fn link_or_make(new: &Path, path: &Path, token: &str) -> io::Result<()> {
    match fs::hard_link(new, path) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EMLINK)) => {
            fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(token.as_bytes())
        }
        other => other,
    }
}

impl Drop for HostLock {
    fn drop(&mut self) {
        self.release();
    }
}
