//! From a caller to a running supervisor, and from the supervisor to the command: the stages of one start, each of them
//! this program anew (`workmux __detached`), so that nothing has to be done between a fork and an exec.
//!
//! What goes wrong in a stage is said on its standard error, which is a pipe to whoever waits for it: the caller for the
//! supervisor, the supervisor for the command.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, absolute};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::termios::tcgetsid;
use nix::unistd::{Pid, setsid};

use super::{Error, supervise};

/// How long the command may take to be started.
const START: Duration = Duration::from_secs(10);
/// What the supervisor says when it is.
pub(super) const READY: &str = "ready\n";
/// More than any reason is long.
const MAX_REASON: u64 = 16 * 1024;

/// What the terminal's command is told to be on.
const TERM: &str = "xterm-256color";
/// Variables about the caller's own terminal: wrong on another one, where a program would talk to the wrong window.
const OF_THE_TERMINAL: [&str; 8] =
    ["TMUX", "TMUX_PANE", "STY", "WINDOW", "COLUMNS", "LINES", "TERM_PROGRAM", "TERM_PROGRAM_VERSION"];

/// Which process of a start this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The one that leaves the caller's session, starts the supervisor and is gone.
    Leave,
    /// The supervisor.
    Supervise,
    /// The one that becomes the command.
    Become,
}

/// Starts it all, and waits until the command runs.
pub(super) fn start(
    directory: &Path,
    program: &Path,
    words: &[OsString],
    cwd: &Path,
    set_env: &[(OsString, OsString)],
) -> Result<(), Error> {
    let failed = |why: String| Error::Start { program: program.to_owned(), why };
    let paths = absolute(directory).and_then(|directory| Ok((directory, absolute(cwd)?)));
    let (directory, cwd) = paths.map_err(|e| failed(e.to_string()))?;
    let command_line: Vec<OsString> = std::iter::once(program.into()).chain(words.iter().cloned()).collect();
    let (said, theirs) = io::pipe().map_err(|e| failed(e.to_string()))?;
    let mut first = itself(Stage::Leave, &directory, &cwd, &command_line);
    for name in OF_THE_TERMINAL {
        first.env_remove(name);
    }
    first.envs(set_env.iter().map(|(name, value)| (name, value)));
    first.stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs);
    let mut child = first.spawn().map_err(|e| failed(e.to_string()))?;
    // It holds the pipe's other end, whose last closing is an end.
    drop(first);
    let outcome = listen(said, Instant::now() + START);
    if outcome.is_err() {
        end(&mut child);
    }
    // Not before: its number is that of the session in which the supervisor would have to be ended.
    let _reaped = child.wait();
    outcome.map_err(failed)
}

/// Nothing of a failed start is left. The command, which has a session of its own, is hung up on with its terminal.
fn end(first: &mut Child) {
    let _gone = killpg(Pid::from_raw(first.id() as i32), Signal::SIGKILL);
    let _gone = first.kill();
}

/// Hears the supervisor out; what it says other than that it is ready is why it is not.
fn listen(mut said: PipeReader, until: Instant) -> Result<(), String> {
    let (mut heard, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let left = until
            .checked_duration_since(Instant::now())
            .ok_or_else(|| format!("its supervisor was not ready within {} s, and was ended", START.as_secs()))?;
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(said.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(nix::Error::EINTR) => continue,
            Err(e) => return Err(e.to_string()),
            Ok(_) => {}
        }
        match said.read(&mut chunk) {
            Ok(0) => return Err(reason(&heard, "its supervisor ended without a word")),
            Ok(n) => heard.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.to_string()),
        }
        if heard.ends_with(READY.as_bytes()) {
            return Ok(());
        }
        if heard.len() as u64 > MAX_REASON {
            return Err(reason(&heard, ""));
        }
    }
}

fn reason(heard: &[u8], otherwise: &str) -> String {
    let text = crate::text::line(String::from_utf8_lossy(heard).trim());
    if text.is_empty() { otherwise.to_owned() } else { text }
}

/// This program again, at another stage.
fn itself(stage: Stage, directory: &Path, cwd: &Path, command_line: &[OsString]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    // For whoever looks at the list of processes.
    command.arg0("workmux").args(LEADING).arg("__detached");
    if let Some(stage) = stage.to_possible_value() {
        command.arg("--stage").arg(stage.get_name());
    }
    command.arg(directory).arg(cwd).arg("--").args(command_line);
    command
}

/// What makes this program read a command line.
#[cfg(not(test))]
const LEADING: [&str; 0] = [];
/// A program of tests does in one of them.
#[cfg(test)]
const LEADING: [&str; 5] = ["--exact", "--nocapture", "--test-threads=1", "detached::tests::the_program", "--"];

/// Runs one stage to its end; the exit code. The supervisor's is the command's.
///
/// `words` are the command's program and words.
pub fn main(stage: Stage, directory: &Path, cwd: &Path, words: &[OsString]) -> u8 {
    match stage {
        Stage::Leave => leave(directory, cwd, words).map_or_else(|why| say(&why), |()| 0),
        Stage::Supervise => supervise::supervise(directory, cwd, words).unwrap_or_else(|why| say(&why)),
        Stage::Become => {
            // The terminal takes its place; this copy goes when the command comes.
            match io::stderr().as_fd().try_clone_to_owned() {
                Ok(said) => {
                    let why = become_command(cwd, words);
                    let _nobody = fs::File::from(said).write_all(why.as_bytes());
                    crate::error::ERROR
                }
                Err(e) => say(&e.to_string()),
            }
        }
    }
}

fn say(why: &str) -> u8 {
    crate::ui::raw_error(why);
    crate::error::ERROR
}

/// A failed step and why, in words.
pub(super) fn could_not(what: &str, why: impl Display) -> String {
    format!("could not {what}: {why}")
}

fn leave(directory: &Path, cwd: &Path, words: &[OsString]) -> Result<(), String> {
    close_inherited().map_err(|e| could_not("close what it inherited", e))?;
    setsid().map_err(|e| could_not("leave the caller's session", e))?;
    // Whatever the caller's directory is, it can be unmounted.
    std::env::set_current_dir("/").map_err(|e| could_not("enter '/'", e))?;
    let mut supervisor = itself(Stage::Supervise, directory, cwd, words);
    supervisor.stdin(Stdio::null()).stdout(Stdio::null());
    supervisor.spawn().map(drop).map_err(|e| could_not("start its supervisor", e))
}

/// Descriptors that a shell or a test passed on by mistake would be held for as long as the command runs.
fn close_inherited() -> io::Result<()> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in open {
        // The one the list was read from is closed already.
        let _closed = nix::unistd::close(number);
    }
    Ok(())
}

/// Starts the stage that becomes the command, with this end of the terminal. Returns when it did.
pub(super) fn spawn(
    terminal: &OwnedFd,
    directory: &Path,
    cwd: &Path,
    words: &[OsString],
) -> Result<tokio::process::Child, String> {
    let failed = |e: io::Error| e.to_string();
    let (said, theirs) = io::pipe().map_err(failed)?;
    let mut command = tokio::process::Command::from(itself(Stage::Become, directory, cwd, words));
    command.stdin(terminal.try_clone().map_err(failed)?).stdout(Stdio::null()).stderr(theirs);
    let child = command.spawn().map_err(failed)?;
    drop(command);
    // Blocks, and nothing else is to be done yet. Whoever waits for us has the deadline.
    let mut heard = Vec::new();
    said.take(MAX_REASON).read_to_end(&mut heard).map_err(failed)?;
    if heard.is_empty() { Ok(child) } else { Err(reason(&heard, "")) }
}

/// Becomes the command, or says why not.
fn become_command(cwd: &Path, words: &[OsString]) -> String {
    let Some((program, words)) = words.split_first() else { return "there is no command".into() };
    let prepared = || -> Result<Command, String> {
        let terminal = |e: io::Error| could_not("take its terminal", e);
        let session = setsid().map_err(|e| could_not("lead a session of its own", e))?;
        // The first terminal that the leader of a session opens is the session's.
        let tty = OpenOptions::new().read(true).write(true).open("/proc/self/fd/0").map_err(terminal)?;
        if tcgetsid(&tty) != Ok(session) {
            return Err("its terminal does not become its session's".into());
        }
        std::env::set_current_dir(cwd).map_err(|e| could_not(&format!("enter '{}'", cwd.display()), e))?;
        let end = || tty.try_clone().map_err(terminal);
        let mut command = Command::new(program);
        command.args(words).env("TERM", TERM).stdin(end()?).stdout(end()?).stderr(end()?);
        Ok(command)
    };
    let mut command = match prepared() {
        Ok(command) => command,
        Err(why) => return why,
    };
    // The caller names the program.
    command.exec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_that_says_nothing_is_not_waited_for_for_ever() {
        let (said, mut theirs) = io::pipe().unwrap();
        let why = listen(said, Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert!(why.contains("not ready within"), "{why}");
        // One that fails is heard to its end.
        let (said, mut failing) = io::pipe().unwrap();
        failing.write_all(b"no \x1b[31mroom\n").unwrap();
        drop(failing);
        let why = listen(said, Instant::now() + START).unwrap_err();
        assert!(why.starts_with("no ") && !why.contains('\x1b'), "{why}");
        assert!(theirs.write_all(b"late").is_err());
    }
}
