//! Runs an external program that works long, and hands its output over line by line while it runs.
//!
//! A thread of its own waits for it. When nobody reads on, the program waits in its output, so nothing piles up. Ended
//! early it may tidy up, and is killed a little later.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::Notify;

use super::{Cancel, ToolError, family, pidfd_open, set_nonblocking};

/// What a program that is ended gets to tidy up.
pub const TIDY: Duration = Duration::from_secs(3);
/// Lines that wait for a reader.
const WAITING: usize = 512;
/// A line that is longer goes on as another one.
const LONGEST: usize = 8192;
/// How wide the pseudo-terminal is: progress fits on a line, and few tools draw bars on a narrow one.
const SIZE: Winsize = Winsize { ws_row: 50, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };

/// What happened next.
#[derive(Debug)]
pub enum Happened {
    /// It printed these lines, on either stream.
    Printed(Vec<String>),
    /// It ended with this code, or by a signal.
    Ended(Option<i32>),
}

/// A program that runs. Dropping this ends it.
pub struct Stream {
    shared: Arc<Shared>,
    cancel: Cancel,
}

struct Shared {
    state: Mutex<State>,
    /// Told of each change of the state.
    changed: Notify,
    /// Written to when a reader has taken lines.
    room: EventFd,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    end: Option<Result<Option<i32>, ToolError>>,
    /// Its thread is done, and the program gone.
    gone: bool,
}

impl Stream {
    /// Starts it, with its output on a pseudo-terminal where it shows progress only there. `at_end` runs on its thread
    /// when it is gone.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(
        mut command: Command,
        terminal: bool,
        work_goes_on: bool,
        deadline: Option<Duration>,
        cancel: Cancel,
        at_end: impl FnOnce() + Send + 'static,
    ) -> Result<Self, ToolError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let lost = |source: io::Error| ToolError::Io { program: program.clone(), source };
        let (output, theirs) = if terminal {
            let pair = openpty(Some(&SIZE), None).map_err(|e| lost(e.into()))?;
            (pair.master, pair.slave)
        } else {
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| lost(e.into()))?
        };
        // `openpty` leaves them open in programs that other threads start.
        for end in [&output, &theirs] {
            use nix::fcntl::{FcntlArg, FdFlag, fcntl};
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|e| lost(e.into()))?;
        }
        let room = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(|e| lost(e.into()))?;
        let errors = theirs.try_clone().map_err(lost)?;
        command.stdin(Stdio::null()).stdout(theirs).stderr(errors).process_group(0);
        end_with_us(&mut command);
        let child = command.spawn();
        // Its copies of the descriptors would keep the output from ending.
        drop(command);
        let child = child.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ToolError::Missing { program: program.clone() },
            _ => ToolError::Start { program: program.clone(), source },
        })?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Notify::new(), room });
        let mut waiter = Waiter {
            child: Running { child, reaped: false },
            program,
            output: File::from(output),
            work_goes_on,
            rest: Vec::new(),
            shared: Arc::clone(&shared),
            cancel: cancel.clone(),
            until: deadline.map(|deadline| (Instant::now() + deadline, deadline)),
        };
        set_nonblocking(waiter.output.as_fd())
            .map_err(|e| ToolError::Io { program: waiter.program.clone(), source: e.into() })?;
        let body = move || {
            let end = waiter.wait();
            waiter.flush();
            let shared = Arc::clone(&waiter.shared);
            drop(waiter);
            at_end();
            let mut state = shared.lock();
            state.end = Some(end);
            state.gone = true;
            drop(state);
            shared.changed.notify_one();
        };
        thread::Builder::new()
            .name("tool".into())
            .spawn(body)
            .map_err(|source| ToolError::Start { program: "a thread".into(), source })?;
        Ok(Self { shared, cancel })
    }

    /// Waits for what happens next. One caller at a time. Cancel-safe.
    ///
    /// # Errors
    /// Its deadline, or it was cancelled.
    pub async fn next(&self) -> Result<Happened, ToolError> {
        loop {
            if let Some(happened) = self.take() {
                return happened;
            }
            self.shared.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Result<Happened, ToolError>> {
        let mut state = self.shared.lock();
        if !state.lines.is_empty() {
            let lines = state.lines.drain(..).collect();
            let _full = self.shared.room.write(1);
            return Some(Ok(Happened::Printed(lines)));
        }
        let end = state.end.take()?;
        // Asked again, it answers the same.
        state.end = Some(match &end {
            Ok(code) => Ok(*code),
            Err(_) => Err(ToolError::Cancelled { program: "it".into() }),
        });
        Some(end.map(Happened::Ended))
    }

    /// Ends it and waits until it is gone.
    pub async fn end(&self) {
        self.cancel.cancel();
        while !self.shared.lock().gone {
            self.shared.changed.notified().await;
        }
    }
}

/// Has the program asked to end when this process is killed. It hangs on the thread that starts it, which for a call of
/// a backend lives as long as the call.
#[expect(unsafe_code, reason = "what runs between fork and exec")]
fn end_with_us(command: &mut Command) {
    // SAFETY: one system call, which allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The program's process group, killed as a whole when it is done.
struct Running {
    child: Child,
    reaped: bool,
}

impl Running {
    fn signal(&self, signal: Signal) {
        let _gone = killpg(Pid::from_raw(self.child.id() as i32), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also after a normal end: what it left in the background is in its group.
        self.signal(Signal::SIGKILL);
        if !self.reaped {
            let _reaped = self.child.wait();
        }
    }
}

/// What the thread works with.
struct Waiter {
    child: Running,
    program: String,
    output: File,
    /// What it has started is not ended with it.
    work_goes_on: bool,
    /// The beginning of a line.
    rest: Vec<u8>,
    shared: Arc<Shared>,
    cancel: Cancel,
    until: Option<(Instant, Duration)>,
}

impl Waiter {
    fn wait(&mut self) -> Result<Option<i32>, ToolError> {
        let lost = |program: &str, source: io::Error| ToolError::Io { program: program.to_owned(), source };
        let pidfd = pidfd_open(self.child.child.id()).map_err(|e| lost(&self.program, e))?;
        let mut open = true;
        loop {
            let full = self.shared.lock().lines.len() >= WAITING;
            let left = self.until.map(|(until, _)| until.saturating_duration_since(Instant::now()));
            let ready = self.poll(&pidfd, open && !full, full, left).map_err(|e| lost(&self.program, e))?;
            if ready.cancelled {
                self.dismiss(&pidfd);
                return Err(ToolError::Cancelled { program: self.program.clone() });
            }
            if ready.output {
                open = self.read();
            }
            if ready.exited {
                // What is left in a pipe; a child in the background could go on for ever.
                let mut rest = 64;
                while open && rest > 0 && self.read_some() {
                    rest -= 1;
                }
                let status = self.child.child.wait().map_err(|e| lost(&self.program, e))?;
                self.child.reaped = true;
                return Ok(status.code());
            }
            if left.is_some_and(|left| left.is_zero()) {
                self.dismiss(&pidfd);
                let after = self.until.map(|(_, after)| after).unwrap_or_default();
                return Err(ToolError::Deadline { program: self.program.clone(), after });
            }
        }
    }

    fn poll(&self, pidfd: &OwnedFd, output: bool, full: bool, left: Option<Duration>) -> io::Result<Ready> {
        let mut fds =
            vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN), PollFd::new(self.cancel.fd(), PollFlags::POLLIN)];
        if output {
            fds.push(PollFd::new(self.output.as_fd(), PollFlags::POLLIN));
        } else if full {
            fds.push(PollFd::new(self.shared.room.as_fd(), PollFlags::POLLIN));
        }
        let timeout = match left {
            // A little later than the deadline, so that it is over then.
            Some(left) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => return Ok(Ready::default()),
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.revents().is_some_and(|r| !r.is_empty())).collect();
        drop(fds);
        if !output && full {
            let _empty = self.shared.room.read();
        }
        Ok(Ready { exited: ready[0], cancelled: ready[1], output: output && ready.get(2) == Some(&true) })
    }

    /// Reads once; whether there may be more, now or later.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.output.read(&mut chunk) {
            // The other end of a pseudo-terminal that is gone is an error.
            Ok(0) => false,
            Ok(count) => {
                self.split(&chunk[..count]);
                true
            }
            Err(e) => matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Reads what is there already; whether there was something.
    fn read_some(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        let count = self.output.read(&mut chunk).unwrap_or(0);
        self.split(&chunk[..count]);
        count > 0
    }

    fn split(&mut self, bytes: &[u8]) {
        let mut lines = Vec::new();
        for &byte in bytes {
            let ends = matches!(byte, b'\n' | b'\r');
            if !ends {
                self.rest.push(byte);
            }
            if ends || self.rest.len() >= LONGEST {
                lines.extend(shown(&std::mem::take(&mut self.rest)));
            }
        }
        self.put(lines);
    }

    fn flush(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.put(shown(&rest).into_iter().collect());
    }

    fn put(&self, lines: Vec<String>) {
        if !lines.is_empty() {
            self.shared.lock().lines.extend(lines);
            self.shared.changed.notify_one();
        }
    }

    /// Ends its work, or asks it to end; waits a little, and lets `Running` kill what is left. What it prints is not kept,
    /// but read: it must not wait for a reader.
    fn dismiss(&mut self, pidfd: &OwnedFd) {
        let mut asked = self.work_goes_on || !family::kill_work_of(self.child.child.id());
        if asked {
            self.child.signal(Signal::SIGTERM);
        }
        let until = Instant::now() + TIDY;
        let ask = Instant::now() + TIDY / 2;
        let mut open = true;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            if open {
                fds.push(PollFd::new(self.output.as_fd(), PollFlags::POLLIN));
            }
            let mut left = left;
            if !asked {
                match ask.checked_duration_since(Instant::now()) {
                    Some(before) => left = before,
                    None => {
                        self.child.signal(Signal::SIGTERM);
                        asked = true;
                    }
                }
            }
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            if poll(&mut fds, timeout).is_err_and(|e| e != nix::Error::EINTR) {
                return;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.revents().is_some_and(|r| !r.is_empty())).collect();
            drop(fds);
            if ready[0] {
                return;
            }
            if ready.get(1) == Some(&true) {
                let mut chunk = [0; 16 * 1024];
                open = match self.output.read(&mut chunk) {
                    Ok(count) => count > 0,
                    Err(e) => matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
                };
            }
        }
    }
}

#[derive(Default)]
struct Ready {
    exited: bool,
    cancelled: bool,
    output: bool,
}

/// A line as it may be shown, if there is anything to see.
fn shown(bytes: &[u8]) -> Option<String> {
    let line = crate::text::line(&String::from_utf8_lossy(bytes));
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str, terminal: bool, deadline: Option<Duration>) -> Stream {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Stream::start(command, terminal, false, deadline, Cancel::new().unwrap(), || {}).unwrap()
    }

    fn all(stream: &Stream) -> (Vec<String>, Result<Option<i32>, ToolError>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut lines = Vec::new();
            loop {
                match stream.next().await {
                    Ok(Happened::Printed(more)) => lines.extend(more),
                    Ok(Happened::Ended(code)) => return (lines, Ok(code)),
                    Err(e) => return (lines, Err(e)),
                }
            }
        })
    }

    #[test]
    fn lines_of_both_streams_and_the_code_arrive() {
        for terminal in [false, true] {
            let script = r"printf 'one\r\033[2Ktwo\033[1A\n\n'; echo three >&2; printf end; exit 3";
            let (lines, end) = all(&start(script, terminal, None));
            assert_eq!(lines, ["one", "two", "three", "end"], "terminal: {terminal}");
            assert_eq!(end.unwrap(), Some(3));
        }
    }

    #[test]
    fn it_sees_a_terminal_only_where_that_is_asked_for() {
        for terminal in [false, true] {
            let (_, end) = all(&start("test -t 1 && test -t 2 && ! test -t 0", terminal, None));
            assert_eq!(end.unwrap(), Some(i32::from(!terminal)));
        }
    }

    #[test]
    fn much_output_waits_for_its_reader_and_arrives_whole() {
        let (lines, end) = all(&start("seq 100000", false, None));
        assert_eq!((lines.len(), end.unwrap()), (100_000, Some(0)));
        assert_eq!(lines.last().map(String::as_str), Some("100000"));
    }

    #[test]
    fn a_deadline_ends_it() {
        let (_, end) = all(&start("sleep 1000", false, Some(Duration::from_millis(100))));
        assert!(matches!(end, Err(ToolError::Deadline { .. })), "{end:?}");
    }

    #[test]
    fn ended_early_it_may_tidy_up_and_is_then_gone() {
        let temp = tempfile::tempdir().unwrap();
        let (ready, tidy) = (temp.path().join("ready"), temp.path().join("tidy"));
        let script = format!("trap 'echo > {}; exit' TERM; echo ready; while :; do sleep 0.01; done", tidy.display());
        let stream = start(&script, false, None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert!(matches!(stream.next().await, Ok(Happened::Printed(_))));
            stream.end().await;
        });
        assert!(tidy.exists() && !ready.exists());
    }
}
