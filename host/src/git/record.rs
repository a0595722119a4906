//! What a repository was when a run began: compared before every later host git command (P18).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::GitError;
use super::pointer;

/// Directories by identity, pointer files by content, and the pointer files that must stay absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Device numbers mean nothing after a restart of the machine.
    boot: String,
    places: Vec<Place>,
    pointers: Vec<Pointer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pointer {
    path: PathBuf,
    /// `None`: there is no such file, and there must never be one.
    text: Option<String>,
}

impl Record {
    /// Notes the identity of `places` and the content or absence of `pointers`.
    pub(super) fn take(places: &[&Path], pointers: &[PathBuf]) -> Result<Self, GitError> {
        let places = places.iter().map(|path| {
            let meta = fs::symlink_metadata(path).map_err(GitError::io("look at", path))?;
            Ok(Place { path: (*path).to_owned(), device: meta.dev(), inode: meta.ino() })
        });
        let pointers = pointers.iter().map(|path| {
            let text = match fs::symlink_metadata(path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
                _ => Some(pointer::read(path)?),
            };
            Ok(Pointer { path: path.clone(), text })
        });
        Ok(Self {
            boot: boot_id(),
            places: places.collect::<Result<_, GitError>>()?,
            pointers: pointers.collect::<Result<_, GitError>>()?,
        })
    }

    /// Everything that is compared.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let places = self.places.iter().map(|place| place.path.clone());
        places.chain(self.pointers.iter().map(|pointer| pointer.path.clone())).collect()
    }

    /// Fails where something is no longer what it was.
    pub(super) fn verify(&self) -> Result<(), GitError> {
        if crate::mutant::off("p18_record") {
            return Ok(());
        }
        let same_boot = self.boot == boot_id();
        for place in &self.places {
            let same = fs::symlink_metadata(&place.path)
                .is_ok_and(|m| m.is_dir() && m.ino() == place.inode && (m.dev() == place.device || !same_boot));
            if !same {
                return Err(GitError::Changed(place.path.clone()));
            }
        }
        for Pointer { path, text } in &self.pointers {
            let same = match text {
                None => fs::symlink_metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound),
                Some(text) => pointer::read(path).is_ok_and(|now| now == *text),
            };
            if !same {
                return Err(GitError::Changed(path.clone()));
            }
        }
        Ok(())
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
