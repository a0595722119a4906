//! Signals as something to poll: all are blocked, those that matter arrive on a descriptor.
//!
//! Blocking them all also means that taking the terminal's foreground group never stops us (`SIGTTOU`).

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that are passed on to the command.
const FORWARDED: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A child ended or stopped.
    Child,
    /// Somebody sent this process a signal that is meant for the command.
    Forward(i32),
}

pub(super) struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal of this process, gives all of them their default action, and opens the descriptor.
    pub(super) fn take_over() -> nix::Result<Self> {
        SigSet::all().thread_set_mask()?;
        crate::sys::default_signal_actions();
        let mut awaited = SigSet::from_iter(FORWARDED);
        awaited.add(Signal::SIGCHLD);
        Ok(Self(SignalFd::with_flags(&awaited, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next signal that is already here.
    pub(super) fn next(&self) -> Option<Arrival> {
        let number = self.0.read_signal().ok().flatten()?.ssi_signo as i32;
        Some(if number == libc::SIGCHLD { Arrival::Child } else { Arrival::Forward(number) })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives a forked child the signals a program expects to start with: none blocked, all at their default.
pub(super) fn hand_back() -> nix::Result<()> {
    crate::sys::default_signal_actions();
    SigSet::empty().thread_set_mask()
}
