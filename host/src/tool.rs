//! Runs an external program to its end: with a deadline, bounded output, and no process left behind.
//!
//! Every program the host starts on its own behalf (git, tmux, a backend's tools) goes through [`run`]; only the
//! guest's command itself is the supervisor's. The child leads a process group of its own, which is killed as a whole
//! at the deadline or when the caller cancels. Blocking: async callers use a blocking thread.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

pub(crate) mod family;
pub mod stream;

/// What a question to a tool may take unless its caller knows better.
pub const QUESTION: Duration = Duration::from_secs(30);
/// Output beyond this is not kept and ends the tool: nobody reads more.
pub const MAX_OUTPUT: usize = 16 * 1024 * 1024;

/// What a tool left: its status and everything it printed.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard error as text, trimmed, for messages. Cleaned by whoever prints it.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

/// Why a tool gave no [`Output`].
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// No such program on the search path.
    #[error("'{program}' is not installed or not on PATH")]
    Missing {
        /// The program.
        program: String,
    },
    /// The program could not be started.
    #[error("could not start '{program}'")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It was killed at its deadline.
    #[error("'{program}' did not finish within {} s and was ended", .after.as_secs_f32())]
    Deadline {
        /// The program.
        program: String,
        /// The deadline.
        after: Duration,
    },
    /// It printed without end and was killed.
    #[error("'{program}' printed more than {} MiB and was ended", MAX_OUTPUT / 1024 / 1024)]
    Flood {
        /// The program.
        program: String,
    },
    /// The caller cancelled and it was killed.
    #[error("'{program}' was cancelled")]
    Cancelled {
        /// The program.
        program: String,
    },
    /// Talking to it failed.
    #[error("lost '{program}' while it ran")]
    Io {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// Lets another thread end a running tool.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<EventFd>);

impl Cancel {
    /// A handle that has not been used yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?)))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Ends the tool, and any tool started with this handle later.
    pub fn cancel(&self) {
        // The counter can only be full if it was cancelled already.
        let _already = self.0.write(1);
    }
}

/// Runs `command` with `input` on its standard input (empty = `/dev/null`).
pub fn run(command: &mut Command, input: &[u8], deadline: Duration) -> Result<Output, ToolError> {
    run_cancellable(command, input, deadline, None)
}

/// [`run`], ended early when `cancel` is used.
pub fn run_cancellable(
    command: &mut Command,
    input: &[u8],
    deadline: Duration,
    cancel: Option<&Cancel>,
) -> Result<Output, ToolError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let until = Instant::now() + deadline;
    let child = command
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ToolError::Missing { program: program.clone() },
            _ => ToolError::Start { program: program.clone(), source },
        })?;
    let mut running = Running { child, ended: false };
    let result = running.collect(input, until, cancel);
    match result {
        Ok(output) => Ok(output),
        Err(Stop::Deadline) => Err(ToolError::Deadline { program, after: deadline }),
        Err(Stop::Flood) => Err(ToolError::Flood { program }),
        Err(Stop::Cancelled) => Err(ToolError::Cancelled { program }),
        Err(Stop::Io(source)) => Err(ToolError::Io { program, source }),
    }
}

enum Stop {
    Deadline,
    Flood,
    Cancelled,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<nix::Error> for Stop {
    fn from(e: nix::Error) -> Self {
        Self::Io(e.into())
    }
}

/// A started tool; dropping it early kills its group and reaps it.
struct Running {
    child: Child,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also after a normal end: a tool that leaves background children behind leaves them in its group.
        let _gone = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        if !self.ended {
            let _reaped = self.child.wait();
        }
    }
}

impl Running {
    fn collect(&mut self, input: &[u8], until: Instant, cancel: Option<&Cancel>) -> Result<Output, Stop> {
        let mut stdin = self.child.stdin.take();
        let (mut stdout, mut stderr) = (self.child.stdout.take(), self.child.stderr.take());
        for fd in [stdin.as_ref().map(AsFd::as_fd), stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)]
            .into_iter()
            .flatten()
        {
            set_nonblocking(fd)?;
        }
        let (mut out, mut err, mut written) = (Vec::new(), Vec::new(), 0);
        // A child that is gone ends the wait even if a grandchild still holds the pipes.
        let pidfd = pidfd_open(self.child.id())?;
        let mut exited = false;
        while !exited {
            let timeout = remaining(until)?;
            let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            let cancel_at = cancel.map(|c| push(&mut fds, c.0.as_fd(), PollFlags::POLLIN));
            let in_at = stdin.as_ref().map(|p| push(&mut fds, p.as_fd(), PollFlags::POLLOUT));
            let out_at = stdout.as_ref().map(|p| push(&mut fds, p.as_fd(), PollFlags::POLLIN));
            let err_at = stderr.as_ref().map(|p| push(&mut fds, p.as_fd(), PollFlags::POLLIN));
            match poll(&mut fds, timeout) {
                Err(nix::Error::EINTR) => continue,
                other => other?,
            };
            let ready: Vec<bool> = fds.iter().map(|f| f.revents().is_some_and(|r| !r.is_empty())).collect();
            drop(fds);
            if cancel_at.is_some_and(|i| ready[i]) {
                return Err(Stop::Cancelled);
            }
            if in_at.is_some_and(|i| ready[i])
                && let Some(pipe) = &mut stdin
            {
                match pipe.write(&input[written..]) {
                    Ok(n) => written += n,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    // The tool does not want the rest; its status says whether that was right.
                    Err(_) => written = input.len(),
                }
                if written == input.len() {
                    stdin = None;
                }
            }
            if out_at.is_some_and(|i| ready[i]) {
                drain(&mut stdout, &mut out)?;
            }
            if err_at.is_some_and(|i| ready[i]) {
                drain(&mut stderr, &mut err)?;
            }
            exited = ready[0];
        }
        let status = self.child.wait()?;
        self.ended = true;
        drain(&mut stdout, &mut out)?;
        drain(&mut stderr, &mut err)?;
        Ok(Output { status, stdout: out, stderr: err })
    }
}

fn push<'a>(fds: &mut Vec<PollFd<'a>>, fd: BorrowedFd<'a>, flags: PollFlags) -> usize {
    fds.push(PollFd::new(fd, flags));
    fds.len() - 1
}

fn remaining(until: Instant) -> Result<PollTimeout, Stop> {
    let left = until.checked_duration_since(Instant::now()).ok_or(Stop::Deadline)?;
    Ok(PollTimeout::try_from(left.as_millis().min(i32::MAX as u128) as i32 + 1).unwrap_or(PollTimeout::MAX))
}

/// Reads what is there; closes the pipe at its end.
fn drain(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> Result<(), Stop> {
    let mut chunk = [0; 64 * 1024];
    while let Some(open) = pipe {
        match open.read(&mut chunk) {
            Ok(0) => *pipe = None,
            Ok(n) => {
                into.extend_from_slice(&chunk[..n]);
                if into.len() > MAX_OUTPUT {
                    return Err(Stop::Flood);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn set_nonblocking(fd: BorrowedFd) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// A descriptor that stands for this very process, also when it is gone and its number belongs to another.
#[expect(unsafe_code, reason = "pidfd_open has no safe wrapper in nix")]
pub(crate) fn pidfd_open(pid: u32) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: a plain system call; the descriptor it returns is new and ours alone.
    unsafe {
        match libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(std::os::fd::OwnedFd::from_raw_fd(fd as i32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut c = Command::new("/bin/sh");
        c.args(["-c", script]);
        c
    }

    #[test]
    fn input_output_and_status_arrive() {
        let big = vec![b'x'; 1 << 20];
        let out = run(&mut sh("cat; echo oops >&2; exit 3"), &big, QUESTION).unwrap();
        assert_eq!((out.status.code(), out.stdout.len(), out.stderr_text().as_str()), (Some(3), 1 << 20, "oops"));
    }

    #[test]
    fn a_hanging_tool_is_ended_with_its_children() {
        let started = Instant::now();
        let error = run(&mut sh("sleep 1000 & wait"), b"", Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, ToolError::Deadline { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn endless_output_is_cut() {
        assert!(matches!(run(&mut sh("yes"), b"", QUESTION).unwrap_err(), ToolError::Flood { .. }));
    }

    #[test]
    fn a_background_child_that_keeps_the_pipes_does_not_hold_us() {
        let out = run(&mut sh("sleep 1000 & echo done"), b"", QUESTION).unwrap();
        assert_eq!(out.stdout, b"done\n");
    }

    #[test]
    fn a_missing_tool_is_said_to_be_missing() {
        let error = run(&mut Command::new("/nonexistent/tool"), b"", QUESTION).unwrap_err();
        assert!(matches!(error, ToolError::Missing { .. }));
    }

    #[test]
    fn another_thread_can_cancel() {
        let cancel = Cancel::new().unwrap();
        let other = cancel.clone();
        let thread = std::thread::spawn(move || other.cancel());
        let error = run_cancellable(&mut sh("sleep 1000"), b"", QUESTION, Some(&cancel)).unwrap_err();
        thread.join().unwrap();
        assert!(matches!(error, ToolError::Cancelled { .. }));
    }
}
