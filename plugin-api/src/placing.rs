//! Where the host's mounts and masks come to lie in a guest: checks that every backend with mounts needs.
//!
//! Tools make a missing mount point in whatever lies there, and some follow links to it: below a mount of a directory
//! that an earlier guest wrote, that would create files on the host where the guest wants them. So a mount point inside
//! another mount must be there already, as a plain path. And a masked file is hidden at every path where it can be seen.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::{Error, Mask, MaskKind, Mount, Result};

/// The host's own corner of the guest: each place in it is given once.
const HOSTS_CORNER: &str = "/run/workmux";

/// A guest's paths, filled mount by mount.
#[derive(Debug, Clone, Default)]
pub struct Placing {
    home: PathBuf,
    layers: Vec<Layer>,
    first_mount: usize,
}

/// What lies at a path and below it.
#[derive(Debug, Clone)]
struct Layer {
    target: PathBuf,
    /// The host path that is seen there; `None` where it is no path of the host's.
    source: Option<PathBuf>,
}

impl Placing {
    /// An empty guest whose home lies there.
    pub fn new(home: &Path) -> Self {
        Self { home: home.to_owned(), ..Self::default() }
    }

    /// Says what the backend itself puts there, before the host's mounts; `source` is a host path that is seen there.
    pub fn put(&mut self, target: &Path, source: Option<&Path>) {
        self.layers.push(Layer { target: target.to_owned(), source: source.map(Path::to_owned) });
        self.first_mount = self.layers.len();
    }

    /// A guest path, below the home where it begins with `~/`; absolute and plain.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) where it is neither.
    pub fn guest_path(&self, path: &Path) -> Result<PathBuf> {
        let path = path.strip_prefix("~").map_or_else(|_| path.to_owned(), |below| join(&self.home, below));
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

    /// Places a mount; the answer is the mount with its final target. Parents come before children.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) where it would hide another mount, or where its mount point
    /// would have to be made in a directory of the host's.
    pub fn mount(&mut self, mount: &Mount) -> Result<Mount> {
        let target = self.guest_path(&mount.target)?;
        let mut placed = self.layers[self.first_mount..].iter().map(|layer| &layer.target);
        if let Some(hidden) = placed.clone().find(|p| p.starts_with(&target) && **p != target) {
            return Err(refuse(&target, &format!("would hide the mount at '{}'", hidden.display())));
        }
        if target.starts_with(HOSTS_CORNER) && placed.any(|p| *p == target) {
            return Err(refuse(&target, "is the host's own and already there"));
        }
        let source = fs::metadata(&mount.source).map_err(|e| {
            Error::refused(format!("the mount's source '{}' cannot be read", mount.source.display()))
                .cause(e.to_string())
        })?;
        self.check_mount_point(&target, source.is_dir())?;
        self.layers.push(Layer { target: target.clone(), source: Some(mount.source.clone()) });
        Ok(Mount { target, ..mount.clone() })
    }

    /// Every guest path at which an empty file or directory must be laid to hide what the mask names. Ask after the
    /// last mount.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) where it would still be seen.
    pub fn cover(&self, mask: &Mask) -> Result<Vec<PathBuf>> {
        let directory = mask.kind == MaskKind::Directory;
        let target = self.guest_path(&mask.target)?;
        let places = self.every_place(&target, directory)?;
        for place in &places {
            self.check_mount_point(place, directory)?;
        }
        Ok(places)
    }

    /// The layer that decides what is seen at a path.
    fn ruling(&self, path: &Path) -> Option<&Layer> {
        self.layers.iter().rev().find(|layer| path.starts_with(&layer.target))
    }

    /// In memory, or in an image, the backend makes the mount point; in a host directory it must be there, reached
    /// without links.
    fn check_mount_point(&self, target: &Path, directory: bool) -> Result<()> {
        if crate::mutant::off("p67_mount_points") {
            return Ok(());
        }
        let Some(Layer { source: Some(source), target: parent }) = self.ruling(target) else { return Ok(()) };
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

    /// The guest paths under which the file behind `target` can be seen.
    fn every_place(&self, target: &Path, directory: bool) -> Result<Vec<PathBuf>> {
        let mut places = vec![target.to_owned()];
        if crate::mutant::off("p66_every_place") {
            return Ok(places);
        }
        let Some(Layer { source: Some(source), target: parent }) = self.ruling(target) else { return Ok(places) };
        let hidden = target.strip_prefix(parent).map_or_else(|_| source.clone(), |below| join(source, below));
        for Layer { source, target: other } in &self.layers {
            let Some(source) = source else { continue };
            if let Ok(below) = hidden.strip_prefix(source) {
                let place = join(other, below);
                // Something else may lie over it there.
                let seen = self.ruling(&place).is_some_and(|layer| layer.target == *other);
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

/// `join` with an empty path would end in a slash.
fn join(path: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { path.to_owned() } else { path.join(below) }
}

/// The refusal of a path in a guest, as `'PATH' WHY`.
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

    fn placed(all: &[Mount]) -> Result<(Placing, Vec<PathBuf>)> {
        let mut placing = Placing::new(Path::new(HOME));
        placing.put(Path::new("/usr"), Some(Path::new("/usr")));
        placing.put(Path::new("/home"), None);
        let targets = all.iter().map(|m| Ok(placing.mount(m)?.target)).collect::<Result<Vec<_>>>()?;
        Ok((placing, targets))
    }

    fn refusal(all: &[Mount]) -> String {
        let error = placed(all).unwrap_err();
        assert_eq!(error.kind, crate::ErrorKind::Refused);
        error.message
    }

    #[test]
    fn the_home_is_where_a_tilde_points() {
        let dir = worktree();
        let all = [Mount::read_write(dir.path(), "~/.claude"), Mount::read_only("/usr", "/usr/src")];
        assert_eq!(placed(&all).unwrap().1[0], Path::new("/home/ann/.claude"));
        for odd in ["~x/y", "relative", "/a/../etc", ""] {
            let message = refusal(&[Mount::read_only(dir.path(), odd)]);
            assert!(message.contains("is not an absolute, plain path"), "{odd}: {message}");
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
            let covers = placed(all).unwrap().0.cover(&Mask { target: target.into(), kind })?;
            Ok::<_, Error>(covers.iter().map(|p| p.display().to_string()).collect::<Vec<_>>())
        };
        let both = [Mount::read_write(&wt, "/wt"), Mount::read_only(wt.join("sub"), "~/copy")];
        assert_eq!(cover(&both, "/wt/sub/key", MaskKind::File).unwrap(), ["/wt/sub/key", "/home/ann/copy/key"]);
        assert_eq!(cover(&both, "~/copy/key", MaskKind::File).unwrap(), ["/home/ann/copy/key", "/wt/sub/key"]);
        assert_eq!(cover(&both, "/wt/sub", MaskKind::Directory).unwrap(), ["/wt/sub", "/home/ann/copy"]);
        let inner = [Mount::read_write(&wt, "/wt"), Mount::read_only(wt.join("sub/key"), "/k")];
        assert!(cover(&inner, "/wt/sub", MaskKind::Directory).unwrap_err().message.contains("is mounted at '/k'"));
        assert!(cover(&both, "/wt/in", MaskKind::File).unwrap_err().message.contains("link"));
    }
}
