//! How a command ended, whose status that is, and the exit code it becomes.

use color_eyre::eyre::{Report, Result};
use workmux_plugin_api::{Ended, Origin, Plan};

use crate::error::hinted;
use crate::plugins::CallError;

/// How the guest's command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal, or the supervisor was ended by it.
    Signaled(i32),
    /// It could not be started: 127 not found, 126 not executable.
    NotStarted {
        /// The exit code.
        code: u8,
        /// Why; cleaned.
        reason: String,
    },
}

/// The backend's program (or session) ended before the guest's first process had reported.
#[derive(Debug)]
pub struct Unstarted {
    pub(super) backend: String,
    /// How it ended, in words.
    pub(super) how: String,
    /// Its exit code, where it ended by itself.
    pub code: Option<i32>,
    /// What it said, where that was kept back.
    pub said: String,
}

impl std::fmt::Display for Unstarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "backend '{}' ended before its sandbox was there ({})", self.backend, self.how)
    }
}

impl std::error::Error for Unstarted {}

impl Status {
    /// The exit code of `agent`, `shell` and `run`.
    pub fn code(&self) -> u8 {
        match self {
            Self::Exited(code) | Self::NotStarted { code, .. } => *code,
            Self::Signaled(signal) => 128u8.saturating_add(u8::try_from(*signal).unwrap_or(127)),
        }
    }
}

impl From<std::process::ExitStatus> for Status {
    /// Of a program that is the command itself.
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, signal) => Self::Signaled(signal.unwrap_or_default()),
        }
    }
}

/// How the backend's program (or session) ended.
#[derive(Debug)]
pub(super) enum ProgramEnd {
    Process(std::process::ExitStatus),
    Session(Result<Ended, CallError>),
    Lost(std::io::Error),
}

impl ProgramEnd {
    /// What that was where the guest's first process should have reported before and did not.
    pub(super) fn unstarted(&self, backend: &str, said: &str) -> Option<Unstarted> {
        let code = match self {
            Self::Process(status) => status.code(),
            Self::Session(Ok(ended)) => ended.code.map(i32::from),
            // Both say what it was.
            Self::Session(Err(_)) | Self::Lost(_) => return None,
        };
        Some(Unstarted { backend: backend.to_owned(), how: self.to_string(), code, said: said.to_owned() })
    }

    /// What the end means where no first process spoke. `direct`: none was expected, the program runs the command
    /// itself; otherwise it failed, or the guest ended its own first process.
    pub(super) fn verdict(self, backend: &str, sandbox: &str, plan: Option<&Plan>, direct: bool) -> Result<Status> {
        use std::os::unix::process::ExitStatusExt as _;
        match self {
            Self::Process(status) if direct || crate::mutant::off("p61_status") => {
                match (status.code(), status.signal()) {
                    (Some(code), _) => {
                        let code = u8::try_from(code).unwrap_or(u8::MAX);
                        if plan.and_then(|p| p.failure_codes_from).is_some_and(|from| code >= from) {
                            return Err(Report::msg(format!(
                                "backend '{backend}' failed to run the command (code {code})"
                            )));
                        }
                        Ok(Status::Exited(code))
                    }
                    (None, Some(signal)) => Ok(Status::Signaled(signal)),
                    (None, None) => Err(Report::msg("the command ended without a status")),
                }
            }
            Self::Session(Ok(ended)) if direct => match (ended.origin, ended.code, ended.signal) {
                (Origin::Guest, Some(code), None) => Ok(Status::Exited(code)),
                (Origin::Guest, None, Some(signal)) if (1..=64).contains(&signal) => Ok(Status::Signaled(signal)),
                (Origin::Backend, _, _) => Err(Report::msg(format!("backend '{backend}' failed to run the command"))),
                _ => Err(Report::msg(format!("backend '{backend}' answered with an impossible status"))),
            },
            Self::Process(_) | Self::Session(Ok(_)) => Err(hinted(
                format!(
                    "the sandbox '{sandbox}' was ended from outside before its command was over (backend '{backend}', {self})"
                ),
                "somebody stopped or removed it, or the machine ran out of memory",
            )),
            Self::Session(Err(ref e)) => Err(crate::error::from_backend(e)),
            Self::Lost(e) => Err(Report::new(e).wrap_err(format!("lost the program of backend '{backend}'"))),
        }
    }
}

impl std::fmt::Display for ProgramEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(status) => write!(f, "{status}"),
            Self::Session(Ok(Ended { code: Some(code), .. })) => write!(f, "exit status: {code}"),
            Self::Session(Ok(Ended { signal: Some(signal), .. })) => write!(f, "signal: {signal}"),
            Self::Session(_) | Self::Lost(_) => f.write_str("no exit status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn p61_codes_and_signals_are_two_things() {
        for code in [0, 1, 2, 42, 125, 126, 127, 130, 137, 255] {
            assert_eq!(Status::Exited(code).code(), code);
        }
        assert_eq!(Status::Signaled(9).code(), 137);
        assert_eq!(Status::Signaled(2).code(), 130);
        // Where the guest's first process did not speak, its program's status is not the command's.
        for status in [0, 1 << 8, 137 << 8, 9].map(std::process::ExitStatus::from_raw) {
            assert!(ProgramEnd::Process(status).verdict("acme", "s", None, false).is_err(), "{status}");
        }
        let impossible = Ended { origin: Origin::Guest, code: Some(1), signal: Some(9) };
        assert!(ProgramEnd::Session(Ok(impossible)).verdict("acme", "s", None, true).is_err());
        let plausible = Ended { origin: Origin::Guest, code: Some(0), signal: None };
        assert!(ProgramEnd::Session(Ok(plausible)).verdict("acme", "s", None, false).is_err());
        let huge = Ended { origin: Origin::Guest, code: None, signal: Some(1 << 20) };
        assert!(ProgramEnd::Session(Ok(huge)).verdict("acme", "s", None, true).is_err());
    }
}
