//! The steps that build a guest's file system, in order: what lies where, and nothing of bwrap's words.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use workmux_plugin_api::Access;

/// One step; a later one lies over the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// A host file or directory.
    Bind { source: PathBuf, target: PathBuf, access: Access },
    /// An empty directory in memory, for no more than so many bytes.
    Tmpfs { target: PathBuf, mode: u32, size: u64 },
    /// Makes what lies there read-only.
    Seal { target: PathBuf },
    /// A symbolic link in memory.
    Link { at: PathBuf, to: PathBuf },
    /// The guest's view of its own processes.
    Proc,
    /// The harmless devices.
    Dev,
}

impl Step {
    pub(crate) fn read_only(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self::Bind { source: source.into(), target: target.into(), access: Access::ReadOnly }
    }

    /// A directory that holds little but mount points.
    pub(crate) fn tmpfs(target: impl Into<PathBuf>) -> Self {
        Self::Tmpfs { target: target.into(), mode: 0o755, size: 16 << 20 }
    }

    /// Where it lies.
    pub(crate) fn target(&self) -> &Path {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } | Self::Seal { target } => target,
            Self::Link { at, .. } => at,
            Self::Proc => Path::new("/proc"),
            Self::Dev => Path::new("/dev"),
        }
    }
}
