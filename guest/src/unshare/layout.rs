//! Mounting what the command line lays out.
//!
//! Every source is opened before anything is mounted, so it may lie below what is covered later. Mounts are made on
//! open handles, never on paths.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::options::{Absolute, Step};
use super::path::{Found, find, find_or_make, handle_path};

const QUIET: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
/// A directory that every `/proc` has. It is covered, with what lies there, by the one that is mounted last.
const HIDDEN: &str = "/proc/fs";

/// Does all steps, in their order.
pub(super) fn lay_out(steps: &[Step]) -> Result<(), String> {
    let source = |step: &Step| match step {
        Step::Bind { source, .. } => {
            find(source).map(Some).map_err(|e| format!("could not open the source '{source}': {}", e.text()))
        }
        _ => Ok(None),
    };
    let sources = steps.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    let mut empty = None;
    for (step, source) in steps.iter().zip(&sources) {
        match (step, source) {
            (Step::Bind { at, read_only, .. }, Some(source)) => bind(source, at, *read_only)?,
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
        Ok(found) => mount(Some("tmpfs"), found.path().as_str(), Some("tmpfs"), QUIET, Some("mode=0755,size=64m"))
            .map_err(|e| failed(e.desc())),
        Err(e) if e.is_missing() => Ok(()),
        Err(e) => Err(failed(&e.text())),
    }
}

fn bind(source: &Found, at: &Absolute, read_only: bool) -> Result<(), String> {
    let failed = |why: &str| format!("could not bind at '{at}': {why}");
    let place = find_or_make(at, source.is_directory()).map_err(|e| failed(&e.text()))?;
    bind_on(&source.path(), source.is_directory(), &place).map_err(|why| failed(&why))?;
    if read_only && !crate::mutant::off("p13_read_only_bind") {
        let mount = place.mounted(source).map_err(|e| failed(e.desc()))?;
        protect(&mount).map_err(|why| failed(&format!("it would be writable: {why}")))?;
    }
    Ok(())
}

/// With everything below the source: mounts that belong to somebody else cannot be left behind, they may hide something.
fn bind_on(source: &str, directory: bool, place: &Found) -> Result<(), String> {
    match (directory, place.is_directory()) {
        (true, false) => return Err("there is no directory".into()),
        (false, true) => return Err("there is a directory".into()),
        _ => {}
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), place.path().as_str(), None::<&str>, flags, None::<&str>).map_err(|e| e.desc().to_owned())
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
        let source = if directory { &self.directory } else { &self.file };
        bind_on(&handle_path(source), directory, &place).map_err(|why| failed(&why))
    }
}
