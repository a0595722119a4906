//! The command line: which command is meant, what it may be given, and what all commands do before they begin.

mod copy;
mod create;
mod delete;
mod edit;
mod list;
mod protect;
mod shell;
mod start;
mod stop;
mod validate;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use nix::unistd::geteuid;

use crate::failure::{Failure, Result};
use crate::faults::Faults;
use crate::flags::{self, Flag, Takes, Words};
use crate::hostagent;
use crate::journal;
use crate::log;
use crate::quoting;
use crate::store::Store;
use crate::version::{RootRefusal, Version};

/// The instance that is meant where none is named.
const DEFAULT: &str = "default";

/// Flags of every command.
const GLOBAL: [Flag; 6] = [
    Flag("log-level", None, Takes::Text),
    Flag("log-format", None, Takes::Text),
    Flag("debug", None, Takes::Switch),
    Flag("tty", None, Takes::Switch),
    Flag("help", Some('h'), Takes::Switch),
    Flag("yes", Some('y'), Takes::Switch),
];

/// A command.
struct Command {
    /// With its aliases.
    names: &'static [&'static str],
    /// What follows the name, for refusals.
    usage: &'static str,
    /// How few and how many words it takes.
    takes: (usize, usize),
    /// Flags of its own, each with the release that brought it.
    flags: &'static [(Flag, (u32, u32))],
    edits: bool,
    run: fn(&Store, &Words) -> Result<i32>,
}

const MANY: usize = usize::MAX;
const FORCE: (Flag, (u32, u32)) = (Flag("force", Some('f'), Takes::Switch), (1, 0));
const NAME: (Flag, (u32, u32)) = (Flag("name", None, Takes::Text), (1, 0));

const COMMANDS: [Command; 12] = [
    Command {
        names: &["create"],
        usage: "FILE.yaml|URL",
        takes: (0, 1),
        flags: &[NAME],
        edits: true,
        run: create::run,
    },
    Command {
        names: &["start"],
        usage: "NAME|FILE.yaml|URL",
        takes: (0, 1),
        flags: &[
            NAME,
            (Flag("timeout", None, Takes::Duration), (1, 0)),
            (Flag("foreground", None, Takes::Switch), (1, 0)),
            (Flag("progress", None, Takes::Switch), (2, 0)),
        ],
        edits: true,
        run: start::run,
    },
    Command { names: &["stop"], usage: "INSTANCE", takes: (0, 1), flags: &[FORCE], edits: false, run: stop::run },
    Command {
        names: &["delete", "remove", "rm"],
        usage: "INSTANCE [INSTANCE, ...]",
        takes: (1, MANY),
        flags: &[FORCE],
        edits: false,
        run: delete::run,
    },
    Command {
        names: &["list", "ls"],
        usage: "[flags] [INSTANCE]...",
        takes: (0, MANY),
        flags: &[
            (Flag("format", Some('f'), Takes::Text), (1, 0)),
            (Flag("json", None, Takes::Switch), (1, 0)),
            (Flag("quiet", Some('q'), Takes::Switch), (1, 0)),
            (Flag("all-fields", None, Takes::Switch), (1, 0)),
        ],
        edits: false,
        run: list::run,
    },
    Command {
        names: &["shell"],
        usage: "[flags] INSTANCE [COMMAND...]",
        takes: (1, MANY),
        flags: &[
            (Flag("shell", None, Takes::Text), (1, 0)),
            (Flag("workdir", None, Takes::Text), (1, 0)),
            (Flag("reconnect", None, Takes::Switch), (1, 1)),
            (Flag("preserve-env", None, Takes::Switch), (2, 0)),
            (Flag("start", None, Takes::Switch), (2, 0)),
        ],
        edits: false,
        run: shell::run,
    },
    Command {
        names: &["copy", "cp"],
        usage: "SOURCE ... TARGET",
        takes: (2, MANY),
        flags: &[
            (Flag("recursive", Some('r'), Takes::Switch), (1, 0)),
            (Flag("verbose", Some('v'), Takes::Switch), (1, 0)),
            (Flag("backend", None, Takes::Text), (2, 0)),
        ],
        edits: false,
        run: copy::run,
    },
    Command { names: &["edit"], usage: "INSTANCE|FILE.yaml", takes: (0, 1), flags: &[], edits: true, run: edit::run },
    Command {
        names: &["validate"],
        usage: "FILE.yaml [FILE.yaml, ...]",
        takes: (1, MANY),
        flags: &[],
        edits: false,
        run: validate::run,
    },
    Command {
        names: &["protect"],
        usage: "INSTANCE [INSTANCE, ...]",
        takes: (1, MANY),
        flags: &[],
        edits: false,
        run: protect::on,
    },
    Command {
        names: &["unprotect"],
        usage: "INSTANCE [INSTANCE, ...]",
        takes: (1, MANY),
        flags: &[],
        edits: false,
        run: protect::off,
    },
    Command { names: &["hostagent"], usage: "INSTANCE", takes: (1, 1), flags: &[], edits: false, run: hostagent::run },
];

/// What Lima has and this has not: a test that comes to need it should hear so.
const MISSING: &str = "restart clone rename info disk snapshot watch tunnel template prune network usernet show-ssh sudoers \
    factory-reset start-at-login autostart guest-install screenshot plugins debug completion help";

/// Runs what the words say; the exit code.
pub(crate) fn run(words: &[OsString]) -> Result<i32> {
    let home = home()?;
    let of_all = Faults::of_all(&home);
    let faulty = of_all.as_ref().ok().and_then(|faults| faults.version.clone());
    let version = std::env::var("FAKE_LIMA_VERSION").ok().or(faulty);
    let version = match &version {
        Some(text) => Version::parse(text).ok_or(Failure::new(format!("fake-limactl: no version: '{text}'")))?,
        None => Version::newest(),
    };
    let root = geteuid().is_root();
    if root && matches!(version.root_refusal(), RootRefusal::Panic) {
        say(&mut std::io::stderr(), "panic: must not run as the root user\n\ngoroutine 1 [running]:\nmain.main()\n");
        return Err(Failure::silent(2));
    }
    if root && matches!(version.root_refusal(), RootRefusal::Everything) {
        say(&mut std::io::stderr(), "limactl: must not run as the root user\n");
        return Err(Failure::silent(1));
    }
    of_all?;

    // Flags of all commands may come first.
    let global = [&GLOBAL[..], &[Flag("version", Some('v'), Takes::Switch)]].concat();
    let before = flags::read(words, &global, false)?;
    let Some((name, behind)) = before.rest.split_first().map(|(name, behind)| (name.clone(), behind.to_vec())) else {
        if before.on("version") {
            say(&mut std::io::stdout(), &format!("limactl version {}\n", version.text()));
        } else {
            say(&mut std::io::stdout(), "Lima: Linux virtual machines\n\nUsage:\n  limactl [command]\n");
        }
        return Ok(0);
    };
    let name = name.to_string_lossy().into_owned();
    let Some(command) = COMMANDS.iter().find(|command| command.names.contains(&name.as_str())) else {
        if MISSING.split_whitespace().any(|missing| missing == name) {
            return Err(format!("fake-limactl has no command {}", quoting::double(&name)).into());
        }
        return Err(format!("unknown command {} for \"limactl\"", quoting::double(&name)).into());
    };
    let mut known = GLOBAL.to_vec();
    if !version.since(1, 2) {
        known.retain(|flag| flag.0 != "yes");
    }
    known.extend(
        command.flags.iter().filter(|(_, (major, minor))| version.since(*major, *minor)).map(|(flag, _)| *flag),
    );
    if command.edits {
        known.extend(crate::edits::EDIT);
    }
    if command.names[0] == "hostagent" {
        known.extend(hostagent::FLAGS);
    }
    let read = flags::read(&behind, &known, command.names[0] != "shell")?;
    let read = before.under(read);
    if read.on("help") {
        say(&mut std::io::stdout(), &format!("Usage:\n  limactl {} {}\n", command.names[0], command.usage));
        return Ok(0);
    }
    check_count(command, read.rest.len())?;
    if let Some(level) = read.text("log-level").filter(|level| !level.is_empty())
        && !log::set_level(level)
    {
        return Err(format!("not a valid logrus Level: {}", quoting::double(level)).into());
    }
    match read.text("log-format") {
        None | Some("text") => {}
        Some("json") => log::as_json(),
        Some(other) => return Err(format!("unsupported log-format: {}", quoting::double(other)).into()),
    }
    if root {
        return Err("must not run as the root user".into());
    }
    if read.has("yes") && read.has("tty") {
        return Err("cannot use both --tty and --yes flags at the same time".into());
    }
    if command.names[0] != "hostagent" {
        journal::note(&home, words);
    }
    (command.run)(&Store { home, version }, &read)
}

/// Lima's directory.
fn home() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("LIMA_HOME").or_else(|| set("HOME").map(|home| home.join(".lima")));
    let home = home.ok_or(Failure::new("neither $LIMA_HOME nor $HOME are defined"))?;
    // Through links, as Lima does: the length of sockets' names counts.
    Ok(home.canonicalize().unwrap_or(home))
}

fn check_count(command: &Command, count: usize) -> Result {
    let (least, most) = command.takes;
    let why = if count < least {
        format!("requires at least {least} arg(s), only received {count}")
    } else if count > most {
        format!("accepts at most {most} arg(s), received {count}")
    } else {
        return Ok(());
    };
    let path = format!("limactl {}", command.names[0]);
    let usage = command.usage;
    Err(format!("\"{path}\" {why}.\nSee '{path} --help'.\n\nUsage:  {path} {usage}\n").into())
}

/// Prints. Nobody may listen any more.
fn say(to: &mut impl Write, text: &str) {
    let _unheard = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
