//! The supervisor: holds the terminal while the command runs, records what it prints, and ends with it.
//!
//! One thread does it all, a chunk at a time, so that a flood keeps nobody out and what is seen of the terminal is
//! always of one moment. Clients are `serve.rs`'s.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, killpg};
use nix::sys::termios::{InputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{Pid, dup2_stderr, read, tcgetpgrp, write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;
use tokio::process::Child;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::{Place, SOCKET};
use super::log::{self, Log};
use super::screen::{SIZE, Screen};
use super::start::{self, READY, could_not};
use super::wire::MAX_INPUT;
use super::{GRACE, SUPERVISOR, serve, watched};
use crate::runs::ProcessIdentity;
use crate::supervisor::{Signals, Sudden, set_size};

/// Chunks that an attached client may be behind; then it is shown the screen anew.
const BACKLOG: usize = 256;
/// How long what was printed last may take to be read: it is all there already.
const DRAIN: Duration = Duration::from_secs(5);

/// What the tasks of this process share.
pub(super) struct Terminal {
    master: AsyncFd<OwnedFd>,
    screen: Mutex<Screen>,
    input: Mutex<Vec<u8>>,
    typed: Notify,
    /// What is printed, for those attached; an empty chunk is the end.
    output: broadcast::Sender<Arc<[u8]>>,
    stop: Notify,
    ended: Notify,
}

impl Terminal {
    fn new(master: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            master: watched(master, Interest::READABLE | Interest::WRITABLE)?,
            screen: Mutex::new(Screen::new()),
            input: Mutex::default(),
            typed: Notify::new(),
            output: broadcast::Sender::new(BACKLOG),
            stop: Notify::new(),
            ended: Notify::new(),
        })
    }

    /// Types, if all of it fits behind what the command has not read yet.
    pub(super) fn type_in(&self, bytes: &[u8]) -> bool {
        let mut input = lock(&self.input);
        if input.len() + bytes.len() > MAX_INPUT {
            return false;
        }
        input.extend_from_slice(bytes);
        self.typed.notify_one();
        true
    }

    pub(super) fn text(&self, lines: usize) -> String {
        lock(&self.screen).text(lines)
    }

    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) {
        let (rows, columns) = lock(&self.screen).resize(rows, columns);
        set_size(self.master.get_ref().as_fd(), &winsize(rows, columns));
    }

    /// The screen as it is, and all that comes after.
    pub(super) fn watch(&self) -> (Vec<u8>, broadcast::Receiver<Arc<[u8]>>) {
        let mut screen = lock(&self.screen);
        let output = self.output.subscribe();
        (screen.redraw(), output)
    }

    /// Reads until nothing more can come.
    async fn record(&self, mut log: Log) {
        let mut chunk = vec![0; 32 * 1024];
        loop {
            let mut ready = tokio::select! {
                ready = self.master.readable() => match ready {
                    Ok(ready) => ready,
                    Err(_) => return,
                },
                () = self.ended.notified() => break,
            };
            match ready.try_io(|master| Ok(read(master, &mut chunk)?)) {
                Ok(Ok(n @ 1..)) => self.keep(&chunk[..n], &mut log),
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_empty) => {}
                // Nobody has its other end any more.
                Ok(_) => return,
            }
            // Others have their turn between any two chunks.
            tokio::task::yield_now().await;
        }
        // What was printed last is all there.
        while let Ok(n @ 1..) = read(self.master.get_ref(), &mut chunk) {
            self.keep(&chunk[..n], &mut log);
            tokio::task::yield_now().await;
        }
    }

    fn keep(&self, bytes: &[u8], log: &mut Log) {
        // A full disk costs the log its lines, not the terminal its life.
        let _full = log.write(bytes);
        let mut screen = lock(&self.screen);
        screen.take(bytes);
        if self.output.receiver_count() > 0 {
            let _left = self.output.send(bytes.into());
        }
    }

    /// Passes on what is typed, as fast as the command reads.
    async fn carry_input(&self) {
        loop {
            self.typed.notified().await;
            while !lock(&self.input).is_empty() {
                let Ok(mut ready) = self.master.writable().await else { return };
                let written = ready.try_io(|master| {
                    let mut input = lock(&self.input);
                    let first = input.len().min(4096);
                    let n = write(master, &input[..first])?;
                    input.drain(..n);
                    Ok(())
                });
                if matches!(written, Ok(Err(e)) if e.kind() != io::ErrorKind::Interrupted) {
                    lock(&self.input).clear();
                }
            }
        }
    }

    /// Waits for the command's end, and brings it about where somebody asks for it.
    async fn end_of(&self, command: &mut Child, signals: &mut Signals) -> io::Result<ExitStatus> {
        let group = command.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let mut patience = None;
        let status = loop {
            let asked = tokio::select! {
                status = command.wait() => break status,
                () = self.stop.notified() => true,
                sudden = signals.next() => matches!(sudden, Sudden::End(_)),
                () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                    self.signal(group, Signal::SIGKILL);
                    patience = Some(Instant::now() + GRACE);
                    false
                }
            };
            if asked && patience.is_none() {
                // What is stopped can only hear of it when it goes on.
                self.signal(group, Signal::SIGHUP);
                self.signal(group, Signal::SIGCONT);
                patience = Some(Instant::now() + GRACE);
            }
        };
        if let (Some(group), Some(patience)) = (group, patience) {
            // Those it had started were told as well and have as long; nothing says when they are gone.
            while killpg(group, None).is_ok() && Instant::now() < patience {
                sleep(Duration::from_millis(20)).await;
            }
            let _gone = killpg(group, Signal::SIGKILL);
        }
        status
    }

    /// Sends a signal to whom a closed window would: the command's group and whichever has the foreground.
    fn signal(&self, group: Option<Pid>, signal: Signal) {
        let foreground = tcgetpgrp(self.master.get_ref()).ok().filter(|foreground| foreground.as_raw() > 1);
        for group in group.into_iter().chain(foreground.filter(|foreground| group != Some(*foreground))) {
            let _gone = killpg(group, signal);
        }
    }
}

/// Runs the command to its end; its exit code.
pub(super) fn supervise(directory: &Path, cwd: &Path, words: &[OsString]) -> Result<u8, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| could_not("start its supervisor", e))?;
    let code = runtime.block_on(run(directory, cwd, words));
    runtime.shutdown_background();
    code
}

async fn run(directory: &Path, cwd: &Path, words: &[OsString]) -> Result<u8, String> {
    let at = |what: &str| could_not(what, directory.display());
    let place = Place::open(directory).map_err(|e| could_not(&format!("open '{}'", directory.display()), e))?;
    // Held for as long as we live: two supervisors would write one log.
    place.directory().try_lock().map_err(|_| at("run two commands in one directory"))?;
    // Handlers are forgotten at the next exec, and so is that the caller had a signal ignored, as `nohup` and shells do.
    let mut signals = Signals::install().map_err(|e| could_not("listen for signals", e))?;
    // We keep the command's end as well: a program that lets go of its terminal and takes it again finds it as it was.
    let (master, slave) = pair().map_err(|e| could_not("make a terminal", e))?;
    let terminal = Arc::new(Terminal::new(master).map_err(|e| could_not("watch its terminal", e))?);
    let log = Log::begin(directory, log::MAX).map_err(|e| could_not("begin its log", e))?;
    let listener = listen(&place).map_err(|e| could_not("listen", e))?;
    let remove = || {
        let _gone = fs::remove_file(directory.join(SOCKET));
    };
    let mut command = start::spawn(&slave, directory, cwd, words).inspect_err(|_| remove())?;
    if let Err(e) = announce(directory) {
        let _gone = command.kill().await;
        remove();
        return Err(could_not("say that it runs", e));
    }

    let recorder = tokio::spawn({
        let terminal = Arc::clone(&terminal);
        async move { terminal.record(log).await }
    });
    let carrier = tokio::spawn({
        let terminal = Arc::clone(&terminal);
        async move { terminal.carry_input().await }
    });
    let (clients, server) = serve::start(listener, &terminal);
    let status = terminal.end_of(&mut command, &mut signals).await;
    carrier.abort();
    // Whoever could still print lost the terminal with the leader of its session.
    drop(slave);
    terminal.ended.notify_one();
    let _late = timeout(DRAIN, recorder).await;
    server.abort();
    let _nobody = terminal.output.send([].into());
    clients.leave().await;
    remove();
    status.map(code).map_err(|e| could_not("wait for its command", e))
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(crate::error::ERROR)
}

/// Our end of a new terminal, which never blocks, and the command's.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let OpenptyResult { master, slave } = openpty(Some(&winsize(SIZE.0, SIZE.1)), None)?;
    for end in [&master, &slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    let flags = OFlag::from_bits_retain(fcntl(&master, FcntlArg::F_GETFL)?);
    fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    let mut mode = tcgetattr(&slave)?;
    // So that rubbing out takes a whole letter.
    mode.input_flags |= InputFlags::IUTF8;
    tcsetattr(&slave, SetArg::TCSANOW, &mode)?;
    Ok((master, slave))
}

fn winsize(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn listen(place: &Place) -> io::Result<UnixListener> {
    let path = place.socket();
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Leaves word of who we are, and tells the caller, whom we then let go.
fn announce(directory: &Path) -> io::Result<()> {
    let (path, new) = (directory.join(SUPERVISOR), directory.join(format!("{SUPERVISOR}.new")));
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(&ProcessIdentity::own())?)?;
    fs::rename(new, path)?;
    crate::ui::raw_error(READY);
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    Ok(dup2_stderr(null)?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
