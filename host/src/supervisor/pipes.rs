//! Keeps the user's terminal out of a run that is not interactive: where only some of standard input, output and error
//! are a terminal, the guest gets a pipe in its place and the bytes are carried here. It can then neither change the
//! terminal's mode nor read its keys, and sees that nobody sits there.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

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
/// has reported, the guest's afterwards.
pub(super) struct Held(Arc<Mutex<State>>);

enum State {
    Keeping(Vec<u8>),
    Passing,
}

impl Held {
    /// The program's end, ours, and the thread between them, which ends with the last holder of the program's.
    pub(super) fn new() -> io::Result<(OwnedFd, Self, Carriers)> {
        let (reader, writer) = io::pipe()?;
        let state = Arc::new(Mutex::new(State::Keeping(Vec::new())));
        let held = Self(Arc::clone(&state));
        let thread = std::thread::Builder::new().name("errors".into()).spawn(move || hold(reader, &state))?;
        Ok((writer.into(), held, Carriers(vec![thread])))
    }

    /// From now on everything is shown, and first what was kept.
    pub(super) fn pass(&self) {
        let mut state = lock(&self.0);
        if let State::Keeping(kept) = std::mem::replace(&mut *state, State::Passing) {
            show(&kept);
        }
    }

    /// What is still kept, as text.
    pub(super) fn take(&self) -> String {
        match &mut *lock(&self.0) {
            State::Keeping(kept) => String::from_utf8_lossy(&std::mem::take(kept)).into_owned(),
            State::Passing => String::new(),
        }
    }
}

fn hold(mut from: impl Read, state: &Mutex<State>) {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(n) => match &mut *lock(state) {
                State::Keeping(kept) => {
                    kept.extend_from_slice(&chunk[..n]);
                    kept.drain(..kept.len().saturating_sub(MAX_HELD));
                }
                State::Passing => show(&chunk[..n]),
            },
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Writes to our own standard error, past the standard library's buffer.
fn show(bytes: &[u8]) {
    if let Ok(mut stderr) = own(io::stderr()) {
        let _closed = stderr.write_all(bytes);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
