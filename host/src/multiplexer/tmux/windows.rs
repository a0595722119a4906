//! Windows: the words tmux is given to open, divide, read and close them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::command::Batch;
use super::{TOKEN, Tmux};
use crate::config::types::{Placement, Split};
use crate::multiplexer::{Command, MultiplexerError, NewPane, NewWindow, Opened, Pane, Where, is_name};

/// What tmux prints of a window it opened.
const OPENED: &str = "#{window_id} #{pane_id} #{session_id}";
/// How many texts this process has pasted.
static PASTED: AtomicU64 = AtomicU64::new(0);

pub(super) fn open(tmux: &Tmux, window: &NewWindow) -> Result<Opened, MultiplexerError> {
    let mut words: Vec<OsString> = Vec::new();
    let mut add = |more: &[&str]| words.extend(more.iter().map(OsString::from));
    match &window.place {
        Where::Session => add(&["new-session", "-d", "-P", "-F", OPENED, "-s", &window.name, "-n", &window.name]),
        // Without a target it is the window of the pane that the command is given in.
        Where::Beside { placement, .. } => {
            add(&["new-window", "-d", "-P", "-F", OPENED, "-n", &window.name]);
            if *placement == Placement::AfterCurrent {
                add(&["-a"]);
            }
        }
        Where::In(session) => {
            add(&["new-window", "-d", "-P", "-F", OPENED, "-n", &window.name, "-t", &format!("{session}:")]);
        }
    }
    words.extend(["-c".into(), directory(&window.cwd)]);
    variables(&mut words, &window.env);
    program(&mut words, &window.command);
    let batch = match &window.place {
        Where::Beside { pane, .. } => tmux.batch().within(pane),
        _ => tmux.batch(),
    };
    let said = batch.words(&words).run()?;
    let parts: Vec<&str> = said.trim_end().split(' ').collect();
    let [id, pane, session] = parts[..] else { return Err(odd(&said)) };
    if !is_name(id, '@') || !is_name(pane, '%') || !is_name(session, '$') {
        return Err(odd(&said));
    }
    let opened = Opened { window: id.to_owned(), pane: pane.to_owned(), session: session.to_owned() };
    let mut batch = tmux.batch().add(["set-option", "-w", "-t", id, "--", TOKEN, &window.token]).add([
        "set-option",
        "-w",
        "-t",
        id,
        "automatic-rename",
        "off",
    ]);
    if window.command.is_some() {
        batch = batch.add(["set-option", "-w", "-t", id, "allow-rename", "off"]);
    }
    match batch.run() {
        Ok(_) => Ok(opened),
        // What cannot be found again is not left behind. A program that ended at once has taken its window with it.
        Err(e) => {
            let _gone = tmux.batch().add(["kill-window", "-t", id]).run();
            Err(e)
        }
    }
}

pub(super) fn split(tmux: &Tmux, pane: &str, new: &NewPane) -> Result<String, MultiplexerError> {
    let direction = match new.split {
        Split::Horizontal => "-h",
        Split::Vertical | Split::Stacked => "-v",
    };
    let mut words: Vec<OsString> =
        ["split-window", "-d", "-P", "-F", "#{pane_id}", direction, "-t", pane].map(OsString::from).to_vec();
    match (new.size, new.percentage) {
        (Some(cells), _) => words.extend(["-l".into(), cells.to_string().into()]),
        (None, Some(part)) => words.extend(["-l".into(), format!("{part}%").into()]),
        (None, None) => {}
    }
    words.extend(["-c".into(), directory(&new.cwd)]);
    variables(&mut words, &new.env);
    program(&mut words, &new.command);
    let said = tmux.batch().words(&words).run()?;
    let id = said.trim_end();
    if is_name(id, '%') { Ok(id.to_owned()) } else { Err(odd(&said)) }
}

pub(super) fn windows(tmux: &Tmux) -> Result<Vec<(String, String)>, MultiplexerError> {
    let format = format!("#{{{TOKEN}}} #{{window_id}}");
    let said = tmux.batch().add(["list-windows", "-a", "-F", &format]).run()?;
    let pairs = said.lines().filter_map(|line| line.split_once(' '));
    let ours = pairs.filter(|(token, window)| !token.is_empty() && is_name(window, '@'));
    Ok(ours.map(|(token, window)| (token.to_owned(), window.to_owned())).collect())
}

pub(super) fn paste(tmux: &Tmux, pane: &Pane, text: &str) -> Result<(), MultiplexerError> {
    // A name of its own for each: who pastes at the same moment has another text.
    let buffer = format!("workmux-{}-{}", std::process::id(), PASTED.fetch_add(1, Ordering::Relaxed));
    let pasted = tmux
        .ours(pane)?
        .add(["load-buffer", "-b", &buffer, "-"])
        .add(["paste-buffer", "-p", "-d", "-b", &buffer, "-t", &pane.id])
        .add(["send-keys", "-t", &pane.id, "Enter"])
        .input(text.as_bytes())
        .run();
    if pasted.is_err() {
        let _not_there = tmux.batch().add(["delete-buffer", "-b", &buffer]).run();
    }
    pasted.map(drop)
}

pub(super) fn capture(batch: Batch, pane: &Pane, lines: u32) -> Result<String, MultiplexerError> {
    // The screen may have more lines than wanted, and empty ones at its end.
    let start = format!("-{lines}");
    let shown = batch.add(["capture-pane", "-p", "-J", "-S", &start, "-t", &pane.id]).run()?;
    let kept: Vec<&str> = shown.trim_end().lines().collect();
    let from = kept.len().saturating_sub(lines as usize);
    Ok(kept[from..].join("\n"))
}

pub(super) fn select(tmux: &Tmux, window: &str, switch: bool) -> Result<(), MultiplexerError> {
    tmux.batch().add(["select-window", "-t", window]).run()?;
    if !switch {
        return Ok(());
    }
    match tmux.batch().add(["switch-client", "-t", window]).run() {
        // Nobody is attached: selected it is all the same.
        Err(MultiplexerError::Refused { .. }) => Ok(()),
        switched => switched.map(drop),
    }
}

fn variables(words: &mut Vec<OsString>, env: &[(OsString, OsString)]) {
    for (name, value) in env {
        let mut pair = name.clone();
        pair.push("=");
        pair.push(value);
        words.extend(["-e".into(), pair]);
    }
}

/// tmux expands formats in a directory, and runs what a format says: a repository can have any names.
fn directory(path: &Path) -> OsString {
    if crate::mutant::off("p8_directory") {
        return path.into();
    }
    let doubled =
        path.as_os_str().as_bytes().iter().flat_map(|b| if *b == b'#' { &b"##"[..] } else { std::slice::from_ref(b) });
    OsString::from_vec(doubled.copied().collect())
}

/// Several words are a program that tmux starts itself; one alone would be text for a shell.
fn program(words: &mut Vec<OsString>, command: &Command) {
    let Some(command) = command else { return };
    words.push("--".into());
    if let [only] = &command[..] {
        words.extend(["env".into(), only.clone()]);
    } else {
        words.extend(command.iter().cloned());
    }
}

fn odd(said: &str) -> MultiplexerError {
    let message = format!("it answered '{}'", crate::text::short(said, 100));
    MultiplexerError::Refused { program: "tmux", message }
}
