//! Mounting what the command line lays out.
//!
//! Every source is copied before anything is mounted: it shows what was there at the beginning, wherever it lies and
//! whatever is covered later. Mounts are made on open handles, never on paths.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::devices::Devices;
use super::options::{Absolute, Step};
use super::path::{Found, find, find_or_make, handle_path};

const QUIET: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
/// A directory that every `/proc` has. It is covered, with what lies there, by the one that is mounted last.
const HIDDEN: &str = "/proc/fs";

/// Does all steps, in their order.
pub(super) fn lay_out(steps: &[Step]) -> Result<(), String> {
    let source = |step: &Step| match step {
        Step::Bind { source, .. } => {
            Source::open(source).map(Some).map_err(|why| format!("could not open the source '{source}': {why}"))
        }
        _ => Ok(None),
    };
    let sources = steps.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    Devices::find()?.lay_out()?;
    let mut empty = None;
    for (step, source) in steps.iter().zip(&sources) {
        match (step, source) {
            (Step::Bind { at, read_only, .. }, Some(source)) => source.bind(at, *read_only)?,
            (Step::Tmpfs { at }, _) => tmpfs(at)?,
            (Step::Empty { at, directory }, _) => {
                let empty = match &empty {
                    Some(empty) => empty,
                    None => empty.insert(Empty::make().map_err(|e| format!("could not make masks: {}", e.desc()))?),
                };
                empty.cover(at, *directory)?;
            }
            (Step::Bind { .. }, None) => {}
        }
    }
    Ok(())
}

fn tmpfs(at: &Absolute) -> Result<(), String> {
    let failed = |why: &str| format!("could not cover '{at}': {why}");
    match find(at) {
        Ok(found) if !found.is_directory() => Err(failed("it is no directory")),
        Ok(found) => mount(Some("tmpfs"), found.path().as_str(), Some("tmpfs"), QUIET, Some("mode=0755"))
            .map_err(|e| failed(e.desc())),
        Err(e) if e.is_missing() => Ok(()),
        Err(e) => Err(failed(&e.text())),
    }
}

/// Something to be seen elsewhere.
pub(super) struct Source {
    /// With everything mounted below it: what belongs to somebody else cannot be left out, it may hide something.
    mounts: OwnedFd,
    directory: bool,
}

impl Source {
    pub(super) fn open(path: &Absolute) -> Result<Self, String> {
        let found = find(path).map_err(|e| e.text())?;
        Self::copy(&found, found.is_directory())
    }

    fn copy(handle: &impl AsRawFd, directory: bool) -> Result<Self, String> {
        match crate::sys::copy_mounts(handle) {
            Ok(mounts) => Ok(Self { mounts, directory }),
            Err(Errno::ENOSYS) => Err("this kernel is too old (before 5.2)".into()),
            Err(why) => Err(why.desc().to_owned()),
        }
    }

    pub(super) fn bind(&self, at: &Absolute, read_only: bool) -> Result<(), String> {
        let failed = |why: &str| format!("could not bind at '{at}': {why}");
        let place = find_or_make(at, self.directory).map_err(|e| failed(&e.text()))?;
        self.mount_on(&place).map_err(|why| failed(&why))?;
        if read_only && !crate::mutant::off("p13_read_only_bind") {
            protect(&self.mounts).map_err(|why| failed(&format!("it would be writable: {why}")))?;
        }
        Ok(())
    }

    fn mount_on(&self, place: &Found) -> Result<(), String> {
        match (self.directory, place.is_directory()) {
            (true, false) => Err("there is no directory".into()),
            (false, true) => Err("there is a directory".into()),
            _ => crate::sys::mount_copy(&self.mounts, place).map_err(|e| e.desc().to_owned()),
        }
    }
}

/// Makes a mount and everything mounted below it read-only.
fn protect(mount: &OwnedFd) -> Result<(), String> {
    let made = if crate::mutant::off("kernel_5_12") { Err(Errno::ENOSYS) } else { crate::sys::make_read_only(mount) };
    match made {
        // Before Linux 5.12 only one mount at a time can be changed, and only by its path.
        Err(Errno::ENOSYS) if has_mounts_below(mount)? => {
            Err("something is mounted below the source, and this kernel (before 5.12) cannot protect that".into())
        }
        Err(Errno::ENOSYS) => remount_read_only(mount).map_err(|e| e.desc().to_owned()),
        made => made.map_err(|e| e.desc().to_owned()),
    }
}

fn has_mounts_below(mount: &OwnedFd) -> Result<bool, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|e| format!("'{path}': {e}"));
    let about = read(&format!("/proc/self/fdinfo/{}", mount.as_raw_fd()))?;
    let id = about.lines().find_map(|line| line.strip_prefix("mnt_id:")).ok_or("the mount has no id")?.trim();
    Ok(read("/proc/self/mountinfo")?.lines().any(|line| line.split(' ').nth(1) == Some(id)))
}

/// What was denied on this mount must stay so, or the kernel refuses. Not named, access times stay as they are.
fn remount_read_only(at: &OwnedFd) -> nix::Result<()> {
    let now = fstatvfs(at)?.flags();
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| now.contains(*flag)).map(|(_, flag)| flag);
    let flags = kept.fold(MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, |all, one| all | one);
    mount(None::<&str>, handle_path(at).as_str(), None::<&str>, flags, None::<&str>)
}

/// What masks show: a file and a directory without content on a file system that is read-only itself.
struct Empty {
    file: OwnedFd,
    directory: OwnedFd,
}

impl Empty {
    fn make() -> nix::Result<Self> {
        let flags = QUIET | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), HIDDEN, Some("tmpfs"), flags, Some("mode=0755,size=4k,nr_inodes=8"))?;
        let root = open(HIDDEN, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let file = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        drop(openat(&root, "file", file, Mode::from_bits_truncate(0o444))?);
        mkdirat(&root, "directory", Mode::from_bits_truncate(0o555))?;
        mount(None::<&str>, HIDDEN, None::<&str>, flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>)?;
        let handle = |name: &str| openat(&root, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        Ok(Self { file: handle("file")?, directory: handle("directory")? })
    }

    fn cover(&self, at: &Absolute, directory: bool) -> Result<(), String> {
        if crate::mutant::off("p66_empty") {
            return Ok(());
        }
        let failed = |why: &str| format!("could not mask '{at}': {why}");
        let place = find(at).map_err(|e| failed(&e.text()))?;
        let source = Source::copy(if directory { &self.directory } else { &self.file }, directory);
        source.and_then(|source| source.mount_on(&place)).map_err(|why| failed(&why))
    }
}
