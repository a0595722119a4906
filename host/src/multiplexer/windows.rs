//! What a window for a worktree is made of, in words that fit every multiplexer.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::types::{Placement, Split};

/// A program for a pane: its words reach it exactly, no shell in between. `None` = the multiplexer's own shell.
pub type Command = Option<Vec<OsString>>;

/// Where a window goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// Beside the window of this pane, or last in its session.
    Beside {
        /// The pane.
        pane: String,
        /// Which of both.
        placement: Placement,
    },
    /// A session of its own.
    Session,
    /// Last in the session with this name.
    In(String),
}

/// A window to open.
#[derive(Debug, Clone)]
pub struct NewWindow {
    /// What it is called.
    pub name: String,
    /// What it is found by.
    pub token: String,
    /// Where it goes.
    pub place: Where,
    /// Where its first pane starts.
    pub cwd: PathBuf,
    /// Variables for all its panes.
    pub env: Vec<(OsString, OsString)>,
    /// What runs in its first pane.
    pub command: Command,
}

/// A pane to divide another with.
#[derive(Debug, Clone)]
pub struct NewPane {
    /// Side by side, or one above the other.
    pub split: Split,
    /// In cells.
    pub size: Option<u16>,
    /// Of the divided pane.
    pub percentage: Option<u8>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// Variables.
    pub env: Vec<(OsString, OsString)>,
    /// What runs in it.
    pub command: Command,
}

/// A window that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The multiplexer's name for it.
    pub window: String,
    /// And for its first pane.
    pub pane: String,
    /// And for the session it is in.
    pub session: String,
}
