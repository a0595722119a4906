//! The connection to the supervisor: frames in and out, and the lifeline that its end is.
//!
//! Reading never waits. Writing waits a moment for a supervisor that does not read, then counts it as gone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::read;
use workmux_guest::control::{FromGuest, ToGuest};

use super::place::{Patience, Place};
use super::signals::Signals;

/// The supervisor listens before it starts a sandbox; this is for engines that mount a directory late.
const CONNECT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(20);
const WRITE: Duration = Duration::from_secs(5);

/// The conversation is over, and with it this process.
#[derive(Debug)]
pub(super) struct Cut;

pub(super) struct Link {
    /// A stream socket of either kind; it does not block.
    stream: OwnedFd,
    received: Vec<u8>,
}

impl Link {
    /// Connects, trying again until the deadline or a signal that means to end this process.
    pub(super) fn connect(place: &Place, signals: &Signals) -> io::Result<Self> {
        let patience = Patience::new(CONNECT, signals);
        loop {
            match place.connect(&patience) {
                Ok(stream) => return Ok(Self { stream, received: Vec::new() }),
                Err(e) if e.kind() == io::ErrorKind::Interrupted || patience.is_over() => return Err(e),
                Err(_) => patience.pause(RETRY)?,
            }
        }
    }

    /// Sends one frame.
    pub(super) fn send(&mut self, message: &FromGuest) -> Result<(), Cut> {
        let frame = message.encode();
        let mut rest = frame.as_slice();
        let deadline = Instant::now() + WRITE;
        while !rest.is_empty() {
            match send(self.stream.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(n) => rest = &rest[n..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait_to_write(deadline)?,
                Err(_) => return Err(Cut),
            }
        }
        Ok(())
    }

    fn wait_to_write(&self, deadline: Instant) -> Result<(), Cut> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, super::poll_timeout(Some(left))) {
            Ok(0) => Err(Cut),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(_) => Err(Cut),
        }
    }

    /// The next frame that is already here. A frame that cannot be read is the end.
    pub(super) fn receive(&mut self) -> Result<Option<ToGuest>, Cut> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(message) = ToGuest::take_from(&mut self.received).map_err(|_| Cut)? {
                return Ok(Some(message));
            }
            match read(&self.stream, &mut chunk) {
                Ok(0) => return Err(Cut),
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(_) => return Err(Cut),
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
