//! `cargo xtask setup`: what tests and the demo need of a machine, installed only after a yes.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::Command;

use crate::account::{self, Account};
use crate::{Result, in_ci, process};

/// Programs we start, and the Debian packages that bring them.
pub(crate) type Programs = &'static [(&'static str, &'static str)];

/// What runs sandboxes.
pub(crate) const SANDBOXES: Programs = &[("bwrap", "bubblewrap"), ("pasta", "passt"), ("tmux", "tmux"), ("git", "git")];
/// What tests need besides, next to the engines: a real agent is installed the way its users install it.
const AGENTS: Programs = &[("npm", "npm")];
/// What the example of a backend that is no library is written in.
const EXAMPLES: Programs = &[("/usr/bin/python3", "python3")];
/// What the guests of the stand-in for `limactl` are entered by.
const GUESTS: Programs = &[("/usr/sbin/sshd", SSH_SERVER), ("ssh", "openssh-client")];
const SSH_SERVER: &str = "openssh-server";

/// Everything that is measured.
pub(crate) fn measured() -> Vec<(&'static str, &'static str)> {
    [SANDBOXES, GUESTS, crate::engines::PROGRAMS].concat()
}

/// Everything that tests use.
pub(crate) fn tests() -> Vec<(&'static str, &'static str)> {
    [SANDBOXES, AGENTS, EXAMPLES, GUESTS, crate::engines::PROGRAMS].concat()
}

/// Whether this machine may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// Ask, if there is somebody to ask.
    Ask,
    /// The person said yes on the command line.
    Given,
    /// The person said no on the command line.
    Refused,
}

/// What a machine offers.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The ordinary user that runs things.
    pub(crate) account: Account,
    /// Packages that are still missing.
    pub(crate) missing: Vec<&'static str>,
}

impl Ready {
    /// Insists on every package.
    pub(crate) fn complete(self) -> Result<Self> {
        match install_line(&self.missing) {
            None => Ok(self),
            Some(line) => Err(format!("something is missing on this machine. Type: {line}")),
        }
    }
}

/// The task.
pub(crate) fn run(consent: Consent) -> Result<Ready> {
    let ready = prepare(consent, &tests())?.complete()?;
    println!("this machine has all that tests and the demo need; they run as '{}'", ready.account.name);
    Ok(ready)
}

/// Installs what is missing if that is allowed, and says what there is.
pub(crate) fn prepare(consent: Consent, programs: &[(&'static str, &'static str)]) -> Result<Ready> {
    let root = account::own_uid() == 0;
    let mut missing = missing(programs);
    let mut account = Account::find()?;
    let mut steps = Vec::new();
    if !missing.is_empty() && root && on_path("apt-get") {
        let mut install = Command::new("apt-get");
        install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "-q", "--no-install-recommends"]);
        install.args(&missing);
        steps.push(install);
    }
    if account.is_none() {
        let mut add = Command::new("useradd");
        add.args(["--create-home", "--shell", "/bin/sh", account::NAME]);
        steps.push(add);
    }
    if root && programs.iter().any(|(program, _)| *program == "pasta") && closed(TUN) {
        let mut open = Command::new("chmod");
        open.args(["666", TUN]);
        steps.push(open);
    }
    if !steps.is_empty() && may(consent, &steps)? {
        if !missing.is_empty() {
            // A fresh machine has no package lists yet.
            process::run(Command::new("apt-get").args(["update", "-q"]))?;
        }
        for step in &mut steps {
            process::run(step)?;
        }
        if missing.contains(&SSH_SERVER) {
            quiet_ssh_server();
        }
        missing = self::missing(programs);
        account = Account::find()?;
    }
    match account {
        Some(account) => Ok(Ready { account, missing }),
        None => Err(format!(
            "nothing runs as root here. Type: useradd --create-home {}\nor start this as an ordinary user",
            account::NAME
        )),
    }
}

/// Ends what the package may have started, and keeps it from starting again: tests start the server themselves, and this
/// machine need not be entered.
fn quiet_ssh_server() {
    let systemd = std::path::Path::new("/run/systemd/system").exists();
    let words: &[&str] =
        if systemd { &["systemctl", "disable", "--now", "ssh.service"] } else { &["service", "ssh", "stop"] };
    let _nothing_to_end = process::succeeds(Command::new(words[0]).args(&words[1..]));
}

/// Where an ordinary user gets a network of its own from. Where a device manager runs it is open to everybody.
const TUN: &str = "/dev/net/tun";

/// Whether the device is there, but for root alone.
fn closed(device: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(device).is_ok_and(|found| found.mode() & 0o006 != 0o006)
}

/// Shows the steps and gets the answer.
fn may(consent: Consent, steps: &[Command]) -> Result<bool> {
    if consent == Consent::Refused {
        return Ok(false);
    }
    println!("tests and the demo need this of the machine:");
    for step in steps {
        println!("  {}", process::shown(step).trim_matches('\''));
    }
    if consent == Consent::Given || in_ci() {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        println!("not done: nobody is there to ask (--yes does it)");
        return Ok(false);
    }
    print!("do it now? [y/N] ");
    let mut answer = String::new();
    io::stdout().flush().and_then(|()| io::stdin().lock().read_line(&mut answer)).map_err(|e| e.to_string())?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    programs.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect()
}

/// What to type to get these packages.
pub(crate) fn install_line(missing: &[&str]) -> Option<String> {
    let sudo = if account::own_uid() == 0 { "" } else { "sudo " };
    (!missing.is_empty()).then(|| match on_path("apt-get") {
        true => format!("{sudo}apt-get install --no-install-recommends {}", missing.join(" ")),
        false => format!("(your system's way to install these Debian packages) {}", missing.join(" ")),
    })
}

fn on_path(program: &str) -> bool {
    if program.starts_with('/') {
        return std::path::Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.is_absolute() && folder.join(program).is_file())
}
