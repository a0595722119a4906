//! Where the supervisor waits: on a unix socket, or on a port that it and this process prove themselves on.
//!
//! On the command line `/run/workmux/sock/control` is a socket, `tcp:HOST:PORT:FILE` a port and the file of its keys.
//! No attempt outlasts the patience of whoever makes it, and a signal ends it.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, getsockopt, setsockopt, sockopt,
};
use workmux_guest::proof::{KEY, Keys, notice_silence};

use super::signals::{Arrival, Signals};
use crate::names;
use crate::unix_socket::connect_now;

/// The supervisor answers a proof at once; whoever does not is somebody else.
const PROOF: Duration = Duration::from_secs(5);

/// Where to connect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A unix socket.
    Socket(PathBuf),
    /// A port of the host.
    Tcp { host: String, port: u16, keys: PathBuf },
}

impl Place {
    /// Reads the argument.
    pub(crate) fn parse(argument: &OsStr) -> Option<Self> {
        let Some(rest) = argument.as_bytes().strip_prefix(b"tcp:") else {
            return Some(Self::Socket(argument.into()));
        };
        // A host has no slash; that of an address may have colons.
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let (address, keys) = rest.split_at(slash);
        let (host, port) = std::str::from_utf8(address).ok()?.strip_suffix(':')?.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty()).then(|| Self::Tcp { host: host.to_owned(), port, keys: OsStr::from_bytes(keys).into() })
    }

    /// The socket of this name in the same directory; nothing listens there where the host is reached by a port.
    pub(super) fn sibling(&self, name: &str) -> PathBuf {
        let (Self::Socket(path) | Self::Tcp { keys: path, .. }) = self;
        path.with_file_name(name)
    }

    /// One attempt. The stream does not block.
    pub(super) fn connect(&self, patience: &Patience<'_>) -> io::Result<OwnedFd> {
        match self {
            Self::Socket(path) => connect_now(path).map(OwnedFd::from),
            Self::Tcp { host, port, keys } => {
                let keys = read(keys)?;
                let mut problem = None;
                for address in names::resolve(host, *port)? {
                    match dial(address, patience).and_then(|stream| prove(stream, &keys, patience)) {
                        Ok(stream) => return Ok(stream),
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
                        Err(e) => problem = Some(io::Error::new(e.kind(), format!("{}: {e}", address.ip()))),
                    }
                }
                Err(problem.unwrap_or_else(|| io::Error::other("no address")))
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

fn read(path: &Path) -> io::Result<Keys> {
    let content = std::fs::read(path);
    let keys = content.and_then(|content| Keys::decode(&content));
    keys.map_err(|e| io::Error::new(e.kind(), format!("'{}': {e}", path.display())))
}

/// A connection that notices when the other machine is gone.
fn dial(address: SocketAddr, patience: &Patience<'_>) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let stream = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    notice_silence(&stream)?;
    setsockopt(&stream, sockopt::TcpNoDelay, &true)?;
    match socket::connect(stream.as_raw_fd(), &SockaddrStorage::from(address)) {
        Err(Errno::EINPROGRESS) => {
            patience.until(stream.as_fd(), PollFlags::POLLOUT)?;
            match getsockopt(&stream, sockopt::SocketError)? {
                0 => Ok(stream),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
        done => done.map(|()| stream).map_err(io::Error::from),
    }
}

/// Shows our key and looks at the other side's, before anything is said that matters.
fn prove(stream: OwnedFd, keys: &Keys, patience: &Patience<'_>) -> io::Result<OwnedFd> {
    let patience = patience.at_most(PROOF);
    // A new connection has room for so little.
    let sent = socket::send(stream.as_raw_fd(), &keys.guest, MsgFlags::MSG_NOSIGNAL)?;
    if sent != KEY {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let (mut answer, mut known) = ([0; KEY], 0);
    while known < KEY {
        patience.until(stream.as_fd(), PollFlags::POLLIN)?;
        match nix::unistd::read(&stream, &mut answer[known..]) {
            Ok(0) => return Err(io::Error::other("whoever is there did not take this sandbox for its own")),
            Ok(n) => known += n,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    if keys.is_host(&answer) {
        Ok(stream)
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "whoever is there is not this sandbox's supervisor"))
    }
}

/// How long something may take, and what ends it sooner.
pub(super) struct Patience<'a> {
    deadline: Instant,
    signals: &'a Signals,
}

impl<'a> Patience<'a> {
    pub(super) fn new(time: Duration, signals: &'a Signals) -> Self {
        Self { deadline: Instant::now() + time, signals }
    }

    fn at_most(&self, time: Duration) -> Self {
        Self { deadline: self.deadline.min(Instant::now() + time), signals: self.signals }
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Lets some time pass.
    pub(super) fn pause(&self, time: Duration) -> io::Result<()> {
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, super::poll_timeout(Some(time)));
        self.undisturbed()
    }

    /// Waits for a descriptor.
    fn until(&self, fd: BorrowedFd<'_>, events: PollFlags) -> io::Result<()> {
        loop {
            let mut fds = [PollFd::new(fd, events), PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let left = self.deadline.saturating_duration_since(Instant::now());
            match poll(&mut fds, super::poll_timeout(Some(left))) {
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
                Ok(_) => {
                    self.undisturbed()?;
                    if fds[0].any().unwrap_or(true) {
                        return Ok(());
                    }
                    if self.is_over() {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
                    }
                }
            }
        }
    }

    /// A signal that means to end this process does.
    fn undisturbed(&self) -> io::Result<()> {
        while let Some(arrival) = self.signals.next() {
            if let Arrival::Forward(signal) = arrival {
                return Err(io::Error::new(io::ErrorKind::Interrupted, format!("signal {signal} came first")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_and_a_port_has_a_host_and_a_file() {
        let parse = |text: &str| Place::parse(OsStr::new(text));
        let tcp = |host: &str, port| Some(Place::Tcp { host: host.into(), port, keys: "/run/a b:/c".into() });
        assert_eq!(parse("/run/tcp:x:1:/y"), Some(Place::Socket("/run/tcp:x:1:/y".into())));
        assert_eq!(parse("tcp:host.docker.internal:80:/run/a b:/c"), tcp("host.docker.internal", 80));
        assert_eq!(parse("tcp:fd00::2:65535:/run/a b:/c"), tcp("fd00::2", 65535));
        for wrong in
            ["tcp:", "tcp:h:1", "tcp:h:1:", "tcp:h:/x", "tcp::1:/x", "tcp:h:0:/x", "tcp:h:65536:/x", "tcp:h:1/x"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse("tcp:h:1:/run/sock/control.keys").unwrap().sibling("rpc"), Path::new("/run/sock/rpc"));
    }
}
