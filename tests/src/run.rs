//! Running a program to its end, with a deadline, as the ordinary user, in an environment of its own.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::given::given;

/// Longer than anything takes; ends what hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program about to run. It gets no variable of ours but a search path and the user's names.
pub struct Run {
    command: Command,
    input: Vec<u8>,
    deadline: Duration,
    root: bool,
}

impl Run {
    /// A program, by name or path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let user = &given().user;
        let mut command = Command::new(program);
        command.env_clear().env("LANG", "C.UTF-8").env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        command.env("USER", &user.name).env("LOGNAME", &user.name).env("PATH", search_path());
        Self { command, input: Vec::new(), deadline: DEADLINE, root: false }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(words);
        self
    }

    /// A variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Variables.
    #[must_use]
    pub fn envs(mut self, pairs: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>) -> Self {
        self.command.envs(pairs);
        self
    }

    /// Without this variable.
    #[must_use]
    pub fn without(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// The folder to start in.
    #[must_use]
    pub fn dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// What stands on its standard input; nothing by default.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Another deadline than a minute.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Switches guards off in the program (`host/src/mutant.rs`).
    #[must_use]
    pub fn mutant(self, guards: &str) -> Self {
        self.env("WORKMUX_MUTANT", guards)
    }

    /// Runs as we are. Only root's tests want that.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.root = true;
        self
    }

    /// The same run, started by another program that gets it as its last arguments.
    #[must_use]
    pub fn behind(mut self, program: &str, words: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(words).arg(self.command.get_program()).args(self.command.get_args()).env_clear();
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(dir) = self.command.get_current_dir() {
            command.current_dir(dir);
        }
        self.command = command;
        self
    }

    /// The command, for tests that start it themselves.
    pub fn into_command(mut self) -> Command {
        let user = &given().user;
        if user.borrowed && !self.root {
            // Also drops the supplementary groups.
            self.command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        self.command
    }

    /// Starts it with pipes and does not wait.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(self) -> Running {
        let (deadline, input) = (self.deadline, self.input.clone());
        let mut command = self.into_command();
        let shown = format!("{:?} {:?}", command.get_program(), command.get_args().collect::<Vec<_>>());
        command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("could not start {shown}: {e}"));
        if let Some(mut pipe) = child.stdin.take() {
            // Whoever does not read its input says so by its status.
            std::thread::spawn(move || _ = pipe.write_all(&input));
        }
        let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
        Running { child, out, err, shown, deadline, until: Instant::now() + deadline, over: false }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started or its deadline passes.
    pub fn run(self) -> Finished {
        self.start().wait()
    }
}

/// A program that runs. Dropping it kills its process group.
pub struct Running {
    child: Child,
    out: mpsc::Receiver<Vec<u8>>,
    err: mpsc::Receiver<Vec<u8>>,
    shown: String,
    deadline: Duration,
    until: Instant,
    over: bool,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// The same, with its deadline counted from now.
    pub(crate) fn afresh(mut self) -> Self {
        self.until = Instant::now() + self.deadline;
        self
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(self.pid(), signal).expect("it is there to be signalled");
    }

    /// Waits for its end and for everything it printed.
    ///
    /// # Panics
    /// When its deadline passes.
    pub fn wait(mut self) -> Finished {
        let (send, ended) = mpsc::channel();
        let pid = self.pid();
        // Left unreaped, so that its id stays its own until we are done with it.
        std::thread::spawn(move || {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(pid), flags) == Err(nix::Error::EINTR) {}
            _ = send.send(());
        });
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let in_time = ended.recv_timeout(left(self.until)).is_ok();
        if !in_time {
            self.kill();
        }
        // What a grandchild still holds open is waited for too, but not without end.
        let grace = Duration::from_secs(5);
        let text = |from: &mpsc::Receiver<Vec<u8>>| {
            let until = Instant::now() + grace;
            let mut bytes = Vec::new();
            while let Ok(more) = from.recv_timeout(left(until)) {
                bytes.extend(more);
            }
            bytes
        };
        let (stdout, stderr) = (text(&self.out), text(&self.err));
        let status = self.child.wait().expect("it can be waited for");
        self.over = true;
        let finished = Finished {
            code: status.code(),
            signal: status.signal(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            shown: std::mem::take(&mut self.shown),
        };
        assert!(in_time, "it did not end in time\n{finished}");
        finished
    }

    fn kill(&self) {
        let _gone = killpg(self.pid(), Signal::SIGKILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            self.kill();
            let _reaped = self.child.wait();
        }
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    let mut pipe = pipe.expect("the pipe was asked for");
    std::thread::spawn(move || {
        let mut chunk = [0; 64 * 1024];
        while let Ok(n @ 1..) = pipe.read(&mut chunk) {
            if send.send(chunk[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

/// What a program left. The checks give everything it printed when they fail.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    shown: String,
}

impl Finished {
    /// It ended with this code.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "another exit code was expected\n{self}");
        self
    }

    /// It succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// This stands on its standard output.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "{text:?} is not on its standard output\n{self}");
        self
    }

    /// This stands on its standard error.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn warns(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not on its standard error\n{self}");
        self
    }

    /// Its standard error without the line that says whom the guest is: only root's podman has it, with every run.
    pub fn errors(&self) -> String {
        self.stderr.lines().filter(|line| !line.contains("allow_root")).map(|line| format!("{line}\n")).collect()
    }

    /// This stands nowhere in what it printed.
    ///
    /// # Panics
    /// When it does.
    #[track_caller]
    pub fn never_says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(!said, "{text:?} must not be printed\n{self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, signal, stdout, stderr, shown } = self;
        writeln!(f, "{shown}\ncode {code:?}, signal {signal:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Root's own search path may lead through folders that the ordinary user cannot enter.
pub(crate) fn search_path() -> OsString {
    let standard = || "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin".into();
    if given().user.borrowed { standard() } else { std::env::var_os("PATH").unwrap_or_else(standard) }
}
