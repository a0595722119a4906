//! The supervisor's end of a conversation, for tests that run the real guest program.
//!
//! Every wait has a deadline, and whatever a test leaves behind is ended with it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "test code, of which each test program uses a part"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tempfile::TempDir;
use workmux_guest::control::{FromGuest, Start, ToGuest, VERSION};

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const GUEST: &str = env!("CARGO_BIN_EXE_workmux-guest");

/// A command line for `Start`.
pub fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// A `Start` for a script, with a usual environment.
pub fn script(text: &str) -> Start {
    command(&["sh", "-c", text])
}

/// A `Start` for a command, with a usual environment.
pub fn command(argv: &[&str]) -> Start {
    Start { argv: words(argv), env: words(&["PATH=/usr/bin:/bin"]), cwd: b"/".to_vec(), ..Start::default() }
}

/// A directory with the socket the guest program connects to.
pub struct Supervisor {
    pub dir: TempDir,
    listener: UnixListener,
}

impl Supervisor {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("control")).unwrap();
        Self { dir, listener }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    /// The guest program in this role, not started yet, with its output piped.
    pub fn guest(&self, role: &str) -> Command {
        let mut command = Command::new(GUEST);
        command.arg(role).arg(self.socket()).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// The guest program's connection.
    pub fn accept(&self) -> UnixStream {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        assert_eq!(ready, 1, "the guest program connects");
        let link = self.listener.accept().unwrap().0;
        link.set_read_timeout(Some(PATIENCE)).unwrap();
        link
    }

    /// Starts the program, waits for its greeting and tells it what to run.
    pub fn run(self, mut command: Command, start: Start) -> Run {
        let child = command.spawn().unwrap();
        let link = self.accept();
        Run::begin(child, link, self.dir, start)
    }
}

/// Runs this as the sandbox's first process.
pub fn init(start: Start) -> Run {
    let supervisor = Supervisor::new();
    let command = supervisor.guest("init");
    supervisor.run(command, start)
}

/// Runs this on a pseudo terminal; answers the other end of it too.
pub fn init_on_terminal(mut start: Start) -> (Run, OwnedFd) {
    let pty = nix::pty::openpty(None, None).unwrap();
    start.terminal = true;
    let supervisor = Supervisor::new();
    let mut command = supervisor.guest("init");
    command.stdin(pty.slave.try_clone().unwrap());
    let run = supervisor.run(command, start);
    (run, pty.master)
}

/// A conversation that has begun.
pub struct Run {
    pub child: Child,
    link: Option<UnixStream>,
    stdout: Option<BufReader<ChildStdout>>,
    _dir: TempDir,
}

impl Run {
    /// Waits for the greeting on this connection and tells the program what to run.
    pub fn begin(mut child: Child, link: UnixStream, dir: TempDir, start: Start) -> Self {
        let stdout = child.stdout.take().map(BufReader::new);
        let mut run = Self { child, link: Some(link), stdout, _dir: dir };
        assert_eq!(run.next(), FromGuest::Hello { version: VERSION });
        run.send(&ToGuest::Start(start));
        run
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn send(&self, message: &ToGuest) {
        message.write_to(&mut self.link.as_ref().expect("not cut")).unwrap();
    }

    /// Part of a frame, or something that is none.
    pub fn send_bytes(&self, bytes: &[u8]) {
        self.link.as_ref().expect("not cut").write_all(bytes).unwrap();
    }

    /// The next frame.
    pub fn next(&mut self) -> FromGuest {
        FromGuest::read_from(self.link.as_mut().expect("not cut")).unwrap().expect("a frame, not the end")
    }

    /// No frame comes, as far as one can tell in a moment.
    pub fn stays_silent(&mut self) {
        let link = self.link.as_ref().expect("not cut");
        let mut fds = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 300_u16).unwrap(), 0, "a frame came");
    }

    /// The next frame, which says that the command runs.
    pub fn started(mut self) -> Self {
        assert_eq!(self.next(), FromGuest::Started);
        self
    }

    /// One line of the command's output.
    pub fn line(&mut self) -> String {
        let (stdout, mut line) = (self.stdout.as_mut().expect("piped"), String::new());
        if stdout.buffer().is_empty() {
            let mut fds = [PollFd::new(stdout.get_ref().as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, 10_000_u16).unwrap(), 1, "a line, or the end");
        }
        stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// All output up to the end, which comes when the last process that could write is gone.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stdout.as_mut().expect("piped").read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Ends the conversation from this side, as a supervisor that dies does.
    pub fn cut(&mut self) {
        self.link = None;
    }

    /// The exit code of the program itself, which has said its last word.
    pub fn code(&mut self) -> i32 {
        if let Some(link) = &mut self.link {
            let mut rest = Vec::new();
            drop(link.read_to_end(&mut rest));
            assert!(rest.is_empty(), "frames after the last");
        }
        self.child.wait().unwrap().code().expect("exits by itself")
    }

    /// The frame that ends the conversation, and the program's exit code.
    pub fn end(&mut self) -> (FromGuest, i32) {
        (self.next(), self.code())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The lifeline ends everything.
        self.link = None;
        drop(self.child.wait());
    }
}

/// Waits for something that makes no event.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The state letter of a process (`T` is stopped), if it exists.
pub fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The children of a process, if it may be asked.
pub fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_ascii_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// Whether a program is there to test with; says so if not.
pub fn have(program: &str) -> bool {
    let found = ["/usr/bin", "/bin", "/usr/local/bin"].iter().any(|dir| Path::new(dir).join(program).exists());
    if !found {
        eprintln!("SKIPPED: '{program}' is not installed");
    }
    found
}
