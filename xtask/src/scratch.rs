//! Where tests and the demo put what they make: a folder of ours below `/var/tmp`, not below the checkout, which the
//! ordinary user may be unable to enter and which is itself a git repository.
//!
//! `/var/tmp` is open to everybody, so a folder that is already there is used only if it is provably ours.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::account::own_uid;

/// Our folder, held by us alone while this lives.
pub(crate) struct Scratch {
    root: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes or finds the folder, waits for other tasks that use it, and empties what they left.
    pub(crate) fn open() -> Result<Self> {
        Self::open_at(&Path::new("/var/tmp").join(format!("workmux-xtask-{}", own_uid())))
    }

    fn open_at(root: &Path) -> Result<Self> {
        // Others may pass through, to reach what is theirs, but not look around.
        match DirBuilder::new().mode(0o711).create(root) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(format!("could not make '{}': {e}", root.display()));
            }
            _ => check_ours(root)?,
        }
        let lock = File::create(root.join("lock")).map_err(|e| format!("'{}': {e}", root.display()))?;
        if lock.try_lock().is_err() {
            eprintln!("waiting for another cargo xtask to end ...");
            lock.lock().map_err(|e| format!("could not lock '{}': {e}", root.display()))?;
        }
        let scratch = Self { root: root.to_owned(), _lock: lock };
        for name in ["stage", "worlds", "demo"] {
            scratch.remove(name)?;
        }
        Ok(scratch)
    }

    /// A new folder in it that everybody may enter.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        let made = DirBuilder::new().mode(0o755).create(&path);
        made.map_err(|e| format!("could not make '{}': {e}", path.display()))?;
        Ok(path)
    }

    /// Where a file or folder of this name lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(format!("could not remove '{}': {e}; remove it by hand", path.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The program of the demo and of the tests stays until the next task, for a look at it by hand.
        for name in ["worlds", "demo"] {
            let _left_for_the_next = self.remove(name);
        }
    }
}

fn check_ours(path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path).map_err(|e| format!("'{}': {e}", path.display()))?;
    if meta.is_dir() && meta.uid() == own_uid() && meta.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(format!("'{}' is not a folder of ours alone; remove it", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("xtask-scratch-{name}-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&base).unwrap();
        base
    }

    #[test]
    fn a_folder_of_ours_is_made_once_and_emptied() {
        let base = base("ours");
        let root = base.join("s");
        fs::write(Scratch::open_at(&root).unwrap().folder("worlds").unwrap().join("left"), "").unwrap();
        assert!(Scratch::open_at(&root).unwrap().folder("worlds").is_ok());
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn what_somebody_else_prepared_is_refused() {
        let base = base("theirs");
        std::os::unix::fs::symlink("/tmp", base.join("link")).unwrap();
        assert!(Scratch::open_at(&base.join("link")).is_err());
        DirBuilder::new().mode(0o777).create(base.join("open")).unwrap();
        fs::set_permissions(base.join("open"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Scratch::open_at(&base.join("open")).is_err());
        fs::write(base.join("file"), "").unwrap();
        assert!(Scratch::open_at(&base.join("file")).is_err());
        fs::remove_dir_all(base).unwrap();
    }
}
