//! What an agent's hook writes to standard input: a JSON object that may hold the prompt it works on.
//!
//! Nothing here may fail or hang: a terminal is not read, an open pipe only for a moment, and anything that is not
//! such an object is as good as nothing.

use std::io::{IsTerminal, stdin};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::json;
use crate::rpc_client::MAX_LINE;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Hooks write before or as they start us.
const PATIENCE: Duration = Duration::from_millis(200);
/// In characters.
const MAX_PROMPT: usize = 500;

/// The prompt as one line, if there is one.
pub(super) fn prompt() -> Option<String> {
    if stdin().is_terminal() {
        return None;
    }
    let mut input = Vec::new();
    let mut parsed = None;
    read_for_a_moment(MAX_LINE, |chunk| {
        input.extend_from_slice(chunk);
        // An agent may keep the pipe open: a whole object is as good as the end.
        if input.trim_ascii_end().ends_with(b"}") {
            parsed = json::read(&input);
        }
        parsed.is_none()
    });
    one_line(parsed?.text("prompt")?)
}

/// Reads standard input until it ends, `take` has enough, the limit is reached or time is up.
fn read_for_a_moment(limit: usize, mut take: impl FnMut(&[u8]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut chunk = [0; 16 * 1024];
    let mut total = 0;
    while total < limit && wait_for_input(deadline) {
        match nix::unistd::read(stdin(), &mut chunk) {
            Ok(0) => return,
            Ok(n) => {
                total += n;
                if !take(&chunk[..n]) {
                    return;
                }
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => return,
        }
    }
}

/// Whether something, or the end, can be read before the deadline.
fn wait_for_input(deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let input = stdin();
        let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::ZERO)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// Whether anything at all stands on a standard input that is not a terminal.
pub(super) fn input_is_given() -> bool {
    if stdin().is_terminal() {
        return false;
    }
    let mut given = false;
    read_for_a_moment(1, |_| {
        given = true;
        false
    });
    given
}

/// Control characters and line ends become spaces, runs of white space one; cut to size. Empty is nothing.
fn one_line(text: &str) -> Option<String> {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > MAX_PROMPT * 4 {
            break;
        }
    }
    let line: String = line.chars().take(MAX_PROMPT).collect();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_becomes_one_short_line() {
        assert_eq!(one_line(" a\n\tb\u{1b}[1m  c\u{2028}d ").as_deref(), Some("a b [1m c d"));
        assert_eq!(one_line(" \n\0 "), None);
        assert_eq!(one_line(&"é".repeat(2000)).unwrap().chars().count(), MAX_PROMPT);
        assert_eq!(one_line(&"x ".repeat(2000)).unwrap().chars().count(), MAX_PROMPT);
    }
}
