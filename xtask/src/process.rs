//! Running other programs: to the end, for their output, or within a time.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::Result;

/// Runs a program on our own terminal; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|e| could_not_start(command, &e))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed ({status})", shown(command))) }
}

/// Runs a program for its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| could_not_start(command, &e))?;
    if output.status.success() {
        String::from_utf8(output.stdout).map_err(|_| format!("{} printed what is not UTF-8", shown(command)))
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} failed ({}): {}", shown(command), output.status, stderr.trim()))
    }
}

/// Whether a program runs and succeeds; it is not heard.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// What a program left.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program that gets no input, for everything it prints; killed when it takes longer than `deadline`.
pub(crate) fn finish(command: &mut Command, deadline: Duration) -> Result<Finished> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| could_not_start(command, &e))?;
    let (send, receive) = mpsc::channel();
    read_to_end(child.stdout.take(), 0, &send);
    read_to_end(child.stderr.take(), 1, &send);
    drop(send);
    let mut texts = [String::new(), String::new()];
    for _ in 0..2 {
        match receive.recv_timeout(deadline) {
            Ok((at, text)) => {
                let slot: &mut String = &mut texts[at];
                *slot = text;
            }
            Err(_) => {
                end(&mut child);
                return Err(format!("{} did not end within {} s", shown(command), deadline.as_secs()));
            }
        }
    }
    let status = child.wait().map_err(|e| format!("{}: {e}", shown(command)))?;
    let [stdout, stderr] = texts;
    Ok(Finished { status, stdout, stderr })
}

fn read_to_end(pipe: Option<impl Read + Send + 'static>, at: usize, to: &mpsc::Sender<(usize, String)>) {
    let (Some(mut pipe), to) = (pipe, to.clone()) else { return };
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks ends the text, no more.
        let _broken = pipe.read_to_end(&mut bytes);
        let _gone = to.send((at, String::from_utf8_lossy(&bytes).into_owned()));
    });
}

/// Ends a program of ours and waits for it.
pub(crate) fn end(child: &mut Child) {
    let _already_gone = child.kill();
    let _reaped = child.wait();
}

fn could_not_start(command: &Command, error: &std::io::Error) -> String {
    format!("could not start {}: {error}", shown(command))
}

/// A command as a person would type it, near enough for a message.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("'{}'", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_ended() {
        let result = finish(Command::new("sleep").arg("1000"), Duration::from_millis(50));
        assert!(result.is_err_and(|e| e.contains("did not end")));
    }

    #[test]
    fn output_and_status_arrive() {
        let done = finish(Command::new("sh").args(["-c", "echo a; echo b >&2; exit 3"]), Duration::from_secs(20));
        let done = done.unwrap();
        assert_eq!((done.status.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(3), "a\n", "b\n"));
        assert!(output(&mut Command::new("false")).is_err());
        assert!(run(&mut Command::new("/nonexistent/program")).is_err());
    }
}
