//! What shows a worktree: a window of the multiplexer the user works in, or a terminal in the background where there is
//! none. Opened, found again, typed into, read and closed.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::panes::{PanePlan, Runs, leading};
use super::record::{Entry, Place, State, now};
use crate::config::Config;
use crate::config::types::{Mode, Split};
use crate::detached::Detached;
use crate::error::hinted;
use crate::multiplexer::{Location, Multiplexer as _, MultiplexerError, NewPane, NewWindow, Tmux, Where};
use crate::runs::{self, ProcessIdentity};
use crate::surroundings::Surroundings;
use crate::text;

/// Variables that decide where the program finds its things: a multiplexer's server may have been started with others.
const OURS: [&str; 5] = ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "WORKMUX_PLUGIN_PATH"];
/// What tmux says where a session's name is taken.
const DUPLICATE: &str = "duplicate session";
/// What a window's processes get to end.
const CLOSING: Duration = Duration::from_secs(10);
/// And to begin.
const OPENING: Duration = Duration::from_secs(10);
/// An agent that ends within this has not begun at all: its program is not there, or its sandbox cannot be had.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Where windows are opened.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// In the multiplexer the user works in.
    Multiplexer(Location),
    /// Last in this session of the multiplexer.
    Session(PathBuf, String),
    /// Nowhere to be seen.
    Background,
}

impl Target {
    /// As the environment says. `named` = the session to use outside one.
    pub(crate) fn here(named: Option<&str>) -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name);
        let chosen = ["WORKMUX_BACKEND", "WORKMUX_STATUS_BACKEND", "TMUX"].into_iter().any(|n| variable(n).is_some());
        match Location::from_environment(variable) {
            Ok(location) => Ok(Self::Multiplexer(location)),
            // Named, and wrong: not something to pass over.
            Err(why) if chosen && variable("TMUX_PANE").is_some() => {
                Err(hinted(format!("cannot tell which window this is: {why}"), "start it in tmux, or unset TMUX"))
            }
            Err(_) => Ok(match named {
                Some(session) => Self::Session(usual_socket(), session.to_owned()),
                None => Self::Background,
            }),
        }
    }

    fn multiplexer(&self) -> Option<Tmux> {
        match self {
            Self::Multiplexer(location) => Some(Tmux::new(location)),
            Self::Session(socket, _) => Some(Tmux::new(&Location::at(socket, "%0").ok()?)),
            Self::Background => None,
        }
    }
}

/// Where tmux listens when it is told nothing.
fn usual_socket() -> PathBuf {
    let below = std::env::var_os("TMUX_TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    below.join(format!("tmux-{}/default", nix::unistd::geteuid()))
}

/// Opens the windows and keeps in the record what shows it. Nothing is left open where it fails.
pub(crate) fn open(
    entry: &mut Entry,
    target: &Target,
    config: &Config,
    name: &str,
    seen: bool,
    surroundings: &Surroundings,
) -> Result<()> {
    let since = if leading(&entry.record.windows).is_some() { now() } else { 0 };
    entry.change(|state| *state = State { since, ..State::default() }).wrap_err("cannot keep its state")?;
    let Some(multiplexer) = target.multiplexer() else {
        entry.record.place = in_background(entry, surroundings)?;
        await_agent(entry);
        return Ok(());
    };
    let mut opened = Vec::new();
    let shown = in_windows(entry, target, &multiplexer, config, name, &mut opened, surroundings);
    match shown {
        Ok(pane) => {
            if seen && let Some(first) = opened.first() {
                let switch = config.mode == Mode::Session;
                // It is there, and can be gone to by hand.
                let _unseen = multiplexer.select(first, switch);
            }
            let socket = match target {
                Target::Multiplexer(location) => location.socket().to_owned(),
                Target::Session(socket, _) => socket.clone(),
                Target::Background => PathBuf::new(),
            };
            entry.record.place = Some(Place::Window { multiplexer: multiplexer.name().to_owned(), socket, pane });
            await_agent(entry);
            Ok(())
        }
        Err(e) => {
            for window in opened {
                let _gone = multiplexer.close(&window);
            }
            Err(e.wrap_err("its window could not be opened"))
        }
    }
}

/// Who waits for an agent, or tells it something, right after this must not take it for one that has ended.
fn await_agent(entry: &Entry) {
    if leading(&entry.record.windows).is_none() {
        return;
    }
    let name = text::line(&entry.record.handle);
    if !super::wait::until(entry, OPENING, |state| state.process.is_some()) {
        crate::ui::warning(&format!("the agent of '{name}' does not begin"));
    }
}

/// Says so where an agent that nobody sees has ended as soon as it was started.
pub(crate) fn say_if_ended(entry: &Entry) {
    if entry.record.place != Some(Place::Background) {
        return;
    }
    super::wait::until(entry, AT_ONCE, |state| state.exit_code.is_some() || state.begun || !state.status.is_empty());
    if let Some(code) = entry.state().exit_code.filter(|code| *code != 0) {
        let name = text::line(&entry.record.handle);
        let log = background(entry).map(|terminal| text::quote(terminal.log().as_os_str())).unwrap_or_default();
        crate::ui::warning(&format!(
            "the agent of '{name}' ended at once with {code}; see why in {log}, and start it again: workmux open {name}"
        ));
    }
}

/// Opens all windows; the answer is the leading pane.
fn in_windows(
    entry: &Entry,
    target: &Target,
    multiplexer: &Tmux,
    config: &Config,
    name: &str,
    opened: &mut Vec<String>,
    surroundings: &Surroundings,
) -> Result<String> {
    let record = &entry.record;
    let lead = leading(&record.windows).unwrap_or((0, 0));
    let mut leading_pane = String::new();
    let env = environment();
    let mut session: Option<String> = None;
    for (w, plan) in record.windows.iter().enumerate() {
        let command = |p: usize| command(&plan.panes[p], entry, w, p, surroundings);
        let place = match (target, config.mode, &session) {
            (_, Mode::Session, Some(session)) => Where::In(session.clone()),
            (_, Mode::Session, None) => Where::Session,
            (Target::Session(_, session), ..) => Where::In(session.clone()),
            (Target::Multiplexer(location), ..) => {
                Where::Beside { pane: location.pane().to_owned(), placement: config.window_placement }
            }
            (Target::Background, ..) => return Err(Report::msg("there is no multiplexer")),
        };
        let mut window = NewWindow {
            // Of a project's: tmux expands formats in it.
            name: plan.name.as_deref().filter(|_| w > 0).and_then(text::title).unwrap_or_else(|| name.to_owned()),
            token: record.id.clone(),
            place,
            cwd: record.cwd.clone(),
            env: env.clone(),
            command: command(0),
        };
        let first = match multiplexer.open(&window) {
            Err(MultiplexerError::Refused { message, .. })
                if window.place == Where::Session && message.contains(DUPLICATE) =>
            {
                window.name = format!("{name}-{}", text::slug(&super::names::project(record.project())));
                crate::ui::note(&format!(
                    "there is a session '{}' already: this one is '{}'",
                    text::line(name),
                    text::line(&window.name)
                ));
                multiplexer.open(&window)?
            }
            opened => opened?,
        };
        opened.push(first.window);
        session = Some(first.session);
        let mut panes = vec![first.pane];
        for (p, pane) in plan.panes.iter().enumerate().skip(1) {
            let new = NewPane {
                split: pane.split.unwrap_or(Split::Horizontal),
                size: pane.size,
                percentage: pane.percentage,
                cwd: record.cwd.clone(),
                env: env.clone(),
                command: command(p),
            };
            let from = pane.target.map_or(p - 1, usize::from).min(p - 1);
            panes.push(multiplexer.split(&panes[from], &new)?);
        }
        let focus = plan.panes.iter().position(|pane| pane.zoom).or_else(|| plan.panes.iter().position(|p| p.focus));
        if let Some(focus) = focus.filter(|focus| *focus > 0 || plan.panes[*focus].zoom) {
            multiplexer.focus(&panes[focus], plan.panes[focus].zoom)?;
        }
        if w == lead.0 {
            leading_pane.clone_from(&panes[lead.1]);
        }
    }
    Ok(leading_pane)
}

/// The words of a pane; nothing where the multiplexer's own shell is meant.
fn command(
    plan: &PanePlan,
    entry: &Entry,
    window: usize,
    pane: usize,
    surroundings: &Surroundings,
) -> Option<Vec<OsString>> {
    if plan.runs == Runs::Shell {
        return None;
    }
    let mut words = vec![surroundings.executable.clone().into_os_string()];
    words.extend(pane_words(entry, window, pane));
    Some(words)
}

fn pane_words(entry: &Entry, window: usize, pane: usize) -> [OsString; 4] {
    ["__pane".into(), entry.directory.clone().into(), window.to_string().into(), pane.to_string().into()]
}

fn environment() -> Vec<(OsString, OsString)> {
    OURS.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))).collect()
}

/// Starts the leading pane in a terminal that nobody sees.
fn in_background(entry: &Entry, surroundings: &Surroundings) -> Result<Option<Place>> {
    let Some((window, pane)) = leading(&entry.record.windows) else { return Ok(None) };
    let terminal = background(entry)?;
    terminal
        .start(&surroundings.executable, &pane_words(entry, window, pane), &entry.record.cwd, &environment())
        .wrap_err("its agent could not be started in the background")?;
    Ok(Some(Place::Background))
}

/// The terminal of a worktree in the background.
pub(crate) fn background(entry: &Entry) -> Result<Detached> {
    let directory = entry.directory.join("terminal");
    match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            // The record is gone, and does not come back.
            return Err(e).wrap_err("cannot make its directory");
        }
        _ => {}
    }
    Ok(Detached::new(directory))
}

/// What shows a worktree now.
pub(crate) enum Shows {
    /// Windows; the first is the worktree's own.
    Windows(Tmux, Vec<String>),
    /// A terminal in the background that is alive.
    Background(Detached),
}

/// Looks for what shows a worktree. Nothing where it is closed, or its multiplexer is gone.
pub(crate) fn find(entry: &Entry) -> Option<Shows> {
    match entry.record.place.as_ref()? {
        Place::Background => background(entry).ok().filter(Detached::alive).map(Shows::Background),
        Place::Window { socket, pane, .. } => {
            let tmux = Tmux::new(&Location::at(socket, pane).ok()?);
            let all = tmux.windows().ok()?;
            let own: Vec<String> =
                all.into_iter().filter(|(token, _)| *token == entry.record.id).map(|(_, window)| window).collect();
            (!own.is_empty()).then_some(Shows::Windows(tmux, own))
        }
    }
}

/// Which of these worktrees are shown, each multiplexer asked once.
pub(crate) fn shown(entries: &[Entry]) -> Vec<bool> {
    let mut asked: Vec<(&Path, Vec<String>)> = Vec::new();
    entries
        .iter()
        .map(|entry| match &entry.record.place {
            None => false,
            Some(Place::Background) => background(entry).is_ok_and(|terminal| terminal.alive()),
            Some(Place::Window { socket, pane, .. }) => {
                let known = asked.iter().position(|(known, _)| known == socket).unwrap_or_else(|| {
                    let windows = Location::at(socket, pane).ok().and_then(|at| Tmux::new(&at).windows().ok());
                    let tokens = windows.unwrap_or_default().into_iter().map(|(token, _)| token).collect();
                    asked.push((socket, tokens));
                    asked.len() - 1
                });
                asked[known].1.contains(&entry.record.id)
            }
        })
        .collect()
}

/// Closes what shows a worktree and waits until its agent has ended. Answers whether there was anything.
pub(crate) fn close(entry: &Entry) -> Result<bool> {
    let state = entry.state();
    // A shell that has taken its place ends when it likes.
    let mut working: Vec<ProcessIdentity> = state.process.clone().filter(|_| state.running()).into_iter().collect();
    let closed = match find(entry) {
        None => false,
        Some(Shows::Background(terminal)) => {
            terminal.stop().wrap_err("its agent could not be ended")?;
            true
        }
        Some(Shows::Windows(tmux, windows)) => {
            working.extend(sandboxes(entry, &tmux, &windows));
            for window in windows {
                tmux.close(&window).wrap_err("its window could not be closed")?;
            }
            true
        }
    };
    if let Some(process) = working.iter().find(|process| !super::wait::ended(process, CLOSING)) {
        return Err(hinted(
            format!("the agent of '{}' (process {}) does not end", text::line(&entry.record.handle), process.pid),
            format!("look at it, or end it: kill -9 {}", process.pid),
        ));
    }
    Ok(closed)
}

/// The supervisors of the sandboxes in these windows: one that still brings commits over keeps the worktree in use.
fn sandboxes(entry: &Entry, tmux: &Tmux, windows: &[String]) -> Vec<ProcessIdentity> {
    let Some(state) = entry.directory.ancestors().nth(2) else { return Vec::new() };
    let panes: Vec<u32> = windows.iter().flat_map(|window| tmux.processes(window).unwrap_or_default()).collect();
    let live = runs::live(state).into_iter().map(|(_, run)| run);
    let own = live.filter(|run| run.worktree == entry.record.worktree && panes.contains(&run.supervisor.pid));
    own.map(|run| run.supervisor).collect()
}

/// The directory of the run that a worktree's agent works in, where it is in a sandbox and alive.
pub(crate) fn run_of(entry: &Entry, state: &Path) -> Option<PathBuf> {
    let at = entry.state();
    let run = at.run.clone().filter(|_| at.running())?;
    let live = runs::directory(state, &run);
    live.is_dir().then_some(live)
}

/// Closes the window that this very process runs in: it is told as when its terminal goes.
pub(crate) fn close_later(entry: &Entry) -> Result<()> {
    match find(entry) {
        Some(Shows::Windows(tmux, windows)) => {
            for window in windows {
                tmux.close(&window)?;
            }
        }
        Some(Shows::Background(terminal)) => {
            std::thread::Builder::new().name("close".into()).spawn(move || drop(terminal.stop()))?;
        }
        None => {}
    }
    Ok(())
}
