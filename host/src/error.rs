//! Failures as the user sees them: what failed, why, what to type next, and the exit code.
//!
//! Code that fails returns an eyre report; a [`Hint`] in its chain is the line with the next thing to do. The mapping
//! from a failure to an exit code happens in one place, [`Failure::code`].

use std::fmt;

use color_eyre::eyre::Report;

use crate::supervisor::Interrupted;

/// Exit code of every error of ours, except around a guest's command.
pub const ERROR: u8 = 1;
/// Exit code of a wrong command line.
pub const USAGE: u8 = 2;
/// Exit code of our own errors in `agent`, `shell` and `run`, where every smaller one may be the guest's.
pub const SESSION_ERROR: u8 = 125;

/// A failure and the code to exit with.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub report: Report,
    /// The process's exit code.
    pub code: u8,
}

impl Failure {
    /// A failure before or around a guest's command.
    pub fn session(report: Report) -> Self {
        Self { report, code: SESSION_ERROR }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        let signal = report.chain().find_map(|cause| cause.downcast_ref::<Interrupted>());
        let code = signal.map_or(ERROR, |Interrupted(signal)| 128u8.saturating_add(*signal as u8));
        Self { report, code }
    }
}

/// A message with the next thing to do; the hint is printed on a line of its own below the causes.
#[derive(Debug)]
pub struct Hint {
    message: String,
    hint: String,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hint {}

/// An error with its next step.
pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> Report {
    Report::new(Hint { message: message.into(), hint: hint.into() })
}

/// A backend's failure as a report: which step failed, why, and the backend's hint. The text is clean already.
pub fn from_backend(failure: &crate::plugins::CallError) -> Report {
    failed(&format!("backend '{}' could not {}", failure.backend, step(failure.verb)), &failure.error)
}

/// What a backend found wrong with the machine, as a cause.
pub fn because(subject: &str, error: &workmux_plugin_api::Error) -> Report {
    Report::new(Chain::new(format!("{subject}: {}", error.message), error.causes.clone(), error.hint.clone()))
}

/// A backend's failure under a first line of ours.
pub fn failed(message: &str, error: &workmux_plugin_api::Error) -> Report {
    let causes = std::iter::once(&error.message).chain(&error.causes).cloned().collect();
    Report::new(Chain::new(message.to_owned(), causes, error.hint.clone()))
}

/// What a backend says its program's failure meant.
pub fn explained(backend: &str, error: &workmux_plugin_api::Error) -> Report {
    failed(&format!("backend '{backend}' could not start the sandbox"), error)
}

/// What a verb does, in words that continue "could not".
fn step(verb: &str) -> &str {
    match verb {
        "settings" => "read its settings",
        "rpc_route" => "say how its guests reach the host",
        "prepare" => "prepare the sandbox",
        "exec" | "attach" => "say how to run the command",
        "session" => "run the command",
        "verify" => "confirm what it started",
        "release" => "clean up",
        "list" => "list what it has",
        "check" => "check itself",
        "image" => "say which image it uses",
        "pull" => "pull the image",
        "build" => "build the image",
        "recipe" => "say how the image is built",
        "freshness" => "tell how fresh the image is",
        "install" => "install the program",
        other => other,
    }
}

/// A ready-made chain of causes.
#[derive(Debug)]
struct Chain {
    message: String,
    hint: Option<String>,
    cause: Option<Box<Chain>>,
}

impl Chain {
    fn new(message: String, causes: Vec<String>, hint: Option<String>) -> Self {
        let cause = causes
            .into_iter()
            .rev()
            .fold(None, |below, message| Some(Box::new(Self { message, hint: None, cause: below })));
        Self { message, hint, cause }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Chain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|c| c as _)
    }
}

/// What a failure consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// What failed.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Takes a failure apart.
pub fn parts(report: &Report) -> Parts {
    let hint = |e: &(dyn std::error::Error + 'static)| {
        let chain = || e.downcast_ref::<Chain>()?.hint.clone();
        e.downcast_ref::<Hint>().map(|h| h.hint.clone()).or_else(chain)
    };
    Parts {
        message: report.to_string(),
        causes: report.chain().skip(1).map(ToString::to_string).collect(),
        hint: report.chain().find_map(hint),
    }
}

/// The failure as text for standard error.
pub fn render(report: &Report) -> String {
    let Parts { message, causes, hint } = parts(report);
    let mut text = format!("Error: {message}\n");
    if !causes.is_empty() {
        text.push_str("Caused by:\n");
        for cause in causes {
            text.push_str(&format!("    {}\n", cause.trim_end().replace('\n', "\n    ")));
        }
    }
    if let Some(hint) = hint {
        text.push_str(&format!("Hint: {hint}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use color_eyre::eyre::WrapErr as _;

    #[test]
    fn an_error_says_what_why_and_what_next() {
        let report =
            Err::<(), _>(hinted("the door is locked", "turn the key")).wrap_err("could not go in").unwrap_err();
        assert_eq!(render(&report), "Error: could not go in\nCaused by:\n    the door is locked\nHint: turn the key\n");
        let error = workmux_plugin_api::Error::refused("no").cause("because").hint("ask");
        let text = render(&from_backend(&crate::plugins::CallError { backend: "acme".into(), verb: "prepare", error }));
        assert_eq!(
            text,
            "Error: backend 'acme' could not prepare the sandbox\nCaused by:\n    no\n    because\nHint: ask\n"
        );
    }
}
