//! Errors that cross the boundary whole: a kind for programs, a message for people, and the next thing to do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What every fallible verb returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a backend could not do something.
///
/// Write `message` as a lower-case fragment without a full stop, names in single quotes, and put the next thing to
/// type into `hint`: the host prints it on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What sort of failure.
    pub kind: ErrorKind,
    /// What failed.
    pub message: String,
    /// Why, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What the host can do about it by itself, once, before it tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

/// What would cure a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Remedy {
    /// [`Images::pull`](crate::Images::pull): the published image is not there yet.
    Pull,
    /// The user's own word: the backend cannot keep a part of the boundary, and message, causes and hint say what that
    /// means. The host asks at the terminal and repeats the call with
    /// [`PrepareRequest::consented`](crate::PrepareRequest::consented).
    Consent,
    /// One of a newer protocol; ignored.
    #[serde(other)]
    Unknown,
}

/// Sorts of failure a host or script can react to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A program the backend needs is not installed.
    MissingTool,
    /// A program the backend needs is too old.
    TooOld,
    /// A program is there but failed, or the service behind it is down.
    ToolFailed,
    /// The instance, image or path does not exist.
    NotFound,
    /// The name is taken, or somebody else is changing the same thing.
    Conflict,
    /// The demanded policy cannot be met, or the backend refuses for safety.
    Refused,
    /// The backend does not have this operation.
    Unsupported,
    /// Memory, processes, disk or a quota ran out.
    LimitHit,
    /// A key of the backend's own table has a wrong value.
    InvalidSettings,
    /// A deadline passed.
    Timeout,
    /// The call was cancelled by its caller.
    Cancelled,
    /// The backend panicked. Made by the adapter, never by hand.
    Panicked,
    /// Anything else; also what an unknown kind from a newer backend becomes.
    #[serde(other)]
    Internal,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None, remedy: None }
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// [`ErrorKind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Adds the next thing to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what would cure it.
    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Adds a cause below the ones there are.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Self::internal("input or output failed").cause(e.to_string())
    }
}
