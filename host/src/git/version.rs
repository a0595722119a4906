//! Which git there is, and the oldest one that host git works with.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::command::{program, search_path};
use super::error::{GitError, clean};
use crate::tool;

/// The first that obeys `GIT_CONFIG_GLOBAL`: an older one would read the user's configuration where none may count, and
/// say nothing.
pub const OLDEST: (u32, u32) = (2, 32);

/// A git program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Where it is.
    pub program: PathBuf,
    /// As it calls itself, cleaned: `2.39.5`.
    pub text: String,
    /// Whether host git works with it.
    pub is_enough: bool,
}

/// The git of the user's `PATH`.
///
/// # Errors
/// There is none, or it does not say.
pub fn version(deadline: Duration) -> Result<Version, GitError> {
    let program = program()?;
    let mut command = Command::new(&program);
    command.arg("--version").env_clear().env("PATH", search_path()).env("LC_ALL", "C").current_dir("/");
    let output = tool::run(&mut command, b"", deadline)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(text) = said.strip_prefix("git version ").and_then(|rest| rest.split_whitespace().next()) else {
        let detail = if said.trim().is_empty() { output.stderr_text() } else { said.into_owned() };
        return Err(GitError::Failed { verb: "--version".into(), detail: clean(&detail) });
    };
    Ok(Version { program, is_enough: numbers(text) >= OLDEST, text: clean(text) })
}

fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (text, enough) in
            [("2.39.5", true), ("2.100", true), ("3.0.rc1", true), ("2.32.0", true), ("2.9.9", false), ("x", false)]
        {
            assert_eq!(numbers(text) >= OLDEST, enough, "{text}");
        }
    }

    #[test]
    fn the_git_of_this_machine_is_enough() {
        assert!(version(Duration::from_secs(30)).unwrap().is_enough);
    }
}
