//! What reading configuration has to say: problems, refusals and warnings, each with file and line.
//!
//! These are values; the caller decides where they are printed. A problem stops only a command that needs its key, a
//! refusal and a warning never stop one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::text;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// Counted from 1; 0 = the file as a whole.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", text::quote(self.file.as_os_str()))?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        Ok(())
    }
}

/// A key whose value cannot be used: an error for a command that needs it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}{}", subject(.key), text::line(.message))]
pub struct Problem {
    /// Its path, or nothing when the whole file is meant.
    pub key: String,
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
}

fn subject(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("'{}': ", text::line(key)) }
}

/// A key of the project that was not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its path.
    pub key: String,
    /// Where the project says it.
    pub place: Place,
    /// Why not.
    pub reason: String,
    /// The user's own file, where it could be set.
    pub set_in: PathBuf,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (key, reason) = (text::line(&self.key), text::line(&self.reason));
        let own = text::quote(self.set_in.as_os_str());
        write!(f, "{}: '{key}' is not used: {reason}; to set it yourself, use {own}", self.place)
    }
}

/// Something that looks like a mistake and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.place, text::line(&self.message))
    }
}

/// Configuration that cannot be used for what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Keys that the command needs have problems.
    #[error("the configuration has {} to correct\n{}", count(.0.len()), lines(.0))]
    Problems(Vec<Problem>),
    /// A file that was asked for by name cannot be read.
    #[error("could not read the configuration {}", text::quote(.path.as_os_str()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two sources that exclude each other.
    #[error("a run's frozen configuration cannot be combined with '--config'")]
    FrozenAndFile,
    /// A frozen configuration that is not one of ours.
    #[error("{} is not a frozen configuration of this version of workmux: {why}", text::quote(.path.as_os_str()))]
    NotFrozen {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Our own checks let something through.
    #[error("the configuration does not fit together: {0}")]
    Inconsistent(String),
}

fn count(problems: usize) -> String {
    if problems == 1 { "1 mistake".to_owned() } else { format!("{problems} mistakes") }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

/// The name among `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Anything longer is no slip of the fingers, and comparing it costs its length squared.
    let word = (word.len() <= 64).then_some(word)?;
    let close = |name: &&str| strsim::damerau_levenshtein(word, name) <= 1 + name.len() / 4;
    known.into_iter().filter(close).min_by_key(|name| strsim::damerau_levenshtein(word, name))
}
