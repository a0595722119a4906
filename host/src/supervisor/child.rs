//! The programs of a plan: spawned in a session of their own, ended as a group, gone when we are gone.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use color_eyre::eyre::{Report, Result, WrapErr as _};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use workmux_plugin_api::{Companion, Plan};

use super::namespaces::{self, Namespaces};
use super::pipes::{self, Carriers, Ends, Held};
use super::session::RunningSession;
use super::status::ProgramEnd;
use super::terminal::Terminal;
use crate::plugins::Session;

/// How long it may take to show what a command has said, once it is gone: a stopped terminal takes its time.
const SHOWN: Duration = Duration::from_secs(30);
/// The same where it was killed, and somebody else (a machine that does not answer) may go on holding its pipes.
const SHOWN_OF_KILLED: Duration = Duration::from_secs(2);

/// The variables a backend's programs get.
pub(super) struct Environment(pub(super) Vec<(OsString, OsString)>);

/// What runs the guest's command.
pub(super) enum Running {
    Process { child: Child, group: Pid, ended: bool, outputs: Outputs },
    Session { session: RunningSession, outputs: Outputs },
}

/// What stands between the command and the user's own standard output and error.
pub(super) struct Outputs {
    carriers: Carriers,
    held: Option<Held>,
    /// How long to wait for the last of it.
    patience: Duration,
}

impl Outputs {
    /// The command's side, and ours.
    fn around(terminal: Option<&Terminal>, explains_itself: bool) -> Result<(Ends, Self)> {
        let mut ends = match terminal {
            Some(terminal) => {
                let (stdin, stdout, stderr) = terminal.guest_side()?;
                Ends { stdin: Some(stdin), stdout: Some(stdout), stderr, ..Ends::default() }
            }
            None => pipes::around().wrap_err("cannot make pipes")?,
        };
        let mut held = None;
        if explains_itself {
            let (stderr, kept, carrier) = Held::new().wrap_err("cannot make pipes")?;
            ends.stderr = Some(stderr);
            ends.carriers.extend(carrier);
            held = Some(kept);
        }
        let carriers = std::mem::take(&mut ends.carriers);
        Ok((ends, Self { carriers, held, patience: SHOWN }))
    }

    /// Everything that was said is shown when this answers. Call when the guest is gone.
    async fn finish(&mut self) {
        let carriers = std::mem::take(&mut self.carriers);
        // Something outside the group could hold a pipe open for ever.
        let shown = tokio::task::spawn_blocking(move || carriers.finish());
        let _late = tokio::time::timeout(self.patience, shown).await;
    }
}

impl Running {
    pub(super) fn spawn(plan: &Plan, environment: &Environment, terminal: Option<&Terminal>) -> Result<Self> {
        check(plan)?;
        let mut command = Command::new(&plan.program);
        command
            .args(plan.args.iter().map(|w| w.as_os_str()))
            .env_clear()
            .envs(environment.0.iter().map(|(n, v)| (n, v)))
            .envs(plan.env.iter().map(|(n, v)| (n, v.as_os_str())))
            .current_dir(if plan.cwd.as_os_str().is_empty() { Path::new("/") } else { &plan.cwd })
            .kill_on_drop(true);
        let (ends, outputs) = Outputs::around(terminal, plan.explains_itself)?;
        let [stdin, stdout, stderr] = [ends.stdin, ends.stdout, ends.stderr].map(|end| match end {
            Some(end) => Stdio::from(end),
            None => Stdio::inherit(),
        });
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let inside = plan.enter.map(namespaces::of_process).transpose().wrap_err("the sandbox has just ended")?;
        if inside.is_some() {
            // The directory is one of the sandbox's.
            command.current_dir("/");
        }
        detach(&mut command, terminal.is_some() && plan.controls_terminal, inside, Some(plan.cwd.clone()));
        let child = command.spawn()?;
        let group = Pid::from_raw(child.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(gone)?);
        Ok(Self::Process { child, group, ended: false, outputs })
    }

    pub(super) fn session(session: Session, terminal: Option<&Terminal>) -> Result<Self> {
        let (ends, outputs) = Outputs::around(terminal, session.info().explains_itself)?;
        let session = RunningSession::start(session, descriptors(ends)?);
        Ok(Self::Session { session, outputs })
    }

    /// Its end. Cancel-safe; pending for ever once told.
    pub(super) async fn wait(&mut self) -> ProgramEnd {
        match self {
            Self::Process { child, ended, .. } => {
                let status = child.wait().await;
                *ended = true;
                status.map_or_else(ProgramEnd::Lost, ProgramEnd::Process)
            }
            Self::Session { session, .. } => ProgramEnd::Session(session.wait().await),
        }
    }

    /// The guest speaks from now on: what the program says is shown.
    pub(super) fn pass(&self) {
        let (Self::Process { outputs, .. } | Self::Session { outputs, .. }) = self;
        if let Some(held) = &outputs.held {
            held.pass();
        }
    }

    /// What the program said and was not shown.
    pub(super) fn kept(&self) -> String {
        let (Self::Process { outputs, .. } | Self::Session { outputs, .. }) = self;
        outputs.held.as_ref().map(Held::take).unwrap_or_default()
    }

    /// Sends a signal to the program itself, where there is no first process to tell.
    pub(super) fn signal(&self, signal: Signal) {
        match self {
            Self::Process { group, ended: false, .. } => drop(killpg(*group, signal)),
            Self::Process { .. } => {}
            Self::Session { session, .. } => session.signal(signal as i32),
        }
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) {
        if let Self::Session { session, .. } = self {
            session.resize(rows, columns);
        }
    }

    pub(super) fn kill(&mut self) {
        let (Self::Process { outputs, .. } | Self::Session { outputs, .. }) = self;
        outputs.patience = SHOWN_OF_KILLED;
        match self {
            Self::Process { group, .. } => drop(killpg(*group, Signal::SIGKILL)),
            Self::Session { session, .. } => session.end(),
        }
    }

    /// Waits for the end after everybody was told, and leaves nothing of its group.
    pub(super) async fn finish(&mut self) {
        match self {
            Self::Process { child, group, ended, outputs } => {
                if !*ended && tokio::time::timeout(Duration::from_secs(5), child.wait()).await.is_err() {
                    let _gone = killpg(*group, Signal::SIGKILL);
                    let _reaped = child.wait().await;
                }
                let _gone = killpg(*group, Signal::SIGKILL);
                outputs.finish().await;
            }
            Self::Session { session, outputs } => {
                session.end();
                outputs.finish().await;
            }
        }
    }
}

/// A plan comes from a plugin: what `execve` or a reader of the process list could misread is an error.
fn check(plan: &Plan) -> Result<()> {
    if !plan.program.is_absolute() {
        return Err(Report::msg("the backend's plan names no program by an absolute path"));
    }
    let words = plan.args.iter().chain(plan.env.iter().map(|(_, value)| value));
    if words.into_iter().any(|w| w.as_bytes().contains(&0))
        || plan.env.iter().any(|(name, _)| name.is_empty() || name.contains(['=', '\0']))
    {
        return Err(Report::msg("the backend's plan holds a word that no program can be given"));
    }
    Ok(())
}

fn gone() -> io::Error {
    io::Error::other("it ended at once")
}

/// For a backend's session; what is not stood between is the user's own.
fn descriptors(ends: Ends) -> io::Result<[OwnedFd; 3]> {
    let or = |end: Option<OwnedFd>, own: BorrowedFd| end.map_or_else(|| own.try_clone_to_owned(), Ok);
    Ok([
        or(ends.stdin, io::stdin().as_fd())?,
        or(ends.stdout, io::stdout().as_fd())?,
        or(ends.stderr, io::stderr().as_fd())?,
    ])
}

/// Makes the program lead a session of its own (no way back to the user's terminal), enter the given namespaces, die
/// with us, and inherit no descriptor but its standard three.
#[expect(unsafe_code, reason = "setting up a child between fork and exec")]
fn detach(command: &mut Command, controls_terminal: bool, enter: Option<Namespaces>, inside: Option<PathBuf>) {
    let parent = std::process::id();
    let prepare = move || {
        nix::unistd::setsid()?;
        if let Some(namespaces) = &enter {
            namespaces.enter()?;
            if let Some(directory) = &inside {
                nix::unistd::chdir(directory)?;
            }
        }
        // After the namespaces: entering some of them forgets it.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        if nix::unistd::getppid().as_raw().unsigned_abs() != parent {
            return Err(gone());
        }
        // SAFETY: plain system calls on plain numbers.
        unsafe {
            if controls_terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 {
                return Err(io::Error::last_os_error());
            }
            // Failing (an old kernel) leaves descriptors the user's shell passed on; ours are all close-on-exec.
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 4u32);
        }
        Ok(())
    };
    // SAFETY: only async-signal-safe calls, and nothing allocates.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Ended companions on their way out.
#[derive(Default)]
#[must_use]
pub struct Reaping(Vec<tokio::task::JoinHandle<()>>);

impl Reaping {
    pub(super) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Returns when the last one is gone.
    pub async fn done(self) {
        for task in self.0 {
            let _panicked = task.await;
        }
    }
}

/// The programs that serve the guest from outside.
#[derive(Default)]
pub(super) struct Companions(Vec<(String, Child)>);

impl Companions {
    /// Starts them for the first process with this number.
    pub(super) fn start(&mut self, wanted: &[Companion], pid: Option<u32>, environment: &Environment) -> Result<()> {
        for companion in wanted {
            let pid = pid.ok_or_else(|| Report::msg("the sandbox's first process has no number on this machine"))?;
            let args = companion.args.iter().map(|a| a.replace("{pid}", &pid.to_string()));
            let mut command = Command::new(&companion.program);
            command
                .args(args)
                .env_clear()
                .envs(environment.0.iter().map(|(n, v)| (n, v)))
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true);
            let owner = companion.own_network.then(|| namespaces::owner_of_network(pid)).transpose();
            let owner = owner.wrap_err("the sandbox has just ended")?;
            detach(&mut command, false, owner, None);
            let child = command.spawn().wrap_err_with(|| {
                format!("could not start '{}' for {}", companion.program.display(), companion.purpose)
            })?;
            self.0.push((companion.purpose.clone(), child));
        }
        Ok(())
    }

    /// The first one that ends, which none should: what it was for and the end of what it said.
    pub(super) async fn failed(&mut self) -> (String, String) {
        let Some((purpose, child)) = self.0.first_mut() else { return std::future::pending().await };
        let _status = child.wait().await;
        let purpose = crate::text::line(purpose);
        let mut said = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            let _lost =
                tokio::time::timeout(Duration::from_secs(1), stderr.take(16 * 1024).read_to_end(&mut said)).await;
        }
        self.0.remove(0);
        (purpose, crate::text::line(String::from_utf8_lossy(&said).trim()))
    }

    /// Ends them all. They are reaped beside whatever comes next: taking a network down takes its time.
    pub(super) fn end(&mut self) -> Reaping {
        let children = std::mem::take(&mut self.0);
        Reaping(
            children
                .into_iter()
                .map(|(_, mut child)| {
                    let _gone = child.start_kill();
                    tokio::spawn(async move { drop(child.wait().await) })
                })
                .collect(),
        )
    }
}
