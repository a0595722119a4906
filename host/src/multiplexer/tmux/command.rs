//! Several tmux commands in one process: each argument its own word, no shell, nothing of our environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
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
    words: Vec<OsString>,
    input: Vec<u8>,
    within: Option<String>,
}

impl<'a> Batch<'a> {
    /// No commands yet.
    pub(super) fn new(socket: &'a Path) -> Self {
        Self { socket, words: Vec::new(), input: Vec::new(), within: None }
    }

    /// One more command.
    pub(super) fn add<const N: usize>(self, command: [&str; N]) -> Self {
        self.words(command)
    }

    /// One more command, of words that need not be text.
    pub(super) fn words<W: AsRef<OsStr>>(mut self, command: impl IntoIterator<Item = W>) -> Self {
        if !self.words.is_empty() {
            self.words.push(";".into());
        }
        // Without its '--', what follows could be an option.
        let kept = |word: &W| word.as_ref() != "--" || !crate::mutant::off("p4_options");
        self.words.extend(command.into_iter().filter(kept).map(|word| escape(word.as_ref())));
        self
    }

    /// As if they were typed in this pane.
    pub(super) fn within(mut self, pane: &str) -> Self {
        self.within = Some(pane.to_owned());
        self
    }

    /// What the commands read on their standard input.
    pub(super) fn input(mut self, input: &[u8]) -> Self {
        self.input = input.to_vec();
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
        if let Some(pane) = &self.within {
            command.env("TMUX_PANE", pane);
        }
        let output = tool::run(&mut command, &self.input, DEADLINE)?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let message = text::short(&output.stderr_text(), 200);
            Err(MultiplexerError::Refused { program: "tmux", message })
        }
    }
}

/// tmux takes a ';' at the end of an argument for the end of the command.
fn escape(word: &OsStr) -> OsString {
    let bytes = word.as_bytes();
    match bytes.strip_suffix(b";") {
        Some(start) => OsString::from_vec([start, b"\\;"].concat()),
        None => word.to_owned(),
    }
}
