//! `workmux send`, `capture` and `wait`: working with an agent from outside its window.
//!
//! What is sent to an agent in a sandbox goes into the sandbox's own terminal, never through the host's: by the time it
//! arrives there may be a shell of the user's in the window.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::find::Here;
use super::record::{Entry, Place, State};
use super::show::{self, Shows};
use super::{status, wait};
use crate::error::{Failure, hinted};
use crate::multiplexer::{Location, Multiplexer as _, Tmux};
use crate::surroundings::Surroundings;
use crate::{launch, task, text};

/// How long a sandbox that starts is waited for: less than a guest's request may take.
const READY: Duration = Duration::from_secs(8);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// Types a text for the agent of a worktree, and the Return key.
pub(crate) fn send(name: &str, text: &str, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    let known = here.named(Some(name))?;
    let entry = known.entry.filter(works).ok_or_else(|| nobody(name))?;
    type_for(&entry, text, surroundings)?;
    Ok(0)
}

/// Whether there is an agent to tell, or will be in a moment.
pub(crate) fn works(entry: &Entry) -> bool {
    let state = entry.state();
    state.running() || state.starting()
}

fn nobody(name: &str) -> Report {
    let name = text::line(name);
    hinted(format!("no agent works in '{name}'"), format!("start one: workmux open {name}"))
}

/// Types for an agent that works. Whatever it said of itself before is over then.
pub(crate) fn type_for(entry: &Entry, text: &str, surroundings: &Surroundings) -> Result<()> {
    // Marked before: a fast one is done by the time we are back.
    let before = entry.state().status;
    entry.change(State::asked).wrap_err("cannot keep that it is told something")?;
    type_now(entry, text, surroundings).inspect_err(|_| {
        let _as_before = entry.change(|state| state.untold(&before));
    })
}

fn type_now(entry: &Entry, text: &str, surroundings: &Surroundings) -> Result<()> {
    let failed = || format!("'{}' was not told", text::line(&entry.record.handle));
    if entry.record.sandboxed && !crate::mutant::off("p33_ended") {
        return type_into_sandbox(entry, text, surroundings).wrap_err_with(failed);
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

/// Types into a sandbox's terminal, once it is there.
fn type_into_sandbox(entry: &Entry, text: &str, surroundings: &Surroundings) -> Result<()> {
    let until = Instant::now() + READY;
    loop {
        let late = Instant::now() >= until;
        let state = entry.state();
        match show::run_of(entry, &surroundings.state).map(|run| launch::typing::enter(&run, text)) {
            Some(Err(e)) if late || !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Err(e.into());
            }
            Some(Ok(())) => return Ok(()),
            _ if !state.running() && !state.starting() => return Err(nobody(&entry.record.handle)),
            _ if late => {
                return Err(hinted("its sandbox is not ready yet", "try again when it works: workmux status"));
            }
            _ => std::thread::sleep(LOOK),
        }
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
        // One that never had an agent is never done.
        let entry = known.entry.filter(|entry| entry.state().since > 0);
        entries.push(entry.ok_or_else(|| nobody(name))?);
    }
    until_finished(&entries, timeout.map(Duration::from_secs), true)
}

/// Waits, says who needs the user meanwhile, and how each ended if that is to be `told`.
pub(crate) fn until_finished(entries: &[Entry], within: Option<Duration>, told: bool) -> Result<u8, Failure> {
    let mut called = vec![false; entries.len()];
    let mut tell = |states: &[State]| {
        for ((entry, state), called) in entries.iter().zip(states).zip(&mut called) {
            let waits = state.status == "waiting" && state.running();
            if waits && !*called {
                let name = text::line(&entry.record.handle);
                crate::ui::note(&format!("'{name}' waits for you: workmux open {name}"));
            }
            *called = waits;
        }
    };
    let waited = task::stoppable(|stop| {
        let waited = wait::all(entries, within, Some(stop.event()), &mut tell)?;
        stop.check().map_err(|_| Report::msg("interrupted: the agents go on"))?;
        Ok(waited)
    })?;
    let (mut wrong, mut silent) = (Vec::new(), false);
    for (entry, state) in entries.iter().zip(&waited.states) {
        let name = text::line(&entry.record.handle);
        if told {
            crate::ui::print(&format!("{name}: {}", status::in_words(state)));
        }
        if !status::succeeded(state) {
            silent |= state.running() && state.status.is_empty();
            wrong.push(name);
        }
    }
    if wrong.is_empty() {
        return Ok(0);
    }
    let failed = format!("not done: {}", wrong.join(", "));
    let failed = match (waited.all, silent) {
        (true, _) => Report::msg(failed),
        (false, true) => {
            hinted("the time is over", "an agent that does not report its status is never done: workmux setup")
                .wrap_err(failed)
        }
        (false, false) => Report::msg("the time is over").wrap_err(failed),
    };
    Err(failed.into())
}
