//! File access below a directory in which a guest may change anything at any moment.
//!
//! Every step is relative to an open directory and follows no link; only regular files are read, never more than a
//! bound, never waiting (a FIFO in a file's place must not hold us); new files are made exclusively.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::error::clean;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// `<repository hash>/<random>/guest`, as `layout` has it.
const SHARED_DEPTH: usize = 3;

/// An open directory.
#[derive(Debug)]
pub(super) struct Beneath(OwnedFd);

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    /// Links, FIFOs, sockets, devices.
    Other,
}

fn no_follow() -> OFlag {
    let follow = if crate::mutant::off("p14_nofollow") { OFlag::empty() } else { OFlag::O_NOFOLLOW };
    follow | OFlag::O_CLOEXEC | OFlag::O_NOCTTY
}

impl Beneath {
    /// Opens the top, a path that the host alone controls.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Self(open(path, flags, Mode::empty())?))
    }

    /// Opens a private git dir. The directories it lies in may be shared with instances, so no link of theirs is followed
    /// either; what they lie in is the host's.
    pub(super) fn open_guest(path: &Path) -> io::Result<Self> {
        let mut above = path.ancestors();
        let below: Vec<_> = above.by_ref().take(SHARED_DEPTH).filter_map(|dir| dir.file_name()?.to_str()).collect();
        let below = below.into_iter().rev().collect::<Vec<_>>().join("/");
        let top = Self::open(above.next().unwrap_or(path))?;
        top.dir(&below)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The directory at `path` (components joined by `/`), or `None` where there is none, or something else.
    pub(super) fn dir(&self, path: &str) -> io::Result<Option<Self>> {
        let mut at = Self(self.0.try_clone()?);
        for part in path.split('/').filter(|p| !p.is_empty()) {
            match openat(&at.0, part, OFlag::O_RDONLY | OFlag::O_DIRECTORY | no_follow(), Mode::empty()) {
                Ok(fd) => at = Self(fd),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Some(at))
    }

    /// [`Self::dir`], made where it is missing.
    pub(super) fn make_dir(&self, path: &str) -> io::Result<Self> {
        let mut at = Self(self.0.try_clone()?);
        for part in path.split('/').filter(|p| !p.is_empty()) {
            match mkdirat(&at.0, part, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
            at = Self(openat(&at.0, part, OFlag::O_RDONLY | OFlag::O_DIRECTORY | no_follow(), Mode::empty())?);
        }
        Ok(at)
    }

    /// Opens the regular file `path`, or `None` where there is nothing. Anything else in its place is an error.
    pub(super) fn open_file(&self, path: &str, limit: u64) -> io::Result<Option<File>> {
        let (parent, name) = self.parent(path)?;
        let Some(parent) = parent else { return Ok(None) };
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | no_follow();
        let file = match openat(&parent.0, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::ENXIO) => return Err(odd(path, "is a link or no file")),
            Err(e) => return Err(e.into()),
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(odd(path, "is not a regular file"));
        }
        if meta.len() > limit {
            return Err(odd(path, &format!("is larger than {limit} bytes")));
        }
        Ok(Some(file))
    }

    /// The content of the regular file `path`.
    pub(super) fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(path, limit)? else { return Ok(None) };
        let mut content = Vec::new();
        // It may grow while we read.
        file.take(limit + 1).read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            return Err(odd(path, &format!("is larger than {limit} bytes")));
        }
        Ok(Some(content))
    }

    /// The state of the file `path` itself, links not followed.
    pub(super) fn stat(&self, path: &str) -> io::Result<Option<FileStat>> {
        let (parent, name) = self.parent(path)?;
        let Some(parent) = parent else { return Ok(None) };
        match fstatat(&parent.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Names in this directory that are UTF-8, with what they stand for; more than `limit` is an error.
    pub(super) fn list(&self, limit: usize) -> io::Result<Vec<(String, Kind)>> {
        self.list_or(limit, |_| Ok(()))
    }

    /// [`Self::list`], where a name that is not UTF-8 is an error.
    pub(super) fn list_text(&self, limit: usize) -> io::Result<Vec<(String, Kind)>> {
        self.list_or(limit, |name| Err(odd(&clean(&name.to_string_lossy()), "has a name that is no UTF-8")))
    }

    fn list_or(&self, limit: usize, no_text: impl Fn(&CStr) -> io::Result<()>) -> io::Result<Vec<(String, Kind)>> {
        // A new open file: reading a shared one would move its position.
        let fd = openat(&self.0, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(fd)?.iter() {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                no_text(entry.file_name())?;
                continue;
            };
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == limit {
                return Err(io::Error::other(format!("a directory holds more than {limit} entries")));
            }
            let kind = match entry.file_type() {
                Some(Type::Directory) => Kind::Directory,
                Some(Type::File) => Kind::File,
                Some(_) => Kind::Other,
                // Some file systems do not say.
                None => self.stat(name)?.map_or(Kind::Other, |stat| kind_of(&stat)),
            };
            names.push((name.to_owned(), kind));
        }
        Ok(names)
    }

    /// Makes the file `path` with `content`, only if nothing has that name. Says whether it did.
    pub(super) fn create(&self, path: &str, content: &[u8]) -> io::Result<bool> {
        let (parent, name) = self.parent(path)?;
        let Some(parent) = parent else { return Ok(false) };
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | no_follow();
        let fd = match openat(&parent.0, name, flags, Mode::from_bits_truncate(0o644)) {
            Ok(fd) => fd,
            Err(Errno::EEXIST) => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        let written = File::from(fd).write_all(content);
        if written.is_err() {
            self.remove(path)?;
        }
        written.map(|()| true)
    }

    /// Gives the file `from` the name `to`, in the same directory, replacing what had it.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let ((parent, from), (_, to)) = (self.parent(from)?, self.parent(to)?);
        let Some(parent) = parent else { return Err(io::ErrorKind::NotFound.into()) };
        Ok(renameat(&parent.0, from, &parent.0, to)?)
    }

    /// Removes the file `path`, if there is one.
    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let Some(parent) = parent else { return Ok(()) };
        match unlinkat(parent.0.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes the empty directory `path`.
    pub(super) fn remove_dir(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match parent {
            Some(parent) => Ok(unlinkat(parent.0.as_fd(), name, UnlinkatFlags::RemoveDir)?),
            None => Ok(()),
        }
    }

    fn parent<'a>(&self, path: &'a str) -> io::Result<(Option<Self>, &'a str)> {
        match path.rsplit_once('/') {
            Some((dirs, name)) => Ok((self.dir(dirs)?, name)),
            None => Ok((self.dir("")?, path)),
        }
    }
}

/// What tells one state of a file from the next without reading it.
pub(super) fn stamp(fd: impl AsFd) -> io::Result<String> {
    Ok(stamp_of(&fstat(fd)?))
}

pub(super) fn stamp_of(s: &FileStat) -> String {
    format!(
        "{}:{}:{}:{}.{}:{}.{}",
        s.st_dev, s.st_ino, s.st_size, s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec
    )
}

fn kind_of(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFREG => Kind::File,
        _ => Kind::Other,
    }
}

fn odd(path: &str, why: &str) -> io::Error {
    io::Error::other(format!("'{path}' in the sandbox's git directory {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn p14_links_fifos_and_big_files_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("secret"), "s").unwrap();
        std::fs::create_dir(path("real")).unwrap();
        std::fs::create_dir(path("top")).unwrap();
        symlink(path("secret"), path("top/link")).unwrap();
        symlink(path("real"), path("top/dirlink")).unwrap();
        nix::unistd::mkfifo(&path("top/fifo"), Mode::S_IRWXU).unwrap();
        std::fs::write(path("top/big"), [0; 11]).unwrap();
        let top = Beneath::open(&path("top")).unwrap();
        assert!(top.read("link", 10).is_err());
        assert!(top.read("fifo", 10).is_err());
        assert!(top.read("big", 10).is_err());
        assert!(top.read("dirlink/x", 10).unwrap().is_none());
        assert!(top.dir("dirlink").unwrap().is_none());
        assert!(top.make_dir("dirlink/new").is_err());
        assert!(!top.create("link", b"x").unwrap());
        assert!(top.read("missing", 10).unwrap().is_none());
        assert_eq!(std::fs::read(path("secret")).unwrap(), b"s");
        assert!(std::fs::read_dir(path("real")).unwrap().next().is_none());
    }
}
