//! A directory for one pull or build. Podman keeps what is half-done in temporary files, and leaves them where it is
//! interrupted; so it is told to keep them here.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use workmux_plugin_api::{Error, Result, Tool};

use crate::engine::Engine;

pub(super) struct Scratch(TempDir);

impl Scratch {
    pub(super) fn new() -> Result<Self> {
        // Images are large; `/tmp` may be memory.
        let parent = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let parent = parent.unwrap_or_else(|| "/var/tmp".into());
        let made = tempfile::Builder::new().prefix("workmux-").tempdir_in(&parent);
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
