//! Starting the command: what is decided before the fork, what the child does, and how it reports a failure.
//!
//! The child tells through a pipe that `execve` closes. Its end without a report means that the command runs, so
//! no failure can be mistaken for an exit code of the command, and nothing has to wait.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, Pid, chdir, execve, pipe2, setsid, write};
use workmux_guest::GUEST_BIN_DIR;
use workmux_guest::control::Start;

use super::{signals, terminal};
use crate::confine::{self, Step};
use crate::mutant;

/// Set by an image that `install-dev` made: the directory of its own guest program.
const DEV_VARIABLE: &str = "WORKMUX_DEV";
/// Where a program is looked for if the environment has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// Why the command does not run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// 127 not found, 126 not executable, 125 ours.
    pub(super) code: u8,
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn ours(reason: String) -> Self {
        Self { code: 125, reason }
    }
}

/// A command with everything `execve` needs, ready before the fork.
pub(super) struct Command {
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    /// The files to try, in order.
    candidates: Vec<CString>,
    /// The `PATH` they come from, if the command is a bare name.
    searched: Option<String>,
    pub(super) terminal: bool,
}

impl Command {
    /// `extra` are variables of ours; they replace those of the same name.
    pub(super) fn new(start: &Start, extra: &[(&str, String)]) -> Result<Self, Failure> {
        let argv = match mutant::off("p5_no_shell") {
            true => vec![b"/bin/sh".to_vec(), b"-c".to_vec(), start.argv.join(&b' ')],
            false => start.argv.clone(),
        };
        let name = argv.first().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Failure { code: 127, reason: "the command is empty".to_owned() })?;
        let mut env = start.env.clone();
        if start.inherit || mutant::off("p69_variables") {
            inherit(&mut env, std::env::vars_os());
            if let Some(theirs) = std::env::var_os(DEV_VARIABLE) {
                develop(&mut env, theirs.as_bytes());
            }
        }
        for (name, value) in extra {
            env.retain(|variable| value_of(variable, name).is_none());
            env.push(format!("{name}={value}").into_bytes());
        }
        let path = env.iter().find_map(|variable| value_of(variable, "PATH")).unwrap_or(DEFAULT_PATH);
        Ok(Self {
            candidates: strings(&candidates(name, path), "path")?,
            searched: (!name.contains(&b'/')).then(|| String::from_utf8_lossy(path).into_owned()),
            argv: strings(&argv, "command")?,
            env: strings(&env, "environment")?,
            cwd: string(&start.cwd, "directory")?,
            terminal: start.terminal,
        })
    }

    /// Forks. The child becomes the command or reports why not.
    pub(super) fn spawn(&self) -> Result<(Pid, Reports), Failure> {
        let ours = |e: Errno| Failure::ours(format!("could not start the command: {}", e.desc()));
        let (from_child, to_parent) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(ours)?;
        match crate::sys::fork().map_err(ours)? {
            ForkResult::Parent { child } => Ok((child, Reports { pipe: from_child, bytes: Vec::new() })),
            ForkResult::Child => {
                let report = self.become_command(&to_parent);
                report.send(&to_parent);
                crate::sys::exit_now(125)
            }
        }
    }

    fn become_command(&self, to_parent: &OwnedFd) -> Report {
        if self.terminal {
            if let Err(e) = terminal::enter_foreground() {
                Report::NoForeground(e).send(to_parent);
            }
        } else {
            // A session of its own: no terminal that happens to be around can stop or signal it.
            let _ = setsid();
        }
        if let Err((step, e)) = confine::confine() {
            return Report::Confine(step, e);
        }
        if !self.cwd.is_empty()
            && let Err(e) = chdir(self.cwd.as_c_str())
        {
            return Report::Directory(e);
        }
        crate::sys::close_on_exec_from(3);
        if let Err(e) = signals::hand_back() {
            return Report::Signals(e);
        }
        self.execute()
    }

    /// Tries the candidates as a shell would: what is missing is passed over, what cannot be executed is remembered.
    fn execute(&self) -> Report {
        let mut remembered = Report::NotFound;
        for (index, file) in self.candidates.iter().enumerate() {
            let Err(error) = execve(file, &self.argv, &self.env);
            let path = Path::new(OsStr::from_bytes(file.as_bytes()));
            let searched = self.searched.is_some();
            let there = path.metadata().is_ok_and(|meta| !(searched && meta.is_dir()));
            match error {
                Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT if !there => {}
                Errno::EACCES if !there && searched => {}
                Errno::EACCES => remembered = remembered.or(Report::Execute(index as u32, error)),
                _ => return Report::Execute(index as u32, error),
            }
        }
        remembered
    }

    /// What a report means, in words.
    pub(super) fn explain(&self, report: Report) -> Failure {
        let name = text(&self.argv[0]);
        match report {
            Report::NotFound => Failure {
                code: 127,
                reason: match &self.searched {
                    Some(path) => format!("'{name}' was not found in the sandbox (PATH is '{path}')"),
                    None => format!("'{name}' does not exist in the sandbox"),
                },
            },
            Report::Execute(index, error) => {
                let file = self.candidates.get(index as usize).map_or(name, text);
                let why = match error {
                    Errno::ENOENT => "its interpreter or loader does not exist in the sandbox",
                    Errno::ENOEXEC => "it is not a program and has no '#!' line",
                    Errno::E2BIG => "its arguments and environment are too long",
                    other => other.desc(),
                };
                Failure { code: 126, reason: format!("'{file}' cannot be executed: {why}") }
            }
            Report::Directory(error) => Failure::ours(format!(
                "cannot enter the directory '{}' in the sandbox: {}",
                text(&self.cwd),
                error.desc()
            )),
            Report::Confine(step, error) => Failure::ours(format!("{}: {}", step.what(), error.desc())),
            Report::Signals(error) => Failure::ours(format!("could not reset the signals: {}", error.desc())),
            Report::NoForeground(error) => Failure::ours(no_foreground(error)),
        }
    }
}

/// The line for a command that has to live without the terminal's foreground.
pub(super) fn no_foreground(error: Errno) -> String {
    format!("the command could not be put into the terminal's foreground, Ctrl-C may not reach it: {}", error.desc())
}

fn text(word: &CString) -> String {
    String::from_utf8_lossy(word.as_bytes()).into_owned()
}

fn value_of<'a>(variable: &'a [u8], name: &str) -> Option<&'a [u8]> {
    variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

fn candidates(name: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if name.contains(&b'/') {
        return vec![name.to_vec()];
    }
    path.split(|&byte| byte == b':')
        .map(|directory| match directory {
            b"" => [b"./", name].concat(),
            _ => [directory, b"/", name].concat(),
        })
        .collect()
}

fn strings(words: &[Vec<u8>], what: &str) -> Result<Vec<CString>, Failure> {
    words.iter().map(|word| string(word, what)).collect()
}

fn string(word: &[u8], what: &str) -> Result<CString, Failure> {
    CString::new(word).map_err(|_| Failure::ours(format!("the {what} holds a NUL byte")))
}

/// What a child says before it is the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// Goes on all the same.
    NoForeground(Errno),
    Confine(Step, Errno),
    Directory(Errno),
    Signals(Errno),
    NotFound,
    /// Which candidate, and why not.
    Execute(u32, Errno),
}

impl Report {
    const SIZE: usize = 12;

    fn or(self, other: Self) -> Self {
        if self == Self::NotFound { other } else { self }
    }

    fn send(self, to: &OwnedFd) {
        let (kind, detail, error) = match self {
            Self::NoForeground(e) => (0, 0, e),
            Self::Confine(step, e) => (1, step as u32, e),
            Self::Directory(e) => (2, 0, e),
            Self::Signals(e) => (3, 0, e),
            Self::NotFound => (4, 0, Errno::UnknownErrno),
            Self::Execute(index, e) => (5, index, e),
        };
        let mut bytes = Vec::with_capacity(Self::SIZE);
        for number in [kind, detail, error as u32] {
            bytes.extend_from_slice(&number.to_ne_bytes());
        }
        // The pipe is empty and the parent reads it or is gone.
        let _ = write(to, &bytes);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at * 4..)?.first_chunk()?));
        let (detail, error) = (number(1)?, Errno::from_raw(number(2)? as i32));
        Some(match number(0)? {
            0 => Self::NoForeground(error),
            1 => Self::Confine(*Step::ALL.get(detail as usize)?, error),
            2 => Self::Directory(error),
            3 => Self::Signals(error),
            4 => Self::NotFound,
            _ => Self::Execute(detail, error),
        })
    }
}

/// The parent's end of the pipe.
pub(super) struct Reports {
    pipe: OwnedFd,
    bytes: Vec<u8>,
}

impl Reports {
    /// All reports, once the child has become the command or given up. `None`: not yet.
    pub(super) fn complete(&mut self) -> Option<Vec<Report>> {
        let mut chunk = [0; 64];
        loop {
            match nix::unistd::read(&self.pipe, &mut chunk) {
                Ok(0) => return Some(self.bytes.chunks(Report::SIZE).filter_map(Report::decode).collect()),
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for Reports {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Adds the variables that are not there yet.
fn inherit(env: &mut Vec<Vec<u8>>, from: impl Iterator<Item = (OsString, OsString)>) {
    let given = env.len();
    for (name, value) in from {
        let there = |variable: &Vec<u8>| variable.split(|byte| *byte == b'=').next() == Some(name.as_bytes());
        if !env[..given].iter().any(there) {
            env.push([name.as_bytes(), b"=", value.as_bytes()].concat());
        }
    }
}

/// Puts the image's own program in the place of ours on the `PATH`.
fn develop(env: &mut [Vec<u8>], theirs: &[u8]) {
    let ours = GUEST_BIN_DIR.as_bytes();
    for variable in env {
        if let Some(path) = value_of(variable, "PATH") {
            let parts: Vec<_> =
                path.split(|b| *b == b':').map(|part| if part == ours { theirs } else { part }).collect();
            *variable = [b"PATH=", parts.join(&b':').as_slice()].concat();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(argv: &[&str], env: &[&str]) -> Start {
        let bytes = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        Start { argv: bytes(argv), env: bytes(env), ..Start::default() }
    }

    fn tried(argv0: &str, env: &[&str]) -> Vec<String> {
        let command = Command::new(&start(&[argv0], env), &[]).ok().unwrap();
        command.candidates.iter().map(text).collect()
    }

    #[test]
    fn a_name_is_looked_for_on_the_commands_own_path() {
        assert_eq!(tried("ls", &["PATH=/a:/b c::/d/"]), ["/a/ls", "/b c/ls", "./ls", "/d//ls"]);
        assert_eq!(tried("ls", &["XPATH=/x"]), ["/usr/local/bin/ls", "/usr/bin/ls", "/bin/ls"]);
        assert_eq!(tried("./ls", &["PATH=/a"]), ["./ls"]);
    }

    #[test]
    fn our_variables_replace_those_of_the_same_name() {
        let start = start(&["x"], &["WM_RPC_PORT=1", "WM_RPC_PORT_OLD=2", "A"]);
        let command = Command::new(&start, &[("WM_RPC_PORT", "7".to_owned())]).ok().unwrap();
        let env: Vec<String> = command.env.iter().map(text).collect();
        assert_eq!(env, ["WM_RPC_PORT_OLD=2", "A", "WM_RPC_PORT=7"]);
    }

    #[test]
    fn an_images_variables_lie_below_those_that_are_given() {
        let mut env = vec![b"PATH=/a".to_vec(), b"EMPTY".to_vec()];
        let image = [("PATH", "/b"), ("PAT", "x=y"), ("EMPTY", "z")].map(|(n, v)| (n.into(), v.into()));
        inherit(&mut env, image.into_iter());
        assert_eq!(env, [b"PATH=/a".to_vec(), b"EMPTY".to_vec(), b"PAT=x=y".to_vec()]);
    }

    #[test]
    fn an_image_with_a_development_build_puts_it_before_ours() {
        let mut env = vec![b"A=/run/workmux/bin".to_vec(), b"PATH=/run/workmux/bin:/tmp/.local/bin:/bin".to_vec()];
        develop(&mut env, b"/usr/local/bin");
        assert_eq!(env[0], b"A=/run/workmux/bin");
        assert_eq!(text(&CString::new(env[1].clone()).unwrap()), "PATH=/usr/local/bin:/tmp/.local/bin:/bin");
    }

    #[test]
    fn what_cannot_be_passed_to_a_program_is_refused() {
        for bad in [start(&[], &[]), start(&[""], &[]), start(&["a\0b"], &[]), start(&["a"], &["b\0"])] {
            assert!(Command::new(&bad, &[]).is_err());
        }
    }

    #[test]
    fn every_report_survives_the_pipe() {
        for report in [
            Report::NoForeground(Errno::ENOTTY),
            Report::Confine(Step::Filter, Errno::EINVAL),
            Report::Directory(Errno::ENOENT),
            Report::Signals(Errno::EINVAL),
            Report::Execute(3, Errno::EACCES),
            Report::NotFound,
        ] {
            let (from, to) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
            let mut reports = Reports { pipe: from, bytes: Vec::new() };
            assert_eq!(reports.complete(), None);
            report.send(&to);
            drop(to);
            assert_eq!(reports.complete(), Some(vec![report]));
        }
    }
}
