//! Several tmux commands in one process: each argument its own word, no shell, nothing of our environment.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::multiplexer::MultiplexerError;
use crate::text;
use crate::tool;

/// tmux answers in milliseconds, or its server hangs.
const DEADLINE: Duration = Duration::from_secs(4);

/// tmux commands that run one after the other; the first that fails is the last.
pub(super) struct Batch<'a> {
    socket: &'a Path,
    words: Vec<String>,
}

impl<'a> Batch<'a> {
    /// No commands yet.
    pub(super) fn new(socket: &'a Path) -> Self {
        Self { socket, words: Vec::new() }
    }

    /// One more command.
    pub(super) fn add<const N: usize>(mut self, command: [&str; N]) -> Self {
        if !self.words.is_empty() {
            self.words.push(";".into());
        }
        // Without its '--', what follows could be an option.
        let kept = |word: &&str| *word != "--" || !crate::mutant::off("p4_options");
        self.words.extend(command.into_iter().filter(kept).map(escape));
        self
    }

    /// Runs them and gives what they printed.
    pub(super) fn run(self) -> Result<String, MultiplexerError> {
        let mut command = Command::new("tmux");
        // -u: glyphs in options come back whole, whatever the locale.
        command.env_clear().current_dir("/").args(["-u", "-S"]).arg(self.socket).args(&self.words);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        let output = tool::run(&mut command, b"", DEADLINE)?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let message = text::short(&output.stderr_text(), 200);
            Err(MultiplexerError::Refused { program: "tmux", message })
        }
    }
}

/// tmux takes a ';' at the end of an argument for the end of the command.
fn escape(word: &str) -> String {
    match word.strip_suffix(';') {
        Some(start) => format!("{start}\\;"),
        None => word.to_owned(),
    }
}
