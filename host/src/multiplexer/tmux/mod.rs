//! tmux: statuses as window and pane options, titles as window names.
//!
//! Guest text reaches tmux in one place, [`Multiplexer::name_window`], cleaned and as an argument of its own: tmux
//! expands formats in a new window name. A new window is called by a slug and the user's prefix. Everything else it is given comes from the user's configuration or is fixed.

mod command;
mod status_line;
mod windows;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod window_tests;

use super::{Location, Multiplexer, MultiplexerError, NewPane, NewWindow, Opened, Pane, Title, is_name};
use command::Batch;

/// Window option: the icon the status line shows.
const WINDOW_STATUS: &str = "@workmux_status";
/// Window option: whose window it is.
const TOKEN: &str = "@workmux_token";
/// Pane option: this pane's own icon.
const PANE_STATUS: &str = "@workmux_pane_status";
/// Pane option: the icon that goes when the pane is seen.
const ACKNOWLEDGE: &str = "@workmux_ack_status";
/// Runs in the pane that got the focus. Fixed text: icons are compared as option values, never as commands. Only the
/// icon that waited to be seen goes: another agent's in the same window stays.
const WHEN_SEEN: &str = "if-shell -F '#{@workmux_ack_status}' { \
    if-shell -F '#{==:#{@workmux_status},#{@workmux_ack_status}}' { set-option -uw @workmux_status } ; \
    set-option -up @workmux_pane_status ; set-option -up @workmux_ack_status ; \
    if-shell -F '#{P:#{@workmux_ack_status}}' { } { set-hook -uw pane-focus-in } }";
/// True while a pane of the window waits to be seen: the hook is for all of them.
const STILL_AWAITED: &str = "#{P:#{@workmux_ack_status}}";

/// One tmux server.
#[derive(Debug, Clone)]
pub struct Tmux {
    location: Location,
}

impl Tmux {
    /// The server at this location. Nothing is asked of it yet.
    pub fn new(location: &Location) -> Self {
        Self { location: location.clone() }
    }

    fn batch(&self) -> Batch<'_> {
        Batch::new(&self.location.socket)
    }

    /// What tells a pane from a later one of the same name, and the window it is in.
    fn look_up(&self, id: &str) -> Result<Pane, MultiplexerError> {
        let gone = |why| MultiplexerError::NotOurs { pane: id.to_owned(), why };
        let facts = self.batch().add(["display-message", "-p", "-t", id, FACTS]).run()?;
        let facts = facts.trim_end().split(' ').collect::<Vec<_>>();
        let [server, started, pane, process, window] = facts[..] else { return Err(gone("it is gone")) };
        // Asked about a pane that is gone, tmux answers about another.
        if pane != id {
            return Err(gone("it is gone"));
        }
        // It will stand inside a command.
        if !is_name(window, '@') {
            return Err(gone("tmux gives its window no name"));
        }
        if self.location.server.is_some_and(|known| server != known.to_string()) {
            return Err(gone("the tmux server is another one"));
        }
        let identity = format!("{server} {started} {process}");
        Ok(Pane { id: id.to_owned(), window: window.to_owned(), identity })
    }

    /// Commands for this very pane: looked up again now, and once more by tmux as it begins.
    fn ours(&self, pane: &Pane) -> Result<Batch<'_>, MultiplexerError> {
        if !crate::mutant::off("p54_pane") {
            let now = self.look_up(&pane.id)?;
            let not_ours = |why| Err(MultiplexerError::NotOurs { pane: pane.id.clone(), why });
            if now.identity != pane.identity {
                return not_ours("another server or process has its name now");
            }
            if now.window != pane.window {
                return not_ours("it was moved to another window");
            }
        }
        // Fails, and with it all that follows, unless the pane is still in that window.
        Ok(self.batch().add(["has-session", "-t", &format!("{}.{}", pane.window, pane.id)]))
    }
}

const FACTS: &str = "#{pid} #{start_time} #{pane_id} #{pane_pid} #{window_id}";

impl Multiplexer for Tmux {
    fn name(&self) -> &'static str {
        "tmux"
    }

    fn pane(&self, id: &str) -> Result<Pane, MultiplexerError> {
        self.look_up(id)
    }

    fn show_icon(&self, pane: &Pane, icon: &str, until_seen: bool) -> Result<(), MultiplexerError> {
        let batch = self.ours(pane)?.add(["set-option", "-w", "-t", &pane.window, "--", WINDOW_STATUS, icon]).add([
            "set-option",
            "-p",
            "-t",
            &pane.id,
            "--",
            PANE_STATUS,
            icon,
        ]);
        if !until_seen {
            return batch.add(["set-option", "-pu", "-t", &pane.id, ACKNOWLEDGE]).run().map(drop);
        }
        // Asked in the same breath: who looks later is seen by the hook.
        let clients = batch
            .add(["set-option", "-p", "-t", &pane.id, "--", ACKNOWLEDGE, icon])
            .add(["set-hook", "-w", "-t", &pane.window, "pane-focus-in", WHEN_SEEN])
            .add(["list-clients", "-F", "#{pane_id} #{client_flags}"])
            .run()?;
        if looks_at(&clients, pane) { self.clear_icon(pane) } else { Ok(()) }
    }

    fn clear_icon(&self, pane: &Pane) -> Result<(), MultiplexerError> {
        let no_hook = format!("set-hook -wu -t {} pane-focus-in", pane.window);
        self.ours(pane)?
            .add(["set-option", "-wu", "-t", &pane.window, WINDOW_STATUS])
            .add(["set-option", "-pu", "-t", &pane.id, PANE_STATUS])
            .add(["set-option", "-pu", "-t", &pane.id, ACKNOWLEDGE])
            .add(["if-shell", "-F", "-t", &pane.id, STILL_AWAITED, "", &no_hook])
            .run()
            .map(drop)
    }

    fn show_icons_in_status_line(&self, pane: &Pane) -> Result<(), MultiplexerError> {
        let mut changes = Vec::new();
        for option in ["window-status-format", "window-status-current-format"] {
            let format = self.batch().add(["show-options", "-wqAv", "-t", &pane.window, option]).run()?;
            // tmux ends what it prints with a line end of its own.
            if let Some(with_icon) = status_line::with_icon(format.strip_suffix('\n').unwrap_or(&format)) {
                changes.push((option, with_icon));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let mut batch = self.ours(pane)?;
        for (option, format) in &changes {
            batch = batch.add(["set-option", "-w", "-t", &pane.window, "--", option, format]);
        }
        batch.run().map(drop)
    }

    fn name_window(&self, pane: &Pane, title: &Title) -> Result<(), MultiplexerError> {
        self.ours(pane)?
            .add(["set-option", "-w", "-t", &pane.window, "automatic-rename", "off"])
            .add(["rename-window", "-t", &pane.window, "--", title.as_str()])
            .run()
            .map(drop)
    }

    fn open(&self, window: &NewWindow) -> Result<Opened, MultiplexerError> {
        windows::open(self, window)
    }

    fn split(&self, pane: &str, new: &NewPane) -> Result<String, MultiplexerError> {
        windows::split(self, pane, new)
    }

    fn focus(&self, pane: &str, zoom: bool) -> Result<(), MultiplexerError> {
        let batch = self.batch().add(["select-pane", "-t", pane]);
        let batch = if zoom { batch.add(["resize-pane", "-Z", "-t", pane]) } else { batch };
        batch.run().map(drop)
    }

    fn select(&self, window: &str, switch: bool) -> Result<(), MultiplexerError> {
        windows::select(self, window, switch)
    }

    fn windows(&self) -> Result<Vec<(String, String)>, MultiplexerError> {
        windows::windows(self)
    }

    fn processes(&self, window: &str) -> Result<Vec<u32>, MultiplexerError> {
        let said = self.batch().add(["list-panes", "-t", window, "-F", "#{pane_pid}"]).run()?;
        Ok(said.lines().filter_map(|line| line.parse().ok()).collect())
    }

    fn paste(&self, pane: &Pane, text: &str) -> Result<(), MultiplexerError> {
        windows::paste(self, pane, text)
    }

    fn capture(&self, pane: &Pane, lines: u32) -> Result<String, MultiplexerError> {
        windows::capture(self.ours(pane)?, pane, lines)
    }

    fn close(&self, window: &str) -> Result<(), MultiplexerError> {
        self.batch().add(["kill-window", "-t", window]).run().map(drop)
    }
}

/// Whether one of these clients has its focus on the pane.
fn looks_at(clients: &str, pane: &Pane) -> bool {
    let mut clients = clients.lines().filter_map(|line| line.split_once(' '));
    // Before 3.2, tmux says nothing of the focus.
    clients.any(|(id, flags)| id == pane.id && (flags.is_empty() || flags.split(',').any(|flag| flag == "focused")))
}
