//! Keeps the user's terminal out of a run that is not interactive: where only some of standard input, output and error
//! are a terminal, the guest gets a pipe in its place and the bytes are carried here. It can then neither change the
//! terminal's mode nor read its keys, and sees that nobody sits there.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::pump::show;

/// What is kept back of a program's own words; the last ones say why it failed.
const MAX_HELD: usize = 16 * 1024;

/// The guest's side; `None` where the host's own descriptor is no terminal and is passed on.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    pub(super) carriers: Carriers,
}

/// Threads that bring output to the terminal until the guest's side is closed. The one that reads keys is not among
/// them: it ends with the process.
#[derive(Default)]
pub(super) struct Carriers(Vec<JoinHandle<()>>);

impl Carriers {
    pub(super) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Waits until everything is shown. Call when the guest is gone.
    pub(super) fn finish(self) {
        for thread in self.0 {
            let _panicked = thread.join();
        }
    }
}

/// A pipe for each terminal.
pub(super) fn around() -> io::Result<Ends> {
    let mut ends = Ends::default();
    if io::stdin().is_terminal() {
        let (reader, writer) = io::pipe()?;
        ends.stdin = Some(reader.into());
        // A guest that is gone, or does not want more, ends it.
        carry("keys", own(io::stdin())?, writer)?;
    }
    if io::stdout().is_terminal() {
        let (reader, writer) = io::pipe()?;
        ends.stdout = Some(writer.into());
        ends.carriers.0.push(carry("output", reader, own(io::stdout())?)?);
    }
    if io::stderr().is_terminal() {
        let (reader, writer) = io::pipe()?;
        ends.stderr = Some(writer.into());
        ends.carriers.0.push(carry("errors", reader, own(io::stderr())?)?);
    }
    Ok(ends)
}

/// The descriptor itself, without the standard library's buffer.
fn own(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

fn carry(
    name: &str,
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(move || drop(io::copy(&mut from, &mut to)))
}

/// A program's standard error, kept back until it is known whose words they are: its own before the guest's first process
/// has reported, the guest's afterwards. Only the thread that carries it ever waits for whoever reads ours.
pub(super) struct Held(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Held while something is shown, so that nothing overtakes what was kept.
    showing: Mutex<()>,
}

enum State {
    Keeping(Vec<u8>),
    /// With what was kept and is not shown yet.
    Passing(Vec<u8>),
}

impl Held {
    /// The program's end, ours, and the thread between them, which ends with the last holder of the program's.
    pub(super) fn new() -> io::Result<(OwnedFd, Self, Carriers)> {
        let (reader, writer) = io::pipe()?;
        let shared = Arc::new(Shared { state: Mutex::new(State::Keeping(Vec::new())), showing: Mutex::new(()) });
        let held = Self(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("errors".into()).spawn(move || hold(reader, &shared))?;
        Ok((writer.into(), held, Carriers(vec![thread])))
    }

    /// From now on everything is shown, and first what was kept.
    pub(super) fn pass(&self) {
        let mut state = lock(&self.0.state);
        let State::Keeping(kept) = &mut *state else { return };
        let kept = std::mem::take(kept);
        let anything = !kept.is_empty();
        *state = State::Passing(kept);
        drop(state);
        if anything {
            let shared = Arc::clone(&self.0);
            // Without a thread it is shown with what comes next, or at the end.
            let _later = std::thread::Builder::new().name("errors".into()).spawn(move || shared.show(&[]));
        }
    }

    /// What is still kept, as text.
    pub(super) fn take(&self) -> String {
        let (State::Keeping(kept) | State::Passing(kept)) = &mut *lock(&self.0.state);
        String::from_utf8_lossy(&std::mem::take(kept)).into_owned()
    }
}

impl Shared {
    /// Shows what was kept and then this. An error: nobody reads it any more.
    fn show(&self, bytes: &[u8]) -> nix::Result<()> {
        let _in_order = lock(&self.showing);
        let kept = match &mut *lock(&self.state) {
            State::Passing(kept) => std::mem::take(kept),
            State::Keeping(_) => Vec::new(),
        };
        let stderr = io::stderr();
        show(stderr.as_fd(), &kept)?;
        show(stderr.as_fd(), bytes)
    }
}

fn hold(mut from: impl Read, shared: &Shared) {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let n = match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if let State::Keeping(kept) = &mut *lock(&shared.state) {
            kept.extend_from_slice(&chunk[..n]);
            kept.drain(..kept.len().saturating_sub(MAX_HELD));
            continue;
        }
        if shared.show(&chunk[..n]).is_err() {
            // The program's end of the pipe breaks with this one: it learns what anybody learns whose reader is gone.
            return;
        }
    }
}

/// Whether what the command has said still waits for whoever reads our standard output or error.
pub(super) fn is_backed_up() -> bool {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let full = |fd: BorrowedFd| {
        let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO) == Ok(0)
    };
    full(stdout.as_fd()) || full(stderr.as_fd())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
