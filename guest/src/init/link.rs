//! The connection to the supervisor: frames in and out, and the lifeline that its end is.
//!
//! Reading never waits. Writing waits a moment for a supervisor that does not read, then counts it as gone.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use workmux_guest::control::{FromGuest, ToGuest};

use super::signals::{Arrival, Signals};
use crate::unix_socket::connect_now;

/// The supervisor listens before it starts a sandbox; this is for engines that mount a directory late.
const CONNECT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(20);
const WRITE: Duration = Duration::from_secs(5);

/// The conversation is over, and with it this process.
#[derive(Debug)]
pub(super) struct Cut;

pub(super) struct Link {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Link {
    /// Connects, trying again until the deadline or a signal that means to end this process.
    pub(super) fn connect(socket: &Path, signals: &Signals) -> io::Result<Self> {
        let deadline = Instant::now() + CONNECT;
        loop {
            match connect_now(socket) {
                Ok(stream) => return Ok(Self { stream, received: Vec::new() }),
                Err(e) if Instant::now() >= deadline => return Err(e),
                Err(_) => {
                    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut fds, super::poll_timeout(Some(RETRY)));
                    if let Some(Arrival::Forward(signal)) = signals.next() {
                        return Err(io::Error::other(format!("signal {signal} came first")));
                    }
                }
            }
        }
    }

    /// Sends one frame.
    pub(super) fn send(&mut self, message: &FromGuest) -> Result<(), Cut> {
        let frame = message.encode();
        let mut rest = frame.as_slice();
        let deadline = Instant::now() + WRITE;
        while !rest.is_empty() {
            match (&self.stream).write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait_to_write(deadline)?,
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
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Cut),
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
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
