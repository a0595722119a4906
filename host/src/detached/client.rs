//! One conversation with a supervisor, over its socket and within a deadline.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

use super::wire::{self, Frame, HEADER, Kind};

/// The socket's name in the directory.
pub(super) const SOCKET: &str = "screen.sock";

/// The directory, held open so that its socket has a short name: those of sockets are limited to some hundred bytes.
pub(super) struct Place(File);

impl Place {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let flags = nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW;
        OpenOptions::new().read(true).custom_flags(flags).open(directory).map(Self)
    }

    pub(super) fn socket(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{SOCKET}", self.0.as_raw_fd()).into()
    }

    pub(super) fn directory(&self) -> &File {
        &self.0
    }
}

/// Why there is no answer.
pub(super) enum Silence {
    /// Nobody listens.
    Gone,
    /// Not in time.
    Late,
    /// Anything else.
    Lost(io::Error),
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::Gone,
            // It ended just now.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Gone,
            _ => Self::Lost(error),
        }
    }
}

impl From<Errno> for Silence {
    fn from(error: Errno) -> Self {
        // A connection to a full queue is interrupted by its timeout like this.
        if error == Errno::EINPROGRESS { Self::Late } else { io::Error::from(error).into() }
    }
}

/// Connects, waiting no longer than that for a place in the queue.
pub(super) fn open(directory: &Path, within: Duration) -> Result<UnixStream, Silence> {
    let place = Place::open(directory)?;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::SendTimeout, &time(within))?;
    connect(socket.as_raw_fd(), &UnixAddr::new(&place.socket())?)?;
    Ok(socket.into())
}

/// Asks for one thing and hears the answer.
pub(super) fn ask(directory: &Path, kind: Kind, payload: &[u8], within: Duration) -> Result<Frame, Silence> {
    let until = Instant::now() + within;
    let mut stream = open(directory, within)?;
    let mut asked = &wire::frame(kind, payload)[..];
    while !asked.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(asked) {
            Ok(n) => asked = &asked[n..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    let mut header = [0; HEADER];
    fill(&mut stream, &mut header, until)?;
    let (kind, length) = wire::header(header, wire::MAX_ANSWER)?;
    let mut payload = vec![0; length];
    fill(&mut stream, &mut payload, until)?;
    Ok(Frame { kind, payload })
}

fn fill(stream: &mut UnixStream, mut buffer: &mut [u8], until: Instant) -> Result<(), Silence> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(buffer) {
            Ok(0) => return Err(Silence::Gone),
            Ok(n) => buffer = &mut buffer[n..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn left(until: Instant) -> Result<Duration, Silence> {
    until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(Silence::Late)
}

fn time(duration: Duration) -> TimeVal {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    // No time at all would mean for ever.
    TimeVal::new(seconds, i64::from(duration.subsec_micros()).max(1))
}
