//! Where the host's mounts and masks come to lie, checked before bwrap sees them.
//!
//! What holds for every backend is `Placing`'s; this file knows what a sandbox of bwrap is made of.

use std::path::Path;

use workmux_plugin_api::{Access, Error, Mask, MaskKind, Mount, Placing, Result};

use crate::step::Step;

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
    let placing = Placing::new(home);
    let shows = |m: &Mount| placing.guest_path(&m.target).is_ok_and(|t| t == m.source && path.starts_with(t));
    mounts.iter().any(shows)
}

/// What lies in the guest below the host's mounts.
fn placing(steps: &[Step], home: &Path) -> Placing {
    let mut placing = Placing::new(home);
    for step in steps {
        match step {
            Step::Bind { source, target, .. } => placing.put(target, Some(source)),
            Step::Tmpfs { target, .. } => placing.put(target, None),
            Step::Proc | Step::Dev => placing.put(step.target(), None),
            Step::Seal { .. } | Step::Link { .. } => {}
        }
    }
    placing
}

/// Appends the mounts to the steps, and then what lies over masked paths, at each place where what they hide is mounted.
pub(crate) fn mounts_and_masks(
    steps: &mut Vec<Step>,
    mounts: &[Mount],
    masks: &[Mask],
    home: &Path,
    scratch: &Path,
) -> Result<()> {
    let mut placing = placing(steps, home);
    for mount in mounts {
        check_target(&placing.guest_path(&mount.target)?, home)?;
        let Mount { source, target, access, .. } = placing.mount(mount)?;
        steps.push(Step::Bind { source, target, access });
    }
    for mask in masks {
        let directory = mask.kind == MaskKind::Directory;
        let empty = scratch.join(if directory { EMPTY_DIRECTORY } else { EMPTY_FILE });
        for target in placing.cover(mask)? {
            if KEPT.iter().any(|kept| Path::new(kept).starts_with(&target)) {
                return Err(refuse(&target, "cannot be masked: the sandbox needs it"));
            }
            steps.push(Step::Bind { source: empty.clone(), target, access: Access::ReadOnly });
        }
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

fn refuse(path: &Path, why: &str) -> Error {
    Error::refused(format!("'{}' {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "/home/ann";

    fn placed(mounts: &[Mount], masks: &[Mask]) -> Result<Vec<Step>> {
        let mut steps = vec![Step::read_only("/usr", "/usr"), Step::tmpfs("/home")];
        mounts_and_masks(&mut steps, mounts, masks, Path::new(HOME), Path::new("/scratch"))?;
        Ok(steps.split_off(2))
    }

    #[test]
    fn p68_nothing_lies_over_what_the_sandbox_is_made_of() {
        let dir = tempfile::tempdir().unwrap();
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
            "/sys/fs/cgroup",
            "relative",
            "/a/../etc",
            "",
        ] {
            let error = placed(&[Mount::read_write(dir.path(), target)], &[]).unwrap_err();
            let message = error.message;
            assert!(
                ["cover", "plain path", "nothing can be mounted"].iter().any(|w| message.contains(w)),
                "{target}: {message}"
            );
        }
    }

    #[test]
    fn p66_masks_lie_over_what_is_mounted_and_not_over_the_sandbox() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "").unwrap();
        let mounts = [Mount::read_write(dir.path(), "/wt"), Mount::read_only(dir.path(), "~/copy")];
        let mask = |target: &str, kind| Mask { target: target.into(), kind };
        let steps = placed(&mounts, &[mask("/wt/key", MaskKind::File)]).unwrap();
        let covers: Vec<_> = steps[2..].iter().map(Step::target).collect();
        assert_eq!(covers, [Path::new("/wt/key"), Path::new("/home/ann/copy/key")]);
        assert!(placed(&mounts, &[mask("/usr/bin", MaskKind::Directory)]).is_err());
    }
}
