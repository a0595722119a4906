//! Who did what: one line for every worktree that a guest had made, merged, closed or was refused (P41).
//!
//! `<state>/journal.jsonl`, appended to by every supervisor, rotated at a bound. Names are cleaned; prompts are not kept.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::now;
use crate::text;

/// At this size the file becomes the one old file that is kept.
const MAX: u64 = 4 * 1024 * 1024;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Seconds since 1970.
    pub at: u64,
    /// The run that asked.
    pub run: String,
    /// The record it works for, if it has one.
    pub record: Option<String>,
    /// What it asked for.
    pub request: String,
    /// About whom.
    pub name: String,
    /// What came of it: `ok`, or why not.
    pub result: String,
    /// The record that was made.
    pub made: Option<String>,
}

/// The journal.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    file: PathBuf,
}

impl Journal {
    /// The one below this state directory.
    pub(crate) fn new(state: &Path) -> Self {
        Self { file: state.join("journal.jsonl") }
    }

    /// Adds a line. A full disk is no reason to fail what was done.
    pub(crate) fn add(&self, mut line: Line) {
        line.at = now();
        (line.name, line.result) = (text::short(&line.name, 100), text::short(&line.result, 300));
        if fs::metadata(&self.file).is_ok_and(|m| m.len() > MAX) {
            let _next_time = fs::rename(&self.file, self.file.with_extension("jsonl.old"));
        }
        let Ok(mut text) = serde_json::to_vec(&line) else { return };
        text.push(b'\n');
        if let Ok(mut file) = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file) {
            let _full = file.write_all(&text);
        }
    }
}
