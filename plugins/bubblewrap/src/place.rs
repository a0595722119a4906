//! Where the host's mounts and masks come to lie, checked before bwrap sees them.
//!
//! bwrap makes a missing mount point in whatever lies there, and follows links to it: below a mount of a directory
//! that an earlier guest wrote, that would create files on the host where the guest wants them. So a mount point inside
//! another mount must be there already, as a plain path.

use std::fs;
use std::path::{Component, Path, PathBuf};

use workmux_plugin_api::{Access, Error, Mask, MaskKind, Mount, Result};

use crate::step::{Step, ruling};

/// No mount may lie on these or above them: the guest would run without what the sandbox is made of, or see too much.
const KEPT: &[&str] = &[
    "/bin",
    "/dev",
    "/dev/shm",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/root",
    "/run/etc",
    "/run/workmux",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/sbin",
    "/var/tmp",
];
/// Nothing may be mounted in these either; `/dev/shm` is memory like any other.
const SEALED: &[&str] = &["/dev", "/proc", "/sys"];
/// The host's own corner of the guest: each place in it is given once.
const HOSTS_CORNER: &str = "/run/workmux";

/// Files of the run that lie over masked paths.
pub(crate) const EMPTY_FILE: &str = "empty-file";
/// The same for directories.
pub(crate) const EMPTY_DIRECTORY: &str = "empty-directory";

/// Whether it lies in one of the machine's program directories, which every guest sees.
pub(crate) fn is_program_directory(path: &Path) -> bool {
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"].iter().any(|d| path.starts_with(d))
}

/// Whether a mount shows it to the guest under the path it has on the host.
pub(crate) fn mounted_as_it_is(mounts: &[Mount], home: &Path, path: &Path) -> bool {
    let shows = |m: &Mount| guest_path(&m.target, home).is_ok_and(|t| t == m.source && path.starts_with(t));
    mounts.iter().any(shows)
}

/// A guest path below the home where it begins with `~/`; absolute and plain.
pub(crate) fn guest_path(path: &Path, home: &Path) -> Result<PathBuf> {
    let path = path.strip_prefix("~").map_or_else(|_| path.to_owned(), |below| home.join(below));
    let plain = path.components().enumerate().all(|(at, c)| match c {
        Component::RootDir => at == 0,
        Component::Normal(_) => at > 0,
        _ => false,
    });
    if plain && path.is_absolute() {
        Ok(path.components().collect())
    } else {
        Err(refuse(&path, "is not an absolute, plain path"))
    }
}

/// Appends the mounts to the steps.
pub(crate) fn mounts(steps: &mut Vec<Step>, mounts: &[Mount], home: &Path) -> Result<()> {
    let mut placed: Vec<PathBuf> = Vec::new();
    for mount in mounts {
        let target = guest_path(&mount.target, home)?;
        check_target(&target, home)?;
        if let Some(hidden) = placed.iter().find(|p| p.starts_with(&target) && **p != target) {
            return Err(refuse(&target, &format!("would hide the mount at '{}'", hidden.display())));
        }
        if target.starts_with(HOSTS_CORNER) && placed.contains(&target) {
            return Err(refuse(&target, "is the host's own and already there"));
        }
        let source = fs::metadata(&mount.source).map_err(|e| {
            Error::refused(format!("the mount's source '{}' cannot be read", mount.source.display()))
                .cause(e.to_string())
        })?;
        check_mount_point(steps, &target, source.is_dir())?;
        placed.push(target.clone());
        steps.push(Step::Bind { source: mount.source.clone(), target, access: mount.access });
    }
    Ok(())
}

fn check_target(target: &Path, home: &Path) -> Result<()> {
    let covered = KEPT.iter().map(Path::new).chain([home]).find(|kept| kept.starts_with(target));
    if let Some(kept) = covered {
        return Err(refuse(target, &format!("would cover '{}' of the sandbox", kept.display())));
    }
    match SEALED.iter().find(|sealed| target.starts_with(sealed) && !target.starts_with("/dev/shm")) {
        Some(sealed) => Err(refuse(target, &format!("lies in '{sealed}', where nothing can be mounted"))),
        None => Ok(()),
    }
}

/// In memory bwrap makes the mount point; in a host directory it must be there, reached without links.
fn check_mount_point(steps: &[Step], target: &Path, directory: bool) -> Result<()> {
    if crate::mutant::off("p67_mount_points") {
        return Ok(());
    }
    let Some(Step::Bind { source, target: parent, .. }) = ruling(steps, target) else { return Ok(()) };
    let Ok(below) = target.strip_prefix(parent) else { return Ok(()) };
    if below.as_os_str().is_empty() {
        return Ok(());
    }
    match kind(source, below) {
        Ok(is_directory) if is_directory == directory => Ok(()),
        Ok(_) => Err(refuse(target, "is a file where a directory is mounted, or the other way round")),
        Err(why) => Err(refuse(target, &format!("{why} in '{}'", source.display()))
            .hint(format!("make it on the host: '{}'", source.join(below).display()))),
    }
}

/// Whether it is a directory; an error where it is missing, or not reached without following a link.
fn kind(source: &Path, below: &Path) -> Result<bool, &'static str> {
    let mut at = source.to_owned();
    let mut directory = true;
    for name in below.components() {
        at.push(name);
        let found = fs::symlink_metadata(&at).map_err(|_| "does not exist")?;
        if found.is_symlink() {
            return Err("passes through a link");
        }
        directory = found.is_dir();
    }
    Ok(directory)
}

/// Appends the masks, at each place where what they hide is mounted.
pub(crate) fn masks(steps: &mut Vec<Step>, masks: &[Mask], home: &Path, scratch: &Path) -> Result<()> {
    let mut covers = Vec::new();
    for mask in masks {
        let directory = mask.kind == MaskKind::Directory;
        let empty = scratch.join(if directory { EMPTY_DIRECTORY } else { EMPTY_FILE });
        let wanted = guest_path(&mask.target, home)?;
        for target in every_place(steps, &wanted, directory)? {
            if KEPT.iter().any(|kept| Path::new(kept).starts_with(&target)) {
                return Err(refuse(&target, "cannot be masked: the sandbox needs it"));
            }
            check_mount_point(steps, &target, directory)?;
            covers.push(Step::Bind { source: empty.clone(), target, access: Access::ReadOnly });
        }
    }
    steps.extend(covers);
    Ok(())
}

/// The guest paths under which the file behind `target` can be seen.
fn every_place(steps: &[Step], target: &Path, directory: bool) -> Result<Vec<PathBuf>> {
    let mut places = vec![target.to_owned()];
    if crate::mutant::off("p66_every_place") {
        return Ok(places);
    }
    let Some(Step::Bind { source, target: parent, .. }) = ruling(steps, target) else { return Ok(places) };
    let hidden = target.strip_prefix(parent).map_or_else(|_| source.clone(), |below| join(source, below));
    for step in steps {
        let Step::Bind { source, target: other, .. } = step else { continue };
        if let Ok(below) = hidden.strip_prefix(source) {
            let place = join(other, below);
            // Something else may lie over it there.
            let seen = matches!(ruling(steps, &place), Some(Step::Bind { target, .. }) if target == other);
            if seen && !places.contains(&place) {
                places.push(place);
            }
        } else if directory && source.starts_with(&hidden) && !other.starts_with(target) {
            let why = format!("lies in the masked '{}', but is mounted at '{}'", target.display(), other.display());
            return Err(refuse(source, &why).hint("remove the mask or the mount"));
        }
    }
    Ok(places)
}

/// `join` with an empty path would end in a slash.
fn join(path: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { path.to_owned() } else { path.join(below) }
}

fn refuse(path: &Path, why: &str) -> Error {
    Error::refused(format!("'{}' {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const HOME: &str = "/home/ann";

    /// A worktree with a file, a directory, and links a guest could have left.
    fn worktree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("wt/sub")).unwrap();
        fs::write(dir.path().join("wt/file"), "").unwrap();
        symlink("/etc", dir.path().join("wt/out")).unwrap();
        symlink("sub", dir.path().join("wt/in")).unwrap();
        dir
    }

    fn placed(all: &[Mount]) -> Result<Vec<Step>> {
        let mut steps = vec![Step::read_only("/usr", "/usr"), Step::tmpfs("/home")];
        mounts(&mut steps, all, Path::new(HOME))?;
        Ok(steps.split_off(2))
    }

    fn refusal(all: &[Mount]) -> String {
        let error = placed(all).unwrap_err();
        assert_eq!(error.kind, workmux_plugin_api::ErrorKind::Refused);
        error.message
    }

    #[test]
    fn the_home_is_where_a_tilde_points() {
        let dir = worktree();
        let steps =
            placed(&[Mount::read_write(dir.path(), "~/.claude"), Mount::read_only("/usr", "/usr/src")]).unwrap();
        assert_eq!(steps[0].target(), Path::new("/home/ann/.claude"));
        assert_eq!(
            guest_path(Path::new("~x/y"), Path::new(HOME)).unwrap_err().message,
            "'~x/y' is not an absolute, plain path"
        );
    }

    #[test]
    fn p68_nothing_lies_over_what_the_sandbox_is_made_of() {
        let dir = worktree();
        for target in [
            "/",
            "/usr",
            "/usr/bin",
            "/etc",
            "/proc",
            "/dev",
            "/run",
            "/run/workmux",
            "/home",
            "/tmp",
            "~/",
            "/home/ann",
            "/proc/1",
            "/dev/null",
            "/dev/shm",
            "/dev/null",
            "/sys/fs/cgroup",
            "relative",
            "/a/../etc",
            "",
        ] {
            let message = refusal(&[Mount::read_write(dir.path(), target)]);
            assert!(
                ["cover", "plain path", "nothing can be mounted"].iter().any(|w| message.contains(w)),
                "{target}: {message}"
            );
        }
    }

    #[test]
    fn p67_a_mount_point_inside_a_mount_is_there_already_and_no_link() {
        let dir = worktree();
        let wt = dir.path().join("wt");
        let inside = |source: &str, target: &str| {
            [Mount::read_write(&wt, "/wt"), Mount::read_only(wt.join(source), Path::new("/wt").join(target))]
        };
        placed(&inside("sub", "sub")).unwrap();
        placed(&inside("file", "file")).unwrap();
        for (source, target, why) in [
            ("sub", "missing/deep", "does not exist"),
            ("sub", "out/cron.d", "passes through a link"),
            ("sub", "in", "passes through a link"),
            ("sub", "file", "a file where a directory"),
            ("file", "sub", "a file where a directory"),
        ] {
            let message = refusal(&inside(source, target));
            assert!(message.contains(why), "{target}: {message}");
        }
    }

    #[test]
    fn p67_a_mount_hides_no_other_and_the_hosts_corner_is_given_once() {
        let dir = worktree();
        let wt = dir.path().join("wt");
        let message = refusal(&[Mount::read_only(&wt, "/a/b"), Mount::read_write(&wt, "/a")]);
        assert!(message.contains("would hide the mount at '/a/b'"), "{message}");
        let sockets = Mount::read_only(&wt, "/run/workmux/sock");
        assert!(refusal(&[sockets.clone(), sockets]).contains("already there"));
        assert!(refusal(&[Mount::read_only(dir.path().join("gone"), "/x")]).contains("cannot be read"));
    }

    #[test]
    fn p66_a_mask_covers_every_place_and_what_is_seen_anyway_is_refused() {
        let dir = worktree();
        let wt = dir.path().join("wt");
        fs::write(wt.join("sub/key"), "").unwrap();
        let cover = |all: &[Mount], target: &str, kind| {
            let mut steps = placed(all).unwrap();
            let before = steps.len();
            let mask = Mask { target: target.into(), kind };
            masks(&mut steps, &[mask], Path::new(HOME), Path::new("/scratch"))?;
            Ok::<_, Error>(steps[before..].iter().map(|s| s.target().display().to_string()).collect::<Vec<_>>())
        };
        let both = [Mount::read_write(&wt, "/wt"), Mount::read_only(wt.join("sub"), "~/copy")];
        assert_eq!(cover(&both, "/wt/sub/key", MaskKind::File).unwrap(), ["/wt/sub/key", "/home/ann/copy/key"]);
        assert_eq!(cover(&both, "~/copy/key", MaskKind::File).unwrap(), ["/home/ann/copy/key", "/wt/sub/key"]);
        assert_eq!(cover(&both, "/wt/sub", MaskKind::Directory).unwrap(), ["/wt/sub", "/home/ann/copy"]);
        // Something else lies there already.
        let over = [Mount::read_write(&wt, "/wt"), Mount::read_only(dir.path(), "/wt/sub")];
        assert_eq!(cover(&over[..1], "/wt/file", MaskKind::File).unwrap(), ["/wt/file"]);
        let inner = [Mount::read_write(&wt, "/wt"), Mount::read_only(wt.join("sub/key"), "/k")];
        assert!(cover(&inner, "/wt/sub", MaskKind::Directory).unwrap_err().message.contains("is mounted at '/k'"));
        assert!(cover(&both, "/wt/in", MaskKind::File).unwrap_err().message.contains("link"));
        assert!(cover(&both, "/usr/bin", MaskKind::Directory).is_err());
    }
}
