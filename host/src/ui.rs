//! The only module that prints. Standard output belongs to results and to the guest's command; everything of ours
//! around a session goes to standard error.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

/// Prints a result.
pub fn result(text: &str) {
    let mut out = io::stdout().lock();
    // A closed pipe is the reader's decision, not an error.
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a line of ours beside a session.
pub fn note(text: &str) {
    eprint_line(&format!("workmux: {text}"));
}

/// Prints a warning.
pub fn warning(text: &str) {
    eprint_line(&format!("workmux: warning: {text}"));
}

/// Prints a line of a trace.
pub fn trace(text: &str) {
    eprint_line(&format!("workmux: trace: {text}"));
}

/// Prints text that is already whole lines, such as a rendered error.
pub fn raw_error(text: &str) {
    let mut err = io::stderr().lock();
    let _closed = err.write_all(text.as_bytes());
}

fn eprint_line(text: &str) {
    let mut err = io::stderr().lock();
    // In raw mode a bare newline would step down the screen.
    let end = if io::stdin().is_terminal() { "\r\n" } else { "\n" };
    let _closed = err.write_all(text.as_bytes()).and_then(|()| err.write_all(end.as_bytes()));
}

/// Whether somebody is there to answer a question.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn prompt(text: &str) {
    let mut err = io::stderr().lock();
    let _closed = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Asks a yes-or-no question on standard error; no, end of input and anything unclear are no.
pub fn confirm(question: &str) -> bool {
    answered(question).unwrap_or(false)
}

/// The same; nothing where nobody answers at all.
pub fn answered(question: &str) -> Option<bool> {
    let answer = ask(&format!("{question} [y/N] "))?;
    Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Reads a line after a prompt on standard error; nothing at the end of input.
pub fn ask(prompt: &str) -> Option<String> {
    self::prompt(prompt);
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).ok().filter(|read| *read > 0).map(|_read| answer)
}

/// Prints text for a program or a person to standard output, with a final newline.
pub fn print(text: &str) {
    result(&format!("{}\n", text.trim_end_matches('\n')));
}

/// Standard error as another program's output.
pub fn standard_error() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::AsFd as _;
    io::stderr().as_fd().try_clone_to_owned()
}

/// Prints a result that need not be text.
pub fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let _closed = out.write_all(bytes).and_then(|()| out.flush());
}
