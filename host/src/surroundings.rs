//! What the process was started in: home, directories, search path, user. Read from the environment once, so that
//! nothing else has to and tests can make one up.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use color_eyre::eyre::{Result, WrapErr as _};

use crate::error::hinted;

/// Where and as whom the program runs.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The user's home directory.
    pub home: PathBuf,
    /// Where the program was started.
    pub cwd: PathBuf,
    /// `$XDG_CONFIG_HOME` or its default.
    pub config_home: PathBuf,
    /// `$XDG_DATA_HOME` or its default.
    pub data_home: PathBuf,
    /// `$XDG_STATE_HOME/workmux` or its default.
    pub state: PathBuf,
    /// `$XDG_CACHE_HOME/workmux` or its default.
    pub cache: PathBuf,
    /// This executable, resolved.
    pub executable: PathBuf,
    /// Absolute directories of `PATH` that only the user or the system can write, in order.
    pub search_path: Vec<PathBuf>,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Surroundings {
    /// Reads them from this process.
    pub fn read() -> Result<Self> {
        let uid = nix::unistd::geteuid().as_raw();
        let home = absolute("HOME")
            .ok_or_else(|| hinted("HOME is not set to an absolute path", "set it: export HOME=/home/you"))?;
        let xdg = |name: &str, default: &str| absolute(name).unwrap_or_else(|| home.join(default));
        Ok(Self {
            cwd: std::env::current_dir().wrap_err("cannot tell the current directory")?,
            config_home: xdg("XDG_CONFIG_HOME", ".config"),
            data_home: xdg("XDG_DATA_HOME", ".local/share"),
            state: xdg("XDG_STATE_HOME", ".local/state").join("workmux"),
            cache: xdg("XDG_CACHE_HOME", ".cache").join("workmux"),
            executable: std::env::current_exe().wrap_err("cannot tell where this program is")?,
            search_path: search_path(std::env::var_os("PATH"), uid),
            uid,
            gid: nix::unistd::getegid().as_raw(),
            home,
        })
    }

    /// The search path as the value of `PATH`.
    pub fn path_variable(&self) -> OsString {
        std::env::join_paths(&self.search_path).unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into())
    }
}

fn absolute(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute())
}

/// Entries of `PATH` that somebody else could write are left out: a program found there would run as the user.
fn search_path(path: Option<OsString>, uid: u32) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in std::env::split_paths(&path.unwrap_or_default()).filter(|p| p.is_absolute()) {
        if !entries.contains(&entry) && only_ours(&entry, uid) {
            entries.push(entry);
        }
    }
    entries
}

fn only_ours(directory: &Path, uid: u32) -> bool {
    std::fs::metadata(directory).is_ok_and(|m| m.is_dir() && (m.uid() == uid || m.uid() == 0) && m.mode() & 0o002 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn relative_and_world_writable_entries_are_not_searched() {
        let root = tempfile::tempdir().unwrap();
        let (good, open) = (root.path().join("good"), root.path().join("open"));
        for dir in [&good, &open] {
            std::fs::create_dir(dir).unwrap();
        }
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let path = std::env::join_paths([Path::new("bin"), &good, &open, Path::new("/nonexistent"), &good]).unwrap();
        assert_eq!(search_path(Some(path), nix::unistd::geteuid().as_raw()), [good]);
    }
}
