//! The effective configuration of a run, kept from its start to its end.
//!
//! A guest can write the project's files; what the host does for the run afterwards reads this file instead. It lives
//! in a private directory of the caller's, outside every mount.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::report::ConfigError;
use super::types::Config;

/// The file's name in the directory given.
const NAME: &str = "config.json";
/// Raised when a change to [`Config`] would be misread.
const FORMAT: u32 = 1;
/// Both files at their largest, and what merging adds.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Frozen {
    format: u32,
    /// Where the project's file was found: panes start there.
    pub(super) project_file: Option<PathBuf>,
    pub(super) config: Config,
}

/// Writes a new file into `dir`, which must belong to this user alone.
pub(super) fn write(dir: &Path, config: &Config, project_file: Option<&Path>) -> io::Result<PathBuf> {
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || !private(&found) {
        return Err(io::Error::other("the directory for it is not private"));
    }
    let frozen = Frozen { format: FORMAT, project_file: project_file.map(Path::to_owned), config: config.clone() };
    let path = dir.join(NAME);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(&serde_json::to_vec(&frozen)?)?;
    Ok(path)
}

/// Whether it is this user's alone.
fn private(found: &fs::Metadata) -> bool {
    let ours = found.uid() == geteuid().as_raw() && found.permissions().mode() & 0o077 == 0;
    ours || crate::mutant::off("p26_private")
}

/// Reads a file that [`write`] made.
pub(super) fn read(path: &Path) -> Result<Frozen, ConfigError> {
    let refuse = |why: &str| ConfigError::NotFrozen { path: path.to_owned(), why: why.to_owned() };
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    if !path.is_absolute() {
        return Err(refuse("the path is not absolute"));
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(refuse("it is not a regular file"));
    }
    if !private(&found) {
        return Err(refuse("others can change or read it"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refuse("it is too large"));
    }
    let frozen: Frozen = serde_json::from_slice(&bytes).map_err(|e| refuse(&crate::text::line(&e.to_string())))?;
    if frozen.format != FORMAT {
        return Err(refuse("it has another format"));
    }
    Ok(frozen)
}
