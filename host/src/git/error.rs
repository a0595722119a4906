//! Why git work was not done: what failed, why, and what to type next.

use std::io;
use std::path::{Path, PathBuf};

use crate::tool::ToolError;

/// Why host git, or the boundary around it, gave up.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The directory belongs to no checkout.
    #[error("'{}' is not inside a git work tree; go to a checkout, or run 'git init' there first", .0.display())]
    NotAWorktree(PathBuf),
    /// The repository is of a shape we do not touch.
    #[error("{what}; {fix}")]
    Refused {
        /// What is wrong with it.
        what: String,
        /// What the user can do.
        fix: String,
    },
    /// The repository is not the one the run was started in (P18).
    #[error("'{}' was replaced while a sandbox was using it; host git was not run. End the run, look at that path, then start again", .0.display())]
    Changed(PathBuf),
    /// A file could not be read or written.
    #[error("could not {what} '{}': {source}", .path.display())]
    Io {
        /// The verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Git itself said no.
    #[error("'git {verb}' failed: {detail}")]
    Failed {
        /// The git command.
        verb: String,
        /// What it printed, cleaned.
        detail: String,
    },
    /// Git could not be run to its end.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Somebody else holds a lock for too long.
    #[error("'{}' is held by another process; try again when it has finished", .0.display())]
    Busy(PathBuf),
}

impl GitError {
    /// For `map_err`: a file operation that failed.
    pub(super) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// The same failure of git, to be reported for one of several things it was asked to do.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Failed { verb, detail } => Self::Failed { verb: verb.clone(), detail: detail.clone() },
            other => Self::Failed { verb: String::new(), detail: other.to_string() },
        }
    }

    pub(super) fn refused(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), fix: fix.into() }
    }
}

/// Text from a guest, a repository or git itself, made fit for one line of a terminal.
pub(super) fn clean(text: &str) -> String {
    let shown = text.chars().map(|c| if hidden(c) { ' ' } else { c }).take(400).collect::<String>();
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_that_moves_the_cursor_or_turns_the_text_survives() {
        assert_eq!(super::clean("a\x1b[2J\n b\u{202e}c\u{2066}"), "a [2J b c");
    }
}
