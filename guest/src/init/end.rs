//! The ways a conversation ends, and what each says to the supervisor and to whoever waits for this process.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use workmux_guest::control::FromGuest;

use super::command::Failure;
use super::link::Cut;

/// How it ends.
pub(super) enum End {
    /// The supervisor is gone.
    Lifeline,
    /// The command could not be started.
    Failed(Failure),
    /// The command ended.
    Command(ExitStatus),
    /// A signal ended the wait before there was a command.
    Signal(i32),
}

impl From<Cut> for End {
    fn from(Cut: Cut) -> Self {
        Self::Lifeline
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl End {
    /// The exit code of this process.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Lifeline => 128 + libc::SIGKILL as u8,
            Self::Failed(failure) => failure.code,
            Self::Command(status) => status.code().map_or_else(|| signal_code(status.signal()), |code| code as u8),
            Self::Signal(signal) => signal_code(Some(*signal)),
        }
    }

    /// What the supervisor is told.
    pub(super) fn message(&self) -> Option<FromGuest> {
        match self {
            Self::Lifeline => None,
            Self::Failed(failure) => Some(FromGuest::Failed { code: failure.code, reason: failure.reason.clone() }),
            Self::Command(status) => Some(match status.signal() {
                Some(signal) if !crate::mutant::off("p61_status") => FromGuest::Signaled { signal },
                _ => FromGuest::Exited { code: self.code() },
            }),
            Self::Signal(signal) => Some(FromGuest::Signaled { signal: *signal }),
        }
    }
}

fn signal_code(signal: Option<i32>) -> u8 {
    u8::try_from(128 + signal.unwrap_or(0)).unwrap_or(u8::MAX)
}
