//! From a path to an open handle, name by name: no link is followed, so that nobody who may write on the way leads it
//! elsewhere. What is missing can be made on the way.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};

use super::options::Absolute;

const HANDLE: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What a path leads to.
pub(super) struct Found {
    handle: OwnedFd,
    stat: FileStat,
}

/// Where the walk ended, and why.
pub(super) struct Failure {
    at: PathBuf,
    why: Errno,
}

impl Failure {
    /// There is nothing of that name.
    pub(super) fn is_missing(&self) -> bool {
        self.why == Errno::ENOENT
    }

    pub(super) fn text(&self) -> String {
        match self.why {
            Errno::ELOOP => format!("'{}' is a symbolic link", self.at.display()),
            Errno::ENOTDIR => format!("'{}' is no directory", self.at.display()),
            why => format!("'{}': {}", self.at.display(), why.desc()),
        }
    }
}

impl Found {
    pub(super) fn is_directory(&self) -> bool {
        is(&self.stat, SFlag::S_IFDIR)
    }

    /// A path that leads to exactly this, for the call that takes nothing else. It crosses no mount made after the walk.
    pub(super) fn path(&self) -> String {
        handle_path(&self.handle)
    }
}

impl AsRawFd for Found {
    fn as_raw_fd(&self) -> RawFd {
        self.handle.as_raw_fd()
    }
}

/// The path of an open handle.
pub(super) fn handle_path(handle: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

/// Walks to what is there.
pub(super) fn find(path: &Absolute) -> Result<Found, Failure> {
    walk(path, |_, _, _| Err(Errno::ENOENT))
}

/// Walks to what is there, and makes what is missing: directories, at the end an empty file where `directory` is not
/// set.
pub(super) fn find_or_make(path: &Absolute, directory: bool) -> Result<Found, Failure> {
    walk(path, |parent, name, last| {
        if directory || !last {
            mkdirat(parent, name, Mode::from_bits_truncate(0o755))
        } else {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            openat(parent, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
        }
    })
}

/// `make` is asked to put something where nothing is; it is told whether that is the last name.
fn walk(path: &Absolute, make: impl Fn(&OwnedFd, &OsStr, bool) -> nix::Result<()>) -> Result<Found, Failure> {
    let mut at = PathBuf::from("/");
    let root = || {
        let handle = open("/", HANDLE, Mode::empty())?;
        Ok(Found { stat: fstat(&handle)?, handle })
    };
    let mut found = root().map_err(|why| Failure { at: at.clone(), why })?;
    let mut names = path.names().peekable();
    while let Some(name) = names.next() {
        at.push(name);
        let last = names.peek().is_none();
        let step = step(found, name, |parent, name| make(parent, name, last));
        found = step.map_err(|why| Failure { at: at.clone(), why })?;
        if !last && !found.is_directory() {
            return Err(Failure { at, why: Errno::ENOTDIR });
        }
    }
    Ok(found)
}

fn step(from: Found, name: &OsStr, make: impl Fn(&OwnedFd, &OsStr) -> nix::Result<()>) -> nix::Result<Found> {
    let directory = from.handle;
    let open = || openat(directory.as_fd(), name, HANDLE, Mode::empty());
    let handle = match open() {
        Err(Errno::ENOENT) => {
            match make(&directory, name) {
                // Somebody else made it.
                Ok(()) | Err(Errno::EEXIST) => open()?,
                Err(why) => return Err(why),
            }
        }
        opened => opened?,
    };
    let stat = fstat(&handle)?;
    if is(&stat, SFlag::S_IFLNK) {
        return Err(Errno::ELOOP);
    }
    Ok(Found { handle, stat })
}

fn is(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}
