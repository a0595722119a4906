//! The log: one file, appended to by every supervisor, rotated at a bound. No prompts, no secrets, no guest words.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// At this size the file becomes the one old file that is kept.
const MAX: u64 = 1024 * 1024;

/// Where lines of one run go.
#[derive(Debug, Clone)]
pub(super) struct Log {
    file: PathBuf,
    run: String,
}

impl Log {
    /// The log below this state directory, for this run.
    pub(super) fn new(state: &Path, run: &str) -> Self {
        Self { file: state.join("workmux.log"), run: run.chars().take(8).collect() }
    }

    /// Adds a line. A log that cannot be written is no reason to end a run.
    pub(super) fn line(&self, text: &str) {
        if fs::metadata(&self.file).is_ok_and(|m| m.len() > MAX) {
            let _next_time = fs::rename(&self.file, self.file.with_extension("log.old"));
        }
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let line = format!("{seconds} {} {}\n", self.run, crate::text::line(text));
        if let Ok(mut file) = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file) {
            let _full = file.write_all(line.as_bytes());
        }
    }
}
