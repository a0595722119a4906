//! Files below a directory that a guest may have filled: no link is followed on the way, and nothing outside is reached,
//! whatever is swapped while we look (P9, P11).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

/// An open directory. What happens to its path does not matter any more.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, wherever it leads.
    Link,
    /// Nothing to copy.
    Other,
}

impl Root {
    /// Opens a directory that is no link itself.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())?))
    }

    /// Opens a directory, by a path that no link is part of: whoever can write above it leads us nowhere else with one.
    pub(crate) fn open_resolved(path: &Path) -> io::Result<Self> {
        let below = path.strip_prefix("/").map_err(|_| outside(path))?;
        Self::open(Path::new("/"))?.directory(below)
    }

    fn at(&self, path: &Path, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
        // A handle for its place alone takes no other flag.
        let more = if flags.contains(OFlag::O_PATH) { OFlag::empty() } else { OFlag::O_NOCTTY };
        let mut how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | more);
        if flags.contains(OFlag::O_CREAT) {
            how = how.mode(mode);
        }
        if !crate::mutant::off("p9_beneath") {
            how = how.resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        }
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            match openat2(&self.0, path, how) {
                // Somebody renames things at this moment.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                opened => return Ok(opened?),
            }
        }
    }

    /// A directory below this one.
    pub(crate) fn directory(&self, path: &Path) -> io::Result<Self> {
        Ok(Self(self.at(path, OFlag::O_DIRECTORY, Mode::empty())?))
    }

    /// The same, made with all above it where it is missing.
    pub(crate) fn make_directory(&self, path: &Path) -> io::Result<Self> {
        let mut here = self.directory(Path::new(""))?;
        for part in path.components() {
            let Component::Normal(name) = part else { return Err(outside(path)) };
            match mkdirat(&here.0, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
            here = here.directory(Path::new(name))?;
        }
        Ok(here)
    }

    /// The directory that `path` is in, made where it is missing, and its last name.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(Self, &'a OsStr)> {
        let name = path.file_name().ok_or_else(|| outside(path))?;
        Ok((self.make_directory(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// What stands at this name right below; nothing where there is nothing.
    pub(crate) fn kind(&self, name: &OsStr) -> io::Result<Option<Kind>> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(kind_of(&found))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The names in this directory, sorted.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for found in Dir::from_fd(self.directory(Path::new(""))?.0)?.iter() {
            let found = found?;
            let name = OsStr::from_bytes(found.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// A regular file to read. A pipe in its place does not hold us up.
    pub(crate) fn read(&self, path: &Path) -> io::Result<File> {
        let file = File::from(self.at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(file)
    }

    /// Where a link leads, as it says itself.
    pub(crate) fn link(&self, name: &OsStr) -> io::Result<PathBuf> {
        Ok(readlinkat(&self.0, name)?.into())
    }

    /// A new file with this content; directories are made. What stands there already stays.
    pub(crate) fn write_new(&self, path: &Path, mode: u32, content: &mut dyn io::Read) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mut file = File::from(parent.at(Path::new(name), flags, Mode::from_bits_truncate(mode & 0o777))?);
        io::copy(content, &mut file)?;
        file.flush()
    }

    /// The same; a file or link that stands there goes first.
    pub(crate) fn replace(&self, path: &Path, mode: u32, content: &mut dyn io::Read) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match unlinkat(&parent.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(e.into()),
        }
        parent.write_new(Path::new(name), mode, content)
    }

    /// A file with this content, complete at once: what stood there is there until then. Directories are made.
    pub(crate) fn put(&self, path: &Path, mode: u32, content: &mut dyn io::Read) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let new = unused()?;
        let written = parent.write_new(Path::new(&new), mode, content).and_then(|()| parent.rename(&new, name));
        written.inspect_err(|_| drop(parent.unlink(&new)))
    }

    /// A link, in place of what stood there; directories are made.
    pub(crate) fn put_link(&self, path: &Path, leads_to: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let new = unused()?;
        let made = parent.link_new(Path::new(&new), leads_to).and_then(|()| parent.rename(&new, name));
        made.inspect_err(|_| drop(parent.unlink(&new)))
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        // A directory without anything in it is in nobody's way.
        let _full_or_none = unlinkat(&self.0, to, UnlinkatFlags::RemoveDir);
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    fn unlink(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes a file or link, and the directories that are empty without it.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or_else(|| outside(path))?;
        let above = path.parent().unwrap_or(Path::new(""));
        match self.directory(above) {
            Ok(parent) => parent.unlink(name)?,
            // It went with what it was in.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
            Err(e) => return Err(e),
        }
        for empty in above.ancestors().filter(|part| !part.as_os_str().is_empty()) {
            let Some(name) = empty.file_name() else { break };
            let Ok(parent) = self.directory(empty.parent().unwrap_or(Path::new(""))) else { break };
            if unlinkat(&parent.0, name, UnlinkatFlags::RemoveDir).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Removes a directory where nothing is in it; any other stays.
    pub(crate) fn remove_empty(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or_else(|| outside(path))?;
        if let Ok(above) = self.directory(path.parent().unwrap_or(Path::new(""))) {
            let _full = unlinkat(&above.0, name, UnlinkatFlags::RemoveDir);
        }
        Ok(())
    }

    /// Removes what stands at this name right below, with all that is in it.
    pub(crate) fn remove_all(&self, name: &OsStr) -> io::Result<()> {
        match self.kind(name)? {
            None => return Ok(()),
            Some(Kind::Directory) => {}
            Some(_) => return self.unlink(name),
        }
        let handle = self.at(Path::new(name), OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
        let mode = nix::sys::stat::fstat(handle.as_fd())?.st_mode;
        if mode & 0o700 != 0o700 {
            // Some tools protect what they have fetched. By the handle: its name may be another's by now.
            let here = format!("/proc/self/fd/{}", handle.as_raw_fd());
            std::fs::set_permissions(here, std::os::unix::fs::PermissionsExt::from_mode(mode & 0o777 | 0o700))?;
        }
        let below = self.directory(Path::new(name))?;
        let mut names = below.names()?;
        // What makes a worktree of it goes last: what is left of a removal can be removed.
        names.sort_by_key(|name| name == ".git");
        for name in names {
            below.remove_all(&name)?;
        }
        match unlinkat(&self.0, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// A new link; directories are made.
    pub(crate) fn link_new(&self, path: &Path, leads_to: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(symlinkat(leads_to, &parent.0, name)?)
    }

    /// Whether it is still where it was opened.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let (Ok(ours), Ok(there)) = (nix::sys::stat::fstat(self.0.as_fd()), std::fs::symlink_metadata(path)) else {
            return false;
        };
        (ours.st_dev, ours.st_ino) == (there.dev(), there.ino())
    }
}

/// At most so many bytes of a regular file, as text.
pub(crate) fn text_of(file: File, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {most} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not valid UTF-8"))
}

fn kind_of(found: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Other,
    }
}

/// A name that nobody uses.
fn unused() -> io::Result<OsString> {
    Ok(format!(".workmux-{}", crate::runs::new_id()?).into())
}

fn outside(path: &Path) -> io::Error {
    io::Error::other(format!("'{}' is not a path below the directory", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn p9_no_link_leads_out() {
        let all = tempfile::tempdir().unwrap();
        let (inside, canary) = (all.path().join("inside"), all.path().join("canary"));
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("file"), "untouched").unwrap();
        symlink(&canary, inside.join("dir")).unwrap();
        symlink(canary.join("file"), inside.join("file")).unwrap();
        symlink("../canary", inside.join("up")).unwrap();
        let root = Root::open(&inside).unwrap();
        for path in ["dir/new", "file", "up/new", "../canary/new", "dir/file"] {
            assert!(root.write_new(Path::new(path), 0o600, &mut &b"evil"[..]).is_err(), "{path}");
            assert!(root.read(Path::new(path)).is_err(), "{path}");
        }
        root.replace(Path::new("file"), 0o600, &mut &b"ours"[..]).unwrap();
        root.write_new(Path::new("a/b/c"), 0o640, &mut &b"deep"[..]).unwrap();
        root.link_new(Path::new("a/l"), Path::new("/x")).unwrap();
        assert_eq!(fs::read_to_string(inside.join("a/b/c")).unwrap(), "deep");
        assert_eq!(fs::read_to_string(inside.join("file")).unwrap(), "ours");
        assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
        assert_eq!(root.kind("up".as_ref()).unwrap(), Some(Kind::Link));
        assert!(root.is_at(&inside) && !root.is_at(&canary));
    }

    #[test]
    fn p9_what_is_replaced_or_removed_is_inside() {
        let all = tempfile::tempdir().unwrap();
        let all = all.path().canonicalize().unwrap();
        let (inside, canary) = (all.join("inside"), all.join("canary"));
        fs::create_dir_all(inside.join("deep/er")).unwrap();
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("file"), "untouched").unwrap();
        for (at, to) in [("dir", &canary), ("deep/er/link", &canary), ("file", &canary.join("file"))] {
            symlink(to, inside.join(at)).unwrap();
        }
        let root = Root::open_resolved(&inside).unwrap();
        assert!(root.put(Path::new("dir/file"), 0o600, &mut &b"evil"[..]).is_err());
        assert!(root.put_link(Path::new("dir/link"), Path::new("/x")).is_err());
        root.put(Path::new("file"), 0o600, &mut &b"ours"[..]).unwrap();
        root.put_link(Path::new("deep/l"), Path::new("/x")).unwrap();
        assert!(root.remove(Path::new("dir/file")).is_err());
        root.remove(Path::new("deep/nothing/there")).unwrap();
        root.remove(Path::new("deep/l")).unwrap();
        assert_eq!(fs::read_to_string(inside.join("file")).unwrap(), "ours");

        fs::create_dir(inside.join("read-only")).unwrap();
        fs::write(inside.join("read-only/file"), "").unwrap();
        fs::set_permissions(inside.join("read-only"), std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
        Root::open_resolved(&all).unwrap().remove_all("inside".as_ref()).unwrap();
        assert!(!inside.exists());
        assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "untouched");
        symlink(&canary, &inside).unwrap();
        assert!(Root::open_resolved(&inside).is_err());
        assert!(Root::open_resolved(&inside.join("file")).is_err());
        Root::open_resolved(&all).unwrap().remove_all("inside".as_ref()).unwrap();
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
    }
}
