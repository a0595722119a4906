//! A branch for a prompt: by the user's generator, else after its words.
//!
//! The generator is the user's own command (a project cannot set it). It reads the prompt on standard input, in an empty
//! directory, with a cleared environment and a deadline; what it says is checked like any other name (P37).

use std::process::Command;
use std::time::Duration;

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::names;
use crate::config::Config;
use crate::error::hinted;
use crate::surroundings::Surroundings;
use crate::{text, tool};

/// A model is asked perhaps.
const DEADLINE: Duration = Duration::from_secs(60);

/// Finds a name.
pub(crate) fn branch(prompt: &str, config: &Config, surroundings: &Surroundings) -> Result<String> {
    match config.auto_name.command.as_deref().filter(|command| !command.trim().is_empty()) {
        Some(command) => generated(command, prompt, surroundings).wrap_err("the branch could not be named"),
        None => names::after_prompt(prompt).ok_or_else(|| {
            hinted("the prompt has no word to name a branch after", "give the branch: workmux add BRANCH")
        }),
    }
}

fn generated(command: &str, prompt: &str, surroundings: &Surroundings) -> Result<String> {
    let directory = tempfile::tempdir().wrap_err("cannot make a directory for the generator")?;
    let mut generator = Command::new("sh");
    generator.arg("-c").arg(command).current_dir(directory.path()).env_clear();
    generator.env("PATH", surroundings.path_variable()).env("HOME", &surroundings.home).env("TMPDIR", directory.path());
    let output =
        tool::run(&mut generator, prompt.as_bytes(), DEADLINE).wrap_err("'auto_name.command' did not answer")?;
    if !output.status.success() {
        let said = text::short(&output.stderr_text(), 200);
        return Err(Report::msg(said).wrap_err(format!("'auto_name.command' failed: {}", output.status)));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let name = said.trim();
    match names::wrong_with_guests(name, &[]) {
        None => Ok(name.to_owned()),
        Some(why) => Err(Report::msg(format!("'auto_name.command' said '{}': {why}", text::short(name, 80)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::AutoName;

    fn named(command: &str, prompt: &str) -> Result<String> {
        let config = Config {
            auto_name: AutoName { command: Some(command.to_owned()), ..AutoName::default() },
            ..Config::default()
        };
        branch(prompt, &config, &Surroundings::read().unwrap())
    }

    #[test]
    fn p37_the_generator_gets_the_prompt_and_its_answer_is_checked() {
        assert_eq!(named("cat", "fix-it").unwrap(), "fix-it");
        assert_eq!(named("pwd | grep -q workmux && exit 1; ls -A | wc -l", "x").unwrap(), "0");
        assert_eq!(named("env | grep -c '^CARGO' || true", "x").unwrap(), "0");
        for hostile in ["echo -- -D", "echo 'a b'", "echo '$(touch x)'", "true", "echo one; echo two", "exit 3"] {
            assert!(named(hostile, "x").is_err(), "{hostile}");
        }
        assert_eq!(named(" ", "Fix the login").unwrap(), "fix-login");
    }
}
