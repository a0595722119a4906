//! `shell`: a login shell in the guest, through the connection that all share. What is typed goes through two shells, as in
//! Lima: the words are quoted for the inner one, and its command line for the outer one.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::start::start;
use crate::config::Config;
use crate::failure::{Failure, Result};
use crate::flags::Words;
use crate::log;
use crate::quoting;
use crate::ssh;
use crate::store::{Status, Store};
use crate::version::StoppedShell;

/// What `--preserve-env` keeps back.
const BLOCKED: [&str; 10] = ["BASH", "HOME", "PATH", "PWD", "SHELL", "SSH_", "TERM", "TMPDIR", "USER", "XDG_"];

/// The command.
pub(super) fn run(store: &Store, words: &Words) -> Result<i32> {
    let (name, command) = words.rest.split_first().ok_or(Failure::new("requires an instance"))?;
    // One of these was eaten only if it came before the instance.
    let command = command.strip_prefix(&[OsString::from("--")]).unwrap_or(command);
    let name = name.to_string_lossy().into_owned();
    let quoted = store.version.quote(&name);
    let inspect = || {
        store.inspect(&name).map_err(|failure| {
            let text =
                format!("instance {quoted} does not exist, run `limactl create {name}` to create a new instance");
            if failure.missing { Failure::new(text) } else { failure }
        })
    };
    let mut instance = inspect()?;
    if instance.status == Status::Stopped {
        if words.on("start") {
            start(store, &instance, Duration::from_secs(600))?;
            instance = inspect()?;
        } else {
            match store.version.stopped_shell() {
                StoppedShell::Nothing => return Ok(0),
                StoppedShell::AskInVain => return Err("EOF".into()),
                StoppedShell::Refuse => {
                    return Err(format!(
                        "instance {quoted} is stopped, run `limactl start {name}` to start the instance"
                    )
                    .into());
                }
            }
        }
    }
    let config = instance.config()?;
    let options = ssh::options(&store.home, &instance, config);
    if words.on("reconnect") {
        let mut exit = Command::new("ssh");
        exit.arg("-F").arg(instance.file("ssh.config")).args(["-O", "exit"]).arg(instance.hostname());
        let _no_master = exit.output();
    }
    let mut client = Command::new("ssh");
    client.args(ssh::arguments(&options));
    if std::io::stdout().is_terminal() {
        client.arg("-t");
    }
    if std::env::var_os("COLORTERM").is_some() {
        client.args(["-o", "SendEnv=COLORTERM"]);
    }
    client.args(["-o", "LogLevel=ERROR", "-p", &instance.ssh_port.to_string(), "127.0.0.1", "--"]);
    client.arg(OsStr::from_bytes(&script(store, words, config, command)));
    let status = client.status().map_err(|e| Failure::file("exec", Path::new("ssh"), &e))?;
    Ok(status.code().unwrap_or(-1))
}

/// What the guest's outer shell is given.
fn script(store: &Store, words: &Words, config: &Config, command: &[OsString]) -> Vec<u8> {
    let mut script = change_directory(store, words, config);
    script.extend_from_slice(b" ; exec ");
    if words.on("preserve-env") {
        script.extend_from_slice(b"env ");
        for (name, value) in std::env::vars_os() {
            let blocked = name.to_string_lossy().starts_with('_')
                || BLOCKED.iter().any(|b| name.to_string_lossy().starts_with(b));
            if !blocked {
                let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
                script.extend(quoting::shell(&pair));
                script.push(b' ');
            }
        }
    }
    match words.text("shell") {
        Some(shell) if !shell.is_empty() => script.extend(quoting::shell(shell.as_bytes())),
        _ => script.extend_from_slice(b"\"$SHELL\""),
    }
    script.push(b' ');
    script.extend_from_slice(store.version.login_flag().as_bytes());
    if !command.is_empty() {
        script.extend_from_slice(b" -c ");
        script.extend(quoting::shell(&command_line(command)));
    }
    script
}

/// The words for the inner shell. Leading ones with `=` become assignments, whose names nobody quotes.
fn command_line(command: &[OsString]) -> Vec<u8> {
    let mut assigning = true;
    let words = command.iter().map(|word| {
        let word = word.as_bytes();
        match word.iter().position(|b| *b == b'=') {
            Some(at) if assigning => [&word[..=at], &quoting::shell(&word[at + 1..])].concat(),
            _ => {
                assigning = false;
                quoting::shell(word)
            }
        }
    });
    words.collect::<Vec<_>>().join(&b' ')
}

fn change_directory(store: &Store, words: &Words, config: &Config) -> Vec<u8> {
    let to = |dir: &[u8]| [b"cd ", quoting::shell(dir).as_slice()].concat();
    if let Some(dir) = words.text("workdir").filter(|dir| !dir.is_empty()) {
        return [to(dir.as_bytes()).as_slice(), b" || exit 1"].concat();
    }
    let here = std::env::current_dir().ok();
    let held = |here: &Path| config.mounts.iter().any(|mount| here.starts_with(&mount.location));
    let tries = match &here {
        Some(here) if store.version.looks_into_mounts() => held(here),
        _ => !config.mounts.is_empty(),
    };
    if !tries {
        return b"false".to_vec();
    }
    if here.is_none() {
        log::warning("failed to get the current directory");
    }
    let mut text = here.map_or(b"false".to_vec(), |here| to(&here.into_os_string().into_vec()));
    if let Some(home) = std::env::var_os("HOME") {
        text.extend_from_slice(b" || ");
        text.extend(to(home.as_bytes()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_inner_shell_and_assignments_half() {
        let words: Vec<_> = ["A=b c", "X;Y=1", "cmd", "K=v w", ""].map(OsString::from).into();
        assert_eq!(command_line(&words), b"A='b c' X;Y=1 cmd 'K=v w' ''");
    }
}
