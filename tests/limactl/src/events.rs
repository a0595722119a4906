//! What the host agent reports on its standard output, `ha.stdout.log`, and how commands follow its logs.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::log;

/// How often a follower looks.
pub(crate) const PERIOD: Duration = Duration::from_millis(5);

/// How an instance does.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) running: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) degraded: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) exiting: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<String>,
    #[serde(skip_serializing_if = "is_zero", rename = "sshLocalPort")]
    pub(crate) ssh_port: u16,
}

fn is_zero(port: &u16) -> bool {
    *port == 0
}

#[derive(Debug, Serialize, Deserialize)]
struct Event {
    time: String,
    status: Status,
}

/// Reports.
pub(crate) fn emit(status: &Status) {
    let event = Event { time: log::now(), status: status.clone() };
    if let Ok(line) = serde_json::to_string(&event) {
        let _unheard = writeln!(std::io::stdout(), "{line}");
    }
}

/// Follows a log from its beginning, or from here.
pub(crate) struct Follower {
    log: File,
    text: String,
}

impl Follower {
    /// From the first line.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        File::open(path).map(|log| Self { log, text: String::new() })
    }

    /// From what is written from now on.
    pub(crate) fn open_end(path: &Path) -> std::io::Result<Self> {
        let mut follower = Self::open(path)?;
        follower.log.read_to_string(&mut String::new())?;
        Ok(follower)
    }

    /// What was reported since; nothing more will come where the file was removed.
    pub(crate) fn statuses(&mut self) -> Option<Vec<Status>> {
        let status = |line: &String| serde_json::from_str::<Event>(line).ok().map(|event| event.status);
        Some(self.lines()?.iter().filter_map(status).collect())
    }

    /// The whole lines that came since.
    pub(crate) fn lines(&mut self) -> Option<Vec<String>> {
        let mut bytes = Vec::new();
        let _unreadable = self.log.read_to_end(&mut bytes);
        self.text.push_str(&String::from_utf8_lossy(&bytes));
        let mut lines = Vec::new();
        while let Some(end) = self.text.find('\n') {
            lines.push(self.text.drain(..=end).collect());
        }
        let gone = self.log.metadata().is_ok_and(|log| log.nlink() == 0);
        if gone && lines.is_empty() { None } else { Some(lines) }
    }
}
