//! A directory for one pull or build. Podman keeps what is half-done in temporary files, and leaves them where it is
//! interrupted; so it is told to keep them here.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use workmux_plugin_api::{Error, Result, Tool};

use crate::engine::Engine;

/// The process that it belongs to follows.
const PREFIX: &str = "workmux-of-";

pub(super) struct Scratch(TempDir);

impl Scratch {
    pub(super) fn new() -> Result<Self> {
        // Images are large; `/tmp` may be memory.
        let parent = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let parent = parent.unwrap_or_else(|| "/var/tmp".into());
        remove_left_ones(&parent);
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let made = tempfile::Builder::new().prefix(&prefix).tempdir_in(&parent);
        made.map(Self).map_err(|e| {
            Error::internal(format!("no directory could be made in '{}'", parent.display()))
                .cause(e.to_string())
                .hint("make room there, or set TMPDIR to a directory that you can write")
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The same tool, with its temporary files in here. docker's are its daemon's.
    pub(super) fn keeps(&self, engine: Engine, mut tool: Tool) -> Tool {
        if engine == Engine::Podman {
            tool.env.push(("TMPDIR".to_owned(), self.path().as_os_str().to_owned().into()));
        }
        tool
    }
}

/// What processes left that were killed. Others' cannot be removed and need not be.
fn remove_left_ones(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let Some(pid) = rest.split('-').next().and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        let ours = entry.metadata().is_ok_and(|found| {
            use std::os::unix::fs::MetadataExt as _;
            found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw()
        });
        if ours && !Path::new("/proc").join(pid.to_string()).exists() {
            let _in_use = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let own = format!("{PREFIX}{}-x", std::process::id());
        // No process has a number that large.
        let dead = format!("{PREFIX}4294967295-x");
        for name in [own.as_str(), &dead, "workmux-of-nobody", "other"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("/nonexistent", parent.path().join(format!("{PREFIX}4294967295-link"))).unwrap();
        remove_left_ones(parent.path());
        let there = |name: &str| parent.path().join(name).symlink_metadata().is_ok();
        assert!(!there(&dead) && there(&own) && there("workmux-of-nobody") && there("other"));
        assert!(there(&format!("{PREFIX}4294967295-link")), "a link is nobody's directory");
    }
}
