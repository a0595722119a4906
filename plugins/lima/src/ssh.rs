//! The way into a machine: the `ssh` of this computer with the configuration that Lima writes at each start of a machine,
//! over the connection that Lima's host agent holds open.
//!
//! That is what `limactl shell` does in the end, without its start and without a login shell. Where the connection is
//! gone, `ssh` makes one for this command alone; it never becomes the one that others share, because that would outlive
//! the command and hold its output open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use workmux_plugin_api::{Context, Error, ErrorKind, Result, Tool, ToolOutput};

use crate::mux::Mux;

const SSH: &str = "ssh";
/// Lima's shared connection, in the directory of the machine.
const SOCKET: &str = "ssh.sock";

/// Whether the shared connection is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Shared,
    Own,
}

impl Way {
    /// Greets who holds it: a client would wait for one that does not answer.
    pub(crate) fn of(dir: &Path) -> Self {
        match Mux::greet(&socket(dir)) {
            Ok(_) => Self::Shared,
            Err(_) => Self::Own,
        }
    }
}

/// Where the shared connection is had.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join(SOCKET)
}

pub(crate) fn program(cx: &Context) -> Result<&Path> {
    cx.require_tool(SSH, "install it, Lima needs it too: sudo apt install openssh-client")
}

/// Arguments for a command in a machine; `command` is text for the shell of the machine's user.
pub(crate) fn arguments(config: &Path, machine: &str, way: Way, terminal: bool, command: &str) -> Vec<String> {
    let mut all = vec!["-F".to_owned(), config.display().to_string()];
    let mut option = |text: &str| all.extend(["-o".to_owned(), text.to_owned()]);
    option("ControlMaster=no");
    if way == Way::Own {
        option("ControlPath=none");
        option("ConnectTimeout=10");
    }
    // Every byte is the command's; on a terminal too.
    option("EscapeChar=none");
    // A shared connection that takes no further session is no failure: another one is made, and nobody need know.
    option(if way == Way::Shared { "LogLevel=FATAL" } else { "LogLevel=ERROR" });
    option("ForwardAgent=no");
    option("ForwardX11=no");
    option("ClearAllForwardings=yes");
    all.push(if terminal { "-tt" } else { "-T" }.to_owned());
    all.push(format!("lima-{machine}"));
    all.push("--".to_owned());
    all.push(command.to_owned());
    all
}

/// What a script may take that waits for nothing.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs words in a machine to their end, with this text as their input.
pub(crate) async fn script<T: AsRef<str>>(
    cx: &Context,
    config: &Path,
    dir: &Path,
    machine: &str,
    words: &[T],
    input: String,
) -> Result<ToolOutput> {
    let args = arguments(config, machine, Way::of(dir), false, &quoted(words));
    let tool = Tool {
        program: program(cx)?.to_owned(),
        args: args.into_iter().map(Into::into).collect(),
        input,
        deadline_ms: u64::try_from(DEADLINE.as_millis()).unwrap_or(u64::MAX),
        ..Tool::default()
    };
    cx.run(tool).await.map_err(|e| match e.kind {
        ErrorKind::Timeout => silent(machine).cause(e.message),
        _ => e,
    })
}

/// A machine that runs and cannot be reached.
pub(crate) fn silent(machine: &str) -> Error {
    Error::new(ErrorKind::ToolFailed, format!("the machine '{machine}' does not answer over ssh"))
        .hint(format!("try it by hand: limactl shell {machine}; or start it again: workmux sandbox stop {machine}"))
}

/// Words as a shell reads them back.
pub(crate) fn quoted<T: AsRef<str>>(words: &[T]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word.as_ref())).collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p5_words_survive_a_shell() {
        let words =
            ["plain", "", "a b", "it's", "$(touch x)", "`x`", "a\nb", "-n", "~", "*", "\\", "\"", "ü", "a=b", "#"];
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("for word in {}; do printf '%s\\0' \"$word\"; done", quoted(&words))])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), words.map(|word| format!("{word}\0")).concat());
    }

    #[test]
    fn the_shared_connection_is_used_only_where_somebody_answers() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Way::of(dir.path()), Way::Own);
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let answering = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut client, &[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 4]).unwrap();
            listener
        });
        assert_eq!(Way::of(dir.path()), Way::Shared);
        drop(answering.join().unwrap());
        assert_eq!(Way::of(dir.path()), Way::Own, "a socket that was left over");
    }

    #[test]
    fn arguments_of_a_command() {
        let of = |way, terminal| arguments(Path::new("/l/wm-a/ssh.config"), "wm-a", way, terminal, "exec true");
        insta::assert_debug_snapshot!([of(Way::Shared, false).join(" "), of(Way::Own, true).join(" ")]);
    }
}
