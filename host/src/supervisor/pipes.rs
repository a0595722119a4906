//! Keeps the user's terminal out of a run that is not interactive: where only some of standard input, output and error
//! are a terminal, the guest gets a pipe in its place and the bytes are carried here. It can then neither change the
//! terminal's mode nor read its keys, and sees that nobody sits there.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::thread::JoinHandle;

/// The guest's side; `None` where the host's own descriptor is no terminal and is passed on.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) stdin: Option<Stdio>,
    pub(super) stdout: Option<Stdio>,
    pub(super) stderr: Option<Stdio>,
    pub(super) carriers: Carriers,
}

/// Threads that bring output to the terminal until the guest's side is closed. The one that reads keys is not among
/// them: it ends with the process.
#[derive(Default)]
pub(super) struct Carriers(Vec<JoinHandle<()>>);

impl Carriers {
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
