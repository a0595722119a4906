//! The first process of a sandbox, and the parent of each further command in it.
//!
//! One thread, one poll loop over the supervisor's connection, signals, and whatever the current phase waits for;
//! nothing in it blocks, so the lifeline is noticed in every phase. This file owns the order of events. How a command is
//! started is [`command`], the supervisor's connection is [`link`] and where it leads [`place`], ending everything is
//! [`reap`].

mod command;
mod end;
mod limits;
mod link;
mod place;
mod reap;
mod signals;
mod terminal;

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::unistd::{Pid, getpid};
use workmux_guest::RPC_SOCKET;
use workmux_guest::control::{FromGuest, Start, ToGuest, VERSION};

use crate::relay::Relay;
use crate::route::RouteWatch;
use crate::{confine, output};
use command::{Command, Failure, Report, Reports};
use end::End;
use link::Link;
pub(crate) use place::Place;
use signals::{Arrival, Signals};

const ROUTE: Duration = Duration::from_secs(10);
/// A command that stops again right after it was continued is continued at this pace.
const CONTINUE: Duration = Duration::from_millis(100);

/// Which of the two this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The sandbox's first process: the sandbox ends with it.
    First,
    /// A further command in a running sandbox: only what it started ends with it.
    Further,
}

impl Role {
    /// The word that chooses it on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::First => "init",
            Self::Further => "exec",
        }
    }
}

/// Runs one conversation from its beginning to the exit code.
pub(crate) fn run(role: Role, place: &Place) -> u8 {
    let set_up = || -> Result<Signals, String> {
        if role == Role::Further {
            // Whoever entered a running sandbox may have arrived with all its capabilities.
            confine::drop_privileges().map_err(|(step, e)| format!("{}: {}", step.what(), e.desc()))?;
        }
        if getpid().as_raw() != 1 {
            prctl::set_child_subreaper(true).map_err(|e| format!("could not become a reaper: {e}"))?;
        }
        Signals::take_over().map_err(|e| format!("could not take over signals: {e}"))
    };
    let signals = match set_up() {
        Ok(signals) => signals,
        Err(why) => return broken("could not set up the sandbox's first process", &why),
    };
    match Link::connect(place, &signals) {
        Ok(link) => Conversation::new(role, place, link, signals).run(),
        Err(e) => broken(&format!("could not reach the supervisor at '{place}'"), &e.to_string()),
    }
}

/// There is no supervisor to tell: standard error has to do.
fn broken(what: &str, why: &str) -> u8 {
    output::error(what, Some(why));
    125
}

/// What is being waited for.
enum Phase {
    /// The supervisor's `Start`.
    Start,
    /// A default route.
    Route { start: Box<Start>, watch: RouteWatch, deadline: Instant },
    /// `execve` in the child.
    Exec { command: Box<Command>, child: Pid, reports: Reports },
    /// The end of the command.
    Command { terminal: bool, child: Pid },
}

struct Conversation {
    role: Role,
    rpc: PathBuf,
    link: Link,
    signals: Signals,
    relay: Option<Relay>,
    phase: Phase,
    /// The supervisor stopped the command itself and will continue it.
    stopped_by_host: bool,
    /// When a command that stopped is continued, and when that last happened.
    continue_at: Option<Instant>,
    continued: Option<Instant>,
}

impl Conversation {
    fn new(role: Role, place: &Place, link: Link, signals: Signals) -> Self {
        Self {
            role,
            rpc: place.sibling(RPC_SOCKET),
            link,
            signals,
            relay: None,
            phase: Phase::Start,
            stopped_by_host: false,
            continue_at: None,
            continued: None,
        }
    }

    fn run(mut self) -> u8 {
        let end = match self.converse() {
            Ok(never) => match never {},
            Err(end) => end,
        };
        if self.role == Role::First && matches!(end, End::Command(_)) {
            for line in limits::hit() {
                let _ = self.warn(line);
            }
        }
        if let Some(message) = end.message() {
            // A supervisor that is gone learns nothing, and what follows is the same.
            let _ = self.link.send(&message);
        }
        reap::end_everything(&self.signals);
        end.code()
    }

    /// The poll loop. It only ends by an [`End`].
    fn converse(&mut self) -> Result<std::convert::Infallible, End> {
        self.link.send(&FromGuest::Hello { version: VERSION })?;
        loop {
            self.wait()?;
            while let Some(message) = self.link.receive()? {
                match message {
                    ToGuest::Start(start) if matches!(self.phase, Phase::Start) => self.prepare(start)?,
                    ToGuest::Start(_) => return Err(End::Lifeline),
                    ToGuest::Signal(signal) => self.signal(signal, true)?,
                }
            }
            while let Some(arrival) = self.signals.next() {
                match arrival {
                    Arrival::Child => self.reap()?,
                    Arrival::Forward(signal) => self.signal(signal, false)?,
                }
            }
            self.advance()?;
        }
    }

    /// Waits for the next event or deadline.
    fn wait(&mut self) -> Result<(), End> {
        let (extra, deadline) = match &self.phase {
            Phase::Route { watch, deadline, .. } => (Some(watch.as_fd()), Some(watch.look_again().min(*deadline))),
            Phase::Exec { reports, .. } => (Some(reports.as_fd()), None),
            Phase::Start | Phase::Command { .. } => (None, self.continue_at),
        };
        let mut fds = vec![
            PollFd::new(self.link.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(extra.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match poll(&mut fds, poll_timeout(left)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            // Without poll there is no lifeline.
            Err(_) => Err(End::Lifeline),
        }
    }

    fn prepare(&mut self, start: Start) -> Result<(), End> {
        if start.relay {
            let problem = match Relay::start(&self.rpc) {
                Ok((relay, down)) => {
                    self.relay = Some(relay);
                    down.map(|e| format!("the loopback interface is down and could not be brought up: {e}"))
                }
                Err(e) => Some(e.to_string()),
            };
            if let Some(why) = problem {
                self.warn(format!("programs that dial TCP cannot reach workmux from this sandbox: {why}"))?;
            }
        }
        if start.wait_for_route {
            match RouteWatch::new() {
                Ok(watch) => {
                    let deadline = Instant::now() + ROUTE;
                    self.phase = Phase::Route { start: Box::new(start), watch, deadline };
                    return Ok(());
                }
                Err(e) => self.warn(format!("cannot see whether the network is ready: {e}"))?,
            }
        }
        self.start(&start)
    }

    /// Starts the command.
    fn start(&mut self, start: &Start) -> Result<(), End> {
        // From here on no process of the same user may look into or steer this one. Not before: what attaches a
        // network from outside watches this process's entry in the host's /proc.
        prctl::set_dumpable(false)
            .map_err(|e| Failure::ours(format!("could not protect the first process: {}", e.desc())))?;
        if self.role == Role::First {
            // The interfaces are up: from here on this process needs no capability either. What it cannot drop,
            // the command still does, or is not started.
            let _ = confine::drop_privileges();
        }
        if start.terminal
            && let Err(e) = terminal::acquire()
        {
            self.warn(format!("the terminal is not under the sandbox's control, Ctrl-C may not work: {}", e.desc()))?;
        }
        if let (true, Some((rows, columns))) = (start.terminal, start.size) {
            // What cannot be set now comes with the next change.
            let _ = crate::sys::set_terminal_size(std::io::stdin().as_fd(), rows, columns);
        }
        let command = Command::new(start, &self.relay.as_ref().map(Relay::variables).unwrap_or_default())?;
        let (child, reports) = command.spawn()?;
        self.phase = Phase::Exec { command: Box::new(command), child, reports };
        Ok(())
    }

    /// Does what the current phase waited for, if it has come.
    fn advance(&mut self) -> Result<(), End> {
        match &mut self.phase {
            Phase::Start => {}
            Phase::Route { start, watch, deadline } => {
                let start = match watch.arrived() {
                    Ok(true) => std::mem::take(start),
                    Ok(false) if Instant::now() < *deadline => return Ok(()),
                    Ok(false) => {
                        let start = std::mem::take(start);
                        let text = format!("the sandbox has no network route after {} s, going on", ROUTE.as_secs());
                        self.warn(text)?;
                        start
                    }
                    Err(e) => {
                        let start = std::mem::take(start);
                        self.warn(format!("cannot see whether the network is ready: {e}"))?;
                        start
                    }
                };
                self.start(&start)?;
            }
            Phase::Exec { command, child, reports } => {
                let Some(reports) = reports.complete() else { return Ok(()) };
                let (terminal, child) = (command.terminal, *child);
                for report in reports {
                    match report {
                        Report::NoForeground(error) => self.link.send(&warning(command::no_foreground(error)))?,
                        report => return Err(command.explain(report).into()),
                    }
                }
                self.phase = Phase::Command { terminal, child };
                self.link.send(&FromGuest::Started)?;
            }
            Phase::Command { child, .. } => {
                if self.continue_at.is_some_and(|at| Instant::now() >= at) {
                    let _ = crate::sys::kill(-child.as_raw(), libc::SIGCONT);
                    self.continue_at = None;
                    self.continued = Some(Instant::now());
                }
            }
        }
        Ok(())
    }

    /// Passes a signal on to the command's process group.
    fn signal(&mut self, signal: i32, from_host: bool) -> Result<(), End> {
        let child = match &self.phase {
            Phase::Start | Phase::Route { .. } => {
                let ends = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGKILL];
                return if ends.contains(&signal) { Err(End::Signal(signal)) } else { Ok(()) };
            }
            Phase::Exec { child, .. } | Phase::Command { child, .. } => child.as_raw(),
        };
        if from_host {
            match signal {
                libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => self.stopped_by_host = true,
                libc::SIGCONT => self.stopped_by_host = false,
                _ => {}
            }
        }
        // The group does not exist yet in the child's first moments.
        if crate::mutant::off("p57_group") || crate::sys::kill(-child, signal).is_err() {
            let _ = crate::sys::kill(child, signal);
        }
        Ok(())
    }

    /// Takes note of every child that ended or stopped.
    fn reap(&mut self) -> Result<(), End> {
        while let Ok(Some((pid, status))) = crate::sys::next_change() {
            let stopped = status.stopped_signal();
            match &self.phase {
                Phase::Exec { child, .. } | Phase::Command { child, .. } if *child == pid => match stopped {
                    Some(signal) => self.stopped(pid, signal),
                    None => return self.ended(status),
                },
                _ if stopped.is_none() && self.relay.as_ref().is_some_and(|relay| relay.pid() == pid) => {
                    self.relay_died()?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The command stopped. On a terminal nobody but us could continue it, unless the supervisor means to.
    fn stopped(&mut self, child: Pid, signal: i32) {
        let on_terminal = match &self.phase {
            Phase::Exec { command, .. } => command.terminal,
            Phase::Command { terminal, .. } => *terminal,
            _ => false,
        };
        if !on_terminal || self.stopped_by_host {
            return;
        }
        if [libc::SIGTTIN, libc::SIGTTOU].contains(&signal) {
            // It wants the terminal and is not its foreground.
            let _ = terminal::make_foreground(child);
        }
        let now = Instant::now();
        self.continue_at = Some(self.continued.map_or(now, |last| now.max(last + CONTINUE)));
    }

    /// The command ended. It may have done so before its report was read.
    fn ended(&mut self, status: ExitStatus) -> Result<(), End> {
        if matches!(self.phase, Phase::Exec { .. }) {
            self.advance()?;
        }
        Err(End::Command(status))
    }

    fn relay_died(&mut self) -> Result<(), End> {
        let again = self.relay.as_mut().is_some_and(Relay::restart);
        self.warn(format!(
            "the relay for programs that dial TCP ended{}",
            if again { " and was started again" } else { ", they cannot reach workmux any more" }
        ))
    }

    fn warn(&mut self, text: String) -> Result<(), End> {
        Ok(self.link.send(&warning(text))?)
    }
}

fn warning(text: String) -> FromGuest {
    FromGuest::Warning { text }
}

/// A `poll` timeout that never ends before its time; `None` waits without end.
fn poll_timeout(left: Option<Duration>) -> PollTimeout {
    left.map_or(PollTimeout::NONE, |left| {
        let millis = left.as_micros().div_ceil(1000);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    })
}
