//! Where the guest finds our own things: the guest program and the directory of sockets. Mounted at fixed places, or the
//! host's own paths where a backend has no mounts.

use std::path::{Path, PathBuf};

use color_eyre::eyre::{Result, WrapErr as _};
use tokio::net::UnixListener;
use workmux_guest::{CONTROL_SOCKET, GUEST_BIN_DIR, GUEST_PROGRAM, GUEST_SOCKET_DIR};
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

    pub(super) fn first_process(&self, spec: &SandboxSpec) -> GuestCommand {
        let (program, sockets) = match self {
            Self::Mounted => (PathBuf::from(GUEST_PROGRAM), Path::new(GUEST_SOCKET_DIR)),
            Self::Host { sockets, bin } => (bin.join("workmux"), sockets.as_path()),
        };
        GuestCommand {
            argv: vec![
                program.into_os_string().into(),
                "init".into(),
                sockets.join(CONTROL_SOCKET).into_os_string().into(),
            ],
            env: crate::mutant::for_guest(),
            cwd: spec.cwd.clone(),
        }
    }
}

/// Listens on a new socket. The path of a socket is short by law of the kernel; a longer one is reached through its
/// directory's descriptor.
pub(super) fn listen(directory: &Path, name: &str) -> Result<UnixListener> {
    use std::os::fd::AsRawFd as _;
    let path = directory.join(name);
    let bound = if path.as_os_str().len() <= 100 {
        UnixListener::bind(&path)
    } else {
        std::fs::File::open(directory)
            .and_then(|dir| UnixListener::bind(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())))
    };
    bound.wrap_err_with(|| format!("cannot listen in {}", crate::text::quote(directory.as_os_str())))
}
