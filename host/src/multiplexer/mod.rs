//! The terminal multiplexer the user works in: which pane a run is in, and what its window shows.
//!
//! [`RunWindow`] is what the supervisor holds. [`Multiplexer`] is what one multiplexer can do, as blocking calls with a
//! deadline; `tmux` is the only one so far. Status and title are decoration: where they cannot be shown the run goes
//! on, and [`Shown`] says why. Windows for worktrees are opened, found, typed into, read and closed by the same trait;
//! which worktree has which window is `worktrees`' knowledge.

mod locate;
mod status;
mod tmux;
mod window;
mod windows;

pub use locate::Location;
pub use status::{Icons, Status, Title};
pub use tmux::Tmux;
pub use window::{RunWindow, Shown};
pub use windows::{Command, NewPane, NewWindow, Opened, Where};

use crate::tool::ToolError;

/// A pane that was there when it was looked up, with all that is needed to know it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pane {
    /// The multiplexer's name for it.
    id: String,
    /// The window it was in.
    window: String,
    /// What tells it from a later pane of the same name: of another server, or with another process.
    identity: String,
}

/// Why the multiplexer did not do something.
#[derive(Debug, thiserror::Error)]
pub enum MultiplexerError {
    /// There is no such pane any more, or it is not where it was: nothing was changed.
    #[error("pane '{pane}' is not where this run started: {why}")]
    NotOurs {
        /// The pane.
        pane: String,
        /// What is different.
        why: &'static str,
    },
    /// The program could not be run, or hung.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The program ran and refused.
    #[error("'{program}' refused: {message}")]
    Refused {
        /// The program.
        program: &'static str,
        /// What it said, cleaned.
        message: String,
    },
}

/// What one multiplexer does. Calls block, for a few seconds at most.
pub trait Multiplexer: Send + Sync {
    /// Its name, as in `WORKMUX_BACKEND`.
    fn name(&self) -> &'static str;

    /// Looks a pane up by the multiplexer's name for it.
    fn pane(&self, id: &str) -> Result<Pane, MultiplexerError>;

    /// Shows `icon` for this pane. `until_seen` = it goes when the user looks at the pane, at once if they do already.
    fn show_icon(&self, pane: &Pane, icon: &str, until_seen: bool) -> Result<(), MultiplexerError>;

    /// Shows no icon for this pane any more.
    fn clear_icon(&self, pane: &Pane) -> Result<(), MultiplexerError>;

    /// Makes the window's place in the status line show its icon, if it does not yet.
    fn show_icons_in_status_line(&self, pane: &Pane) -> Result<(), MultiplexerError>;

    /// Names the window this pane is in.
    fn name_window(&self, pane: &Pane, title: &Title) -> Result<(), MultiplexerError>;

    /// Opens a window, or a session, that nobody looks at yet, and marks it with its token.
    fn open(&self, window: &NewWindow) -> Result<Opened, MultiplexerError>;

    /// Divides a pane; answers the new one's name.
    fn split(&self, pane: &str, new: &NewPane) -> Result<String, MultiplexerError>;

    /// Makes a pane its window's current one, `zoom` = over all others.
    fn focus(&self, pane: &str, zoom: bool) -> Result<(), MultiplexerError>;

    /// Makes a window its session's current one; `switch` = and shows its session to the user.
    fn select(&self, window: &str, switch: bool) -> Result<(), MultiplexerError>;

    /// All windows that have a token: token and name, in the multiplexer's order.
    fn windows(&self) -> Result<Vec<(String, String)>, MultiplexerError>;

    /// What runs in a window's panes: the process that was started in each.
    fn processes(&self, window: &str) -> Result<Vec<u32>, MultiplexerError>;

    /// Types a text into a pane, and the Return key.
    fn paste(&self, pane: &Pane, text: &str) -> Result<(), MultiplexerError>;

    /// What a pane shows: the last lines, with what has scrolled away.
    fn capture(&self, pane: &Pane, lines: u32) -> Result<String, MultiplexerError>;

    /// Closes a window with all its panes; what runs in them is told as when a terminal goes.
    fn close(&self, window: &str) -> Result<(), MultiplexerError>;
}

/// Whether `text` is the sign and a number, as tmux names what it has (`%3`, `@1`): nothing that it would interpret.
fn is_name(text: &str, sign: char) -> bool {
    text.strip_prefix(sign).is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}
