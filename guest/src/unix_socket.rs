//! Connecting to a unix socket without ever waiting in `connect`: a listener whose queue is full answers at once.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// A connected, non-blocking stream.
pub(crate) fn connect_now(path: &Path) -> io::Result<UnixStream> {
    // The directory of a long path stays open until the connection stands.
    let (_directory, address) = address(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &address)?;
    Ok(UnixStream::from(fd))
}

/// A socket's path is short by law of the kernel; a longer one is reached through its directory's descriptor.
fn address(path: &Path) -> io::Result<(Option<File>, UnixAddr)> {
    match (UnixAddr::new(path), path.parent(), path.file_name()) {
        (Err(Errno::ENAMETOOLONG), Some(parent), Some(name)) => {
            let directory = File::open(parent)?;
            let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
            Ok((Some(directory), UnixAddr::new(&short)?))
        }
        (address, ..) => Ok((None, address?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_no_obstacle() {
        let root = tempfile::tempdir().unwrap();
        let long = root.path().join("x".repeat(100)).join("y".repeat(100));
        std::fs::create_dir_all(&long).unwrap();
        let directory = File::open(&long).unwrap();
        let short = format!("/proc/self/fd/{}/socket", directory.as_raw_fd());
        let _listening = std::os::unix::net::UnixListener::bind(short).unwrap();
        connect_now(&long.join("socket")).unwrap();
        assert!(connect_now(&long.join("nothing")).is_err());
    }
}
