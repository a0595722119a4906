//! Owns one running command, from the spawned program to its exit status.
//!
//! It is given a way to run (a plan or a backend's session), the words for the first process and a terminal or plain
//! pipes. It knows neither flags nor configuration nor how backends are found; what happens around it (git, RPC,
//! records) is the caller's, told through [`Observer`].
//!
//! One loop waits for everything: the first process's frames, the program's end, signals, companions, a terminal that
//! goes away and the grace period. Nothing in it blocks.

mod child;
mod control;
mod door;
mod namespaces;
mod pipes;
mod pump;
mod session;
mod signals;
mod status;
mod terminal;
mod typing;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use color_eyre::eyre::{Report, Result, WrapErr as _};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep_until};
use workmux_guest::control::{FromGuest, Start, ToGuest};
use workmux_plugin_api::Plan;

use crate::error::hinted;
use crate::plugins::Exec;
pub use child::Reaping;
use child::{Environment, Running};
use control::Guest;
pub use door::{Door, KeyFile};
use pump::Pump;
pub(crate) use pump::show;
pub use signals::{Interrupted, Signals};
pub(crate) use signals::{Sudden, stop_ourselves};
pub use status::{Status, Unstarted};
pub(crate) use terminal::{UserTerminal, set_size};
pub use terminal::{is_interactive, terminal_size};
pub use typing::{MOST as MOST_TYPED, Typing};

/// How long the first process may take to report. Container engines need a while on a cold machine.
const FIRST_PROCESS: Duration = Duration::from_secs(120);
/// When somebody who waits for that is told so.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a command gets between a signal and the end.
pub const GRACE: Duration = Duration::from_secs(2);
/// How long the program may outlive the guest's command.
const AFTERMATH: Duration = Duration::from_secs(10);
/// How often a program that goes on because nobody reads is looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// One command to supervise.
pub struct Job {
    /// How the backend runs it.
    pub how: Exec,
    /// The first process's words; absent where the plan's program runs the command itself.
    pub first_process: Option<FirstProcess>,
    /// Give the command a terminal.
    pub terminal: bool,
    /// Variables for the backend's programs, besides those of the plan.
    pub tool_environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    /// What somebody else than the user types for the command, where it has a terminal.
    pub typing: Option<Arc<Typing>>,
    /// For messages.
    pub backend: String,
    /// What the sandbox is called, for messages.
    pub sandbox: String,
    /// A reason to end everything at once, without grace, should one come up.
    pub stop: Pin<Box<dyn Future<Output = Report>>>,
    /// Installed by the caller, for whom a signal means something earlier already.
    pub signals: Signals,
}

/// Where the first process reports and what it is told.
pub struct FirstProcess {
    /// Open.
    pub door: Door,
    /// What to run.
    pub start: Start,
}

/// Told of what happens, at once and without waiting.
pub trait Observer {
    /// The first process has connected; its process id on this machine where there is one.
    fn first_process(&mut self, pid: Option<u32>);
    /// The command runs.
    fn started(&mut self);
    /// The backend's program ended by itself after the command did.
    fn program_ended(&mut self) {}
    /// A line for the user; already cleaned.
    fn warn(&mut self, text: &str);
}

/// Runs the job to its end. Whatever the answer, the program and the guest are gone, and its companions are on their way
/// out: wait for them before the process ends.
///
/// # Errors
/// A failure before or around the command, to be reported with exit code 125.
pub async fn supervise(job: Job, observer: &mut dyn Observer) -> (Result<Status>, Reaping) {
    match begin(job).await {
        Ok(begun) => see_through(begun, observer).await,
        Err(report) => (Err(report), Reaping::default()),
    }
}

/// A program that has just been started.
struct Begun {
    signals: Signals,
    plan: Option<Plan>,
    running: Running,
    pump: Option<Pump>,
    guest: Option<Guest>,
    environment: Environment,
    backend: String,
    sandbox: String,
    stop: Pin<Box<dyn Future<Output = Report>>>,
}

async fn begin(job: Job) -> Result<Begun> {
    let signals = job.signals;
    let terminal = if job.terminal { Some(terminal::Terminal::take()?) } else { None };
    let environment = Environment(job.tool_environment);
    let (plan, running) = match job.how {
        Exec::Plan(plan) => {
            let running = Running::spawn(&plan, &environment, terminal.as_ref())
                .wrap_err_with(|| format!("backend '{}' could not start '{}'", job.backend, plan.program.display()))?;
            (Some(plan), running)
        }
        Exec::Session(session) => (None, Running::session(session, terminal.as_ref())?),
    };
    let pump = terminal.map(|terminal| Pump::start(terminal, job.typing)).transpose()?;
    let guest = job.first_process.map(|f| Guest::new(f.door, f.start));
    let (backend, sandbox, stop) = (job.backend, job.sandbox, job.stop);
    Ok(Begun { signals, plan, running, pump, guest, environment, backend, sandbox, stop })
}

async fn see_through(begun: Begun, observer: &mut dyn Observer) -> (Result<Status>, Reaping) {
    let Begun { mut signals, plan, mut running, pump, mut guest, environment, backend, sandbox, mut stop } = begun;
    let mut state = State {
        status: None,
        program_ended: None,
        asked_to_end: None,
        kill_at: None,
        report_by: Some(Instant::now() + FIRST_PROCESS),
        note_at: Some(Instant::now() + PATIENCE),
        direct: guest.is_none(),
        started: guest.is_none(),
        reported: false,
        killed: false,
        warnings: 0,
    };
    let mut companions = child::Companions::default();
    let mut reaping = Reaping::default();
    let mut failure: Option<Report> = None;

    while failure.is_none() && !state.over(guest.as_ref()) {
        tokio::select! {
            why = &mut stop => failure = Some(why),
            frame = Guest::next(&mut guest) => match frame {
                Ok(FromGuest::Hello { .. }) => {
                    state.report_by = None;
                    state.reported = true;
                    let pid = guest.as_ref().and_then(Guest::pid);
                    observer.first_process(pid);
                    if pump.is_none() {
                        // A person's terminal is in raw mode: there it is shown afterwards.
                        running.pass();
                    }
                    let wanted = plan.as_ref().map(|p| p.companions.as_slice()).unwrap_or_default();
                    if let Err(e) = companions.start(wanted, pid, &environment) {
                        failure = Some(e);
                    } else if let Some(guest) = &mut guest
                        && let Err(e) = guest.start().await
                    {
                        failure = Some(e.into());
                    }
                }
                Ok(frame) => {
                    state.take(frame, observer);
                    if state.status.is_some() {
                        // Nobody needs them any more; they go while the rest ends.
                        reaping.extend(companions.end());
                    }
                }
                Err(end) => {
                    guest = None;
                    // Without a status of its own the program's end decides; it must not take for ever.
                    state.kill_at.get_or_insert(Instant::now() + AFTERMATH);
                    match end {
                        Some(why) if why.raw_os_error().is_some() => {
                            observer.warn(&format!("the connection to the sandbox was lost: {why}"));
                        }
                        Some(why) => observer.warn(&format!("the sandbox's first process spoke nonsense: {why}")),
                        None => {}
                    }
                }
            },
            ended = running.wait(), if state.program_ended.is_none() => {
                if state.status.is_some() && !state.killed {
                    observer.program_ended();
                }
                state.program_ended = Some(ended);
                state.kill_at = Some(Instant::now() + AFTERMATH);
            }
            (purpose, why) = companions.failed() => {
                let text = format!("{purpose} failed{}", if why.is_empty() { String::new() } else { format!(": {why}") });
                if state.started {
                    observer.warn(&text);
                } else {
                    failure = Some(Report::msg(text));
                }
            }
            sudden = signals.next() => match sudden {
                Sudden::End(signal) => {
                    if state.asked_to_end.replace(signal).is_some() {
                        // Asked twice: no more waiting.
                        state.kill_at = Some(Instant::now());
                    } else {
                        state.kill_at = Some(Instant::now() + GRACE);
                        forward(&mut guest, &running, signal).await;
                    }
                }
                Sudden::Stop => {
                    forward(&mut guest, &running, Signal::SIGSTOP).await;
                    if let Some(pump) = &pump {
                        pump.suspend();
                    }
                    signals::stop_ourselves();
                    if let Some(pump) = &pump {
                        pump.resume();
                    }
                    forward(&mut guest, &running, Signal::SIGCONT).await;
                }
                Sudden::Resize => {
                    if let Some(pump) = &pump {
                        pump.resize(&running);
                    }
                }
            },
            () = pump::hung_up(pump.as_ref()), if state.asked_to_end.is_none() => {
                state.asked_to_end = Some(Signal::SIGHUP);
                state.kill_at = Some(Instant::now() + GRACE);
                forward(&mut guest, &running, Signal::SIGHUP).await;
            }
            () = at(state.kill_at) => {
                if state.asked_to_end.is_none() && state.status.is_some() && pipes::is_backed_up() {
                    // Nothing is wrong with a program that brings what was said to somebody who reads slowly.
                    state.kill_at = Some(Instant::now() + LOOK);
                    continue;
                }
                // The lifeline first: it ends everything inside, whatever the program does.
                guest = None;
                running.kill();
                state.killed = true;
                state.kill_at = None;
                if state.program_ended.is_some() {
                    break;
                }
            }
            () = at(state.note_at), if state.report_by.is_some() && state.program_ended.is_none() => {
                state.note_at = None;
                observer.warn(&format!(
                    "the sandbox has not started yet; waiting up to {} s (Ctrl-C ends it)",
                    FIRST_PROCESS.as_secs()
                ));
            }
            () = at(state.report_by) => {
                failure = Some(hinted(
                    format!("the sandbox did not start within {} s", FIRST_PROCESS.as_secs()),
                    "see what would be run: workmux sandbox agent --dry-run",
                ));
            }
        }
    }

    drop(guest);
    running.finish().await;
    reaping.extend(companions.end());
    if let Some(pump) = pump {
        pump.finish();
    }
    let said = running.kept();
    let status = match failure {
        Some(report) => Err(report),
        None => state.verdict(&backend, &sandbox, plan.as_ref(), &said),
    };
    if !said.is_empty() && status.is_ok() {
        crate::ui::raw_error(&said);
    }
    (status, reaping)
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn forward(guest: &mut Option<Guest>, running: &Running, signal: Signal) {
    match guest {
        // A guest that cannot be told any more ends by its lifeline.
        Some(guest) => drop(guest.send(&ToGuest::Signal(signal as i32)).await),
        None => running.signal(signal),
    }
}

/// What is known of the command so far.
struct State {
    status: Option<Status>,
    program_ended: Option<status::ProgramEnd>,
    asked_to_end: Option<Signal>,
    kill_at: Option<Instant>,
    report_by: Option<Instant>,
    /// Say that we still wait.
    note_at: Option<Instant>,
    /// No first process of ours: the program's status is the command's.
    direct: bool,
    started: bool,
    /// The first process said hello.
    reported: bool,
    /// The program did not end by itself.
    killed: bool,
    warnings: u32,
}

impl State {
    /// Nothing is left to wait for: the command's status is known, or the program ended and nobody can say more.
    fn over(&self, guest: Option<&Guest>) -> bool {
        self.program_ended.is_some() && (self.status.is_some() || guest.is_none_or(|g| !g.connected()))
    }

    fn take(&mut self, frame: FromGuest, observer: &mut dyn Observer) {
        match frame {
            FromGuest::Hello { .. } => {}
            FromGuest::Started => {
                self.started = true;
                observer.started();
            }
            FromGuest::Failed { code, reason } => {
                self.settle(Status::NotStarted { code, reason: crate::text::line(&reason) });
            }
            FromGuest::Exited { code } => self.settle(Status::Exited(code)),
            FromGuest::Signaled { signal } => self.settle(Status::Signaled(signal)),
            FromGuest::Warning { text } => {
                // A guest can take our first process over; it must not be able to flood the terminal with it.
                self.warnings += 1;
                if self.warnings <= 8 {
                    observer.warn(&crate::text::line(&text));
                }
            }
        }
    }

    fn settle(&mut self, status: Status) {
        self.status.get_or_insert(status);
        self.kill_at = Some(Instant::now() + AFTERMATH);
    }

    /// `said`: what the program said before the guest did.
    fn verdict(self, backend: &str, sandbox: &str, plan: Option<&Plan>, said: &str) -> Result<Status> {
        match (self.status, self.asked_to_end, self.program_ended) {
            (Some(status), _, _) => Ok(status),
            (None, Some(signal), _) => Ok(Status::Signaled(signal as i32)),
            (None, None, Some(end)) => match end.unstarted(backend, said) {
                Some(unstarted) if !self.direct && !self.reported => Err(Report::new(unstarted)),
                _ => end.verdict(backend, sandbox, plan, self.direct),
            },
            (None, None, None) => Err(Report::msg(format!("backend '{backend}' never ended the command"))),
        }
    }
}
