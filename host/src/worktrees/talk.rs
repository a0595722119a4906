//! `workmux send`, `capture` and `wait`: working with an agent from outside its window.
//!
//! What is sent to an agent in a sandbox goes into the sandbox's own terminal, never through the host's: by the time it
//! arrives there may be a shell of the user's in the window.

use std::time::Duration;

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::find::Here;
use super::record::{Entry, Place};
use super::show::{self, Shows};
use super::{status, wait};
use crate::error::{Failure, hinted};
use crate::multiplexer::{Location, Multiplexer as _, Tmux};
use crate::surroundings::Surroundings;
use crate::{launch, task, text};

/// Types a text for the agent of a worktree, and the Return key.
pub(crate) fn send(name: &str, text: &str, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    let known = here.named(Some(name))?;
    let entry = known.entry.filter(|entry| entry.state().running()).ok_or_else(|| nobody(name))?;
    type_for(&entry, text, surroundings)?;
    Ok(0)
}

fn nobody(name: &str) -> Report {
    let name = text::line(name);
    hinted(format!("no agent works in '{name}'"), format!("start one: workmux open {name}"))
}

/// Types for an agent that works.
pub(crate) fn type_for(entry: &Entry, text: &str, surroundings: &Surroundings) -> Result<()> {
    let failed = || format!("'{}' was not told", text::line(&entry.record.handle));
    if entry.record.sandboxed && !crate::mutant::off("p33_ended") {
        let run = show::run_of(entry, &surroundings.state)
            .ok_or_else(|| hinted("its sandbox is not ready yet", "try again when it works: workmux status"));
        return launch::typing::enter(&run.wrap_err_with(failed)?, text).wrap_err_with(failed);
    }
    match (&entry.record.place, show::find(entry)) {
        (_, Some(Shows::Background(terminal))) => {
            let mut keys = text.replace('\n', "\r").into_bytes();
            keys.push(b'\r');
            terminal.send(&keys).wrap_err_with(failed)
        }
        (Some(Place::Window { pane, .. }), Some(Shows::Windows(tmux, _))) => {
            let pane = tmux.pane(pane).wrap_err_with(failed)?;
            tmux.paste(&pane, text).wrap_err_with(failed)
        }
        _ => Err(nobody(&entry.record.handle)),
    }
}

/// Prints what the agent's terminal shows.
pub(crate) fn capture(name: &str, lines: u32, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    let known = here.named(Some(name))?;
    let entry = known.entry.ok_or_else(|| nobody(name))?;
    crate::ui::print(&text::lines(&screen_of(&entry, lines)?));
    Ok(0)
}

/// What the leading pane of a worktree shows, not cleaned.
pub(crate) fn screen_of(entry: &Entry, lines: u32) -> Result<String> {
    let name = text::line(&entry.record.handle);
    let failed = || format!("the terminal of '{name}' cannot be read");
    match (&entry.record.place, show::find(entry)) {
        (_, Some(Shows::Background(terminal))) => terminal.capture(lines as usize).wrap_err_with(failed),
        (Some(Place::Window { socket, pane, .. }), Some(Shows::Windows(..))) => {
            let tmux = Tmux::new(&Location::at(socket, pane).map_err(Report::msg)?);
            let pane = tmux.pane(pane).wrap_err_with(failed)?;
            tmux.capture(&pane, lines).wrap_err_with(failed)
        }
        (Some(Place::Background), None) => {
            let log = show::background(entry)?.log();
            Err(hinted(
                format!("the agent of '{name}' has ended"),
                format!("all that it printed is in {}", text::quote(log.as_os_str())),
            ))
        }
        _ => Err(hinted(format!("'{name}' is not open"), format!("open it: workmux open {name}"))),
    }
}

/// Waits until the agents of these worktrees are finished. 0 where all did well, 1 where one did not or the time is over.
pub(crate) fn wait(names: &[String], timeout: Option<u64>, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    let mut entries = Vec::new();
    for name in names {
        let known = here.named(Some(name))?;
        entries.push(known.entry.ok_or_else(|| nobody(name))?);
    }
    let within = timeout.map(Duration::from_secs);
    let all = task::stoppable(|stop| wait::all(&entries, within, &|| stop().is_err()))?;
    let mut wrong = Vec::new();
    for entry in &entries {
        let (name, member) = (text::line(&entry.record.handle), status::member(entry));
        let state = member.exit_code.map_or(member.status, |code| format!("exited {code}"));
        crate::ui::print(&format!("{name}: {state}"));
        if !status::succeeded(&entry.state()) {
            wrong.push(name);
        }
    }
    if wrong.is_empty() {
        return Ok(0);
    }
    let failed = Report::msg(format!("not done: {}", wrong.join(", ")));
    Err(if all { failed } else { Report::msg("the time is over").wrap_err(failed.to_string()) }.into())
}
