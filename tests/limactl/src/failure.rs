//! How a command ends badly: an exit code and what is said about it, in the words that Go has for the system's errors.

use std::io;
use std::path::Path;

/// What every fallible step returns.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// A command that ends badly.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: i32,
    /// What is logged; nothing where it was said already.
    pub(crate) message: String,
    /// The instance is not there, which some commands forgive.
    pub(crate) missing: bool,
}

impl Failure {
    /// The usual one.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), missing: false }
    }

    /// Ends with a code and says nothing.
    pub(crate) fn silent(code: i32) -> Self {
        Self { code, message: String::new(), missing: false }
    }

    /// A file that the system refused: `what` is the system call.
    pub(crate) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        let missing = error.kind() == io::ErrorKind::NotFound;
        Self { code: 1, message: format!("{what} {}: {}", path.display(), words(error)), missing }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

/// The system's error as Go words it.
pub(crate) fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    }
}
