//! What runs in a pane of ours (`workmux __pane`): the agent or command, and then the user's shell in its place.
//!
//! The window does not depend on text that is typed into a shell: words reach programs as words, and the prompt reaches
//! the agent from the record. What was to run in a sandbox never runs without one.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use color_eyre::eyre::{Report, Result, WrapErr as _};
use workmux_plugin_api::Purpose;

use super::panes::{Runs, agent_command, leading};
use super::prompt;
use super::record::{Entry, Place, State, change_state, now};
use crate::config::{self, Config, Sources};
use crate::error::Failure;
use crate::launch::{self, Task, Wish};
use crate::runs::ProcessIdentity;
use crate::surroundings::Surroundings;

/// How the shell of a host pane is told what to become: no text is quoted for whatever shell the user has.
const PROGRAM: &str = "WORKMUX_PANE_PROGRAM";
const WHICH: [&str; 3] = ["WORKMUX_PANE_RECORD", "WORKMUX_PANE_WINDOW", "WORKMUX_PANE_NUMBER"];
const BECOME: &str =
    r#"exec "$WORKMUX_PANE_PROGRAM" __agent "$WORKMUX_PANE_RECORD" "$WORKMUX_PANE_WINDOW" "$WORKMUX_PANE_NUMBER""#;

/// Runs a pane. Comes back only in the background, or where there is no shell.
pub(crate) fn run(directory: &Path, window: usize, pane: usize, surroundings: &Surroundings) -> Result<u8, Failure> {
    let (entry, runs) = planned(directory, window, pane)?;
    let leads = leading(&entry.record.windows) == Some((window, pane));
    if leads {
        let own = ProcessIdentity::own();
        change_state(directory, |state| *state = State { process: Some(own), since: now(), ..State::default() })
            .map_err(Report::new)?;
    }
    let outcome = start(&entry, &runs, directory, (window, pane), leads, surroundings);
    let code = match outcome {
        Ok(code) => code,
        Err(failure) => {
            crate::ui::raw_error(&crate::error::render(&failure.report));
            failure.code
        }
    };
    if leads {
        let ended = change_state(directory, |state| {
            (state.exit_code, state.run, state.since) = (Some(code.into()), None, now());
        });
        // The worktree may be gone, and its record with it.
        drop(ended);
    }
    // Beside the record, the window this process was started in tells: it has a place by now, or never will.
    let background = matches!(Entry::read(directory.to_owned()).and_then(|e| e.record.place), Some(Place::Background));
    if background || std::env::var_os("TMUX").is_none() || !crate::ui::can_ask() {
        return Ok(code);
    }
    if runs.is_agent() {
        crate::ui::note(&format!("the agent ended with {code}; this is your shell"));
    }
    Err(Report::new(shell().exec()).wrap_err("the shell cannot be started").into())
}

fn planned(directory: &Path, window: usize, pane: usize) -> Result<(Entry, Runs)> {
    let entry = Entry::read(directory.to_owned()).ok_or_else(|| Report::msg("the worktree's record is gone"))?;
    let plan = entry.record.windows.get(window).and_then(|plan| plan.panes.get(pane));
    let runs = plan.ok_or_else(|| Report::msg("the worktree has no such pane"))?.runs.clone();
    Ok((entry, runs))
}

fn start(
    entry: &Entry,
    runs: &Runs,
    directory: &Path,
    (window, pane): (usize, usize),
    leads: bool,
    surroundings: &Surroundings,
) -> Result<u8, Failure> {
    let sandboxed = |task: Task| {
        let wish = Wish {
            purpose: Purpose::Agent,
            start: entry.record.cwd.clone(),
            root: Some(entry.record.worktree.clone()),
            command: Vec::new(),
            backend: None,
            dry_run: false,
            task: Some(task),
        };
        launch::launch(wish, surroundings)
    };
    let directory = directory.to_owned();
    match runs {
        Runs::Shell => Ok(0),
        Runs::Command { text, sandboxed: true } => {
            sandboxed(Task { directory, agent: None, text: text.clone(), words: Vec::new(), leads })
        }
        Runs::Agent { agent, sandboxed: true, .. } => {
            let (text, words) = agent_words(entry, runs, surroundings).map_err(Failure::session)?;
            sandboxed(Task { directory, agent: Some(agent.clone()), text, words, leads })
        }
        Runs::Command { text, sandboxed: false } => {
            let mut command = Command::new(shell_program());
            command.arg("-ic").arg(text);
            Ok(ended(command)?)
        }
        Runs::Agent { sandboxed: false, .. } => {
            // The user's shell knows where the user's programs are.
            let mut command = Command::new(shell_program());
            command.arg("-ic").arg(BECOME).env(PROGRAM, &surroundings.executable);
            let which: [&OsStr; 3] = [directory.as_os_str(), &number(window), &number(pane)];
            for (name, value) in WHICH.iter().zip(which) {
                command.env(name, value);
            }
            Ok(ended(command)?)
        }
    }
}

fn number(number: usize) -> OsString {
    number.to_string().into()
}

fn ended(mut command: Command) -> Result<u8> {
    let status = command.status().wrap_err("the shell cannot be started")?;
    Ok(crate::supervisor::Status::from(status).code())
}

/// Becomes the agent of a pane outside any sandbox (`workmux __agent`, from the user's interactive shell).
pub(crate) fn agent(directory: &Path, window: usize, pane: usize, surroundings: &Surroundings) -> Result<u8, Failure> {
    let (entry, runs) = planned(directory, window, pane)?;
    let Runs::Agent { agent, sandboxed: false, .. } = &runs else {
        return Err(Report::msg("this pane runs in a sandbox").into());
    };
    let (text, words) = agent_words(&entry, &runs, surroundings)?;
    let config = frozen(&entry)?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{} \"$@\"", launch::agent::directly(&text))).arg("sh").args(words);
    for (name, value) in config.agents.get(agent).map(|own| &own.env).into_iter().flatten() {
        if let Some(value) = launch::agent::variable(value) {
            command.env(name, value);
        }
    }
    for name in WHICH.iter().chain([&PROGRAM]) {
        command.env_remove(name);
    }
    Err(Report::new(command.exec()).wrap_err("'sh' cannot be started").into())
}

fn agent_words(entry: &Entry, runs: &Runs, surroundings: &Surroundings) -> Result<(String, Vec<String>)> {
    let Runs::Agent { agent, arguments, sandboxed, prompted } = runs else {
        return Err(Report::msg("this pane runs no agent"));
    };
    let config = frozen(entry)?;
    let row = launch::agent::row(agent, &config, surroundings);
    let prompt = if *prompted { entry.prompt().map(|prompt| prompt::word(&prompt, &entry.record)) } else { None };
    Ok(agent_command(agent, arguments, *sandboxed, prompt.as_deref(), row, &config))
}

/// What its panes work by.
pub(super) fn frozen(entry: &Entry) -> Result<Config> {
    let loaded = config::load(&Sources { frozen: Some(entry.config()), ..Sources::default() })?;
    Ok(loaded.config(&[])?.clone())
}

/// The user's shell.
fn shell_program() -> PathBuf {
    let named = std::env::var_os("SHELL").map(PathBuf::from).filter(|shell| shell.is_absolute() && shell.is_file());
    named.unwrap_or_else(|| "/bin/sh".into())
}

/// The user's shell as multiplexers start it.
fn shell() -> Command {
    let program = shell_program();
    let mut name = OsString::from("-");
    name.push(program.file_name().unwrap_or(OsStr::new("sh")));
    let mut shell = Command::new(program);
    shell.arg0(name);
    shell
}
