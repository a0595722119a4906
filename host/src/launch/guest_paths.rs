//! Where the guest finds our own things: the guest program and the directory of sockets. Mounted at fixed places, or the
//! host's own paths where a backend has no mounts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use color_eyre::eyre::Result;
use workmux_guest::{GUEST_BIN_DIR, GUEST_PROGRAM, GUEST_SOCKET_DIR};
use workmux_plugin_api::{GuestCommand, Mount, SandboxSpec};

use crate::runs;

/// Where the guest finds our own things.
pub(super) enum GuestPaths {
    /// Mounted at fixed places.
    Mounted,
    /// The backend has no mounts: the host's own paths.
    Host { sockets: PathBuf, bin: PathBuf },
}

impl GuestPaths {
    pub(super) fn new(mounted: bool, sockets: &Path, program: &Path, directory: &Path) -> Result<Self> {
        if mounted {
            return Ok(Self::Mounted);
        }
        let bin = runs::private_directory(&directory.join("bin"))?;
        std::os::unix::fs::symlink(program, bin.join("workmux"))?;
        Ok(Self::Host { sockets: sockets.to_owned(), bin })
    }

    pub(super) fn mounts(&self, sockets: &Path, program: &Path) -> Vec<Mount> {
        match self {
            Self::Mounted => {
                vec![Mount::read_only(sockets, GUEST_SOCKET_DIR), Mount::read_only(program, GUEST_PROGRAM)]
            }
            Self::Host { .. } => Vec::new(),
        }
    }

    pub(super) fn bin(&self) -> &Path {
        match self {
            Self::Mounted => Path::new(GUEST_BIN_DIR),
            Self::Host { bin, .. } => bin,
        }
    }

    /// The directory of sockets, in the guest.
    pub(super) fn sockets(&self) -> &Path {
        match self {
            Self::Mounted => Path::new(GUEST_SOCKET_DIR),
            Self::Host { sockets, .. } => sockets,
        }
    }

    /// `place`: where the supervisor waits, in the guest program's words.
    pub(super) fn first_process(&self, spec: &SandboxSpec, place: OsString) -> GuestCommand {
        let program = match self {
            Self::Mounted => PathBuf::from(GUEST_PROGRAM),
            Self::Host { bin, .. } => bin.join("workmux"),
        };
        GuestCommand {
            argv: vec![program.into_os_string().into(), "init".into(), place.into()],
            env: crate::mutant::for_guest(),
            cwd: spec.cwd.clone(),
        }
    }
}
