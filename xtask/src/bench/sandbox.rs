//! A command in a bubblewrap sandbox, against the same sandbox made by hand.
//!
//! The plain thing is bwrap with the options that workmux gives it. Where the sandbox has a network of its own it runs
//! inside one that pasta makes, with pasta's options too: by hand nobody attaches pasta to a sandbox, since its network
//! belongs to a user namespace that nothing but bwrap's own child can name.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::dry_run::Plan;
use super::home::Home;
use super::pairs::{Gate, Pair};
use crate::{Result, process};

/// What a run may cost above its sandbox: git's private directory, the supervisor, the import at the end.
const LIMIT: Gate = Gate::Milliseconds(20.0);

/// Each turn takes a fraction of a second.
const DEADLINE: Duration = Duration::from_secs(20);

/// The pairs.
pub(super) fn pairs(home: &Home, workmux: &Path) -> Result<Vec<Pair>> {
    let private = "sandbox: { backend: bubblewrap }\n";
    let host = "sandbox: { backend: bubblewrap, bubblewrap: { network: host } }\n";
    Ok(vec![
        pair("sandbox: `shell -- true`, own network", home, workmux, &home.configuration("private", private)?)?,
        pair("sandbox: `shell -- true`, host's network", home, workmux, &home.configuration("host", host)?)?,
    ])
}

fn pair(name: &'static str, home: &Home, workmux: &Path, configuration: &Path) -> Result<Pair> {
    let plan = Plan::ask(home, workmux, configuration)?;
    let (plain_home, ours_home) = (home.clone(), home.clone());
    let (workmux, configuration) = (workmux.to_owned(), configuration.to_owned());
    Ok(Pair {
        name,
        plain: Box::new(move || by_hand(&plain_home, &plan)),
        ours: Box::new(move || {
            let mut command = ours_home.command(&workmux);
            command.env("XDG_CONFIG_HOME", &configuration).args(["sandbox", "shell", "--", "true"]);
            once(&mut command)
        }),
        gate: LIMIT,
        rounds: 20,
    })
}

/// Starts bwrap, inside a network that pasta makes if there is one.
fn by_hand(home: &Home, plan: &Plan) -> Result<()> {
    let mut command = match &plan.pasta {
        None => home.command(&plan.bwrap[0]),
        Some(pasta) => {
            let mut command = home.command(&pasta[0]);
            // These attach it to a sandbox that runs already.
            let attaches = |word: &String| ["--foreground", "--netns-only", "--netns"].contains(&word.as_str());
            command.args(pasta[1..].iter().filter(|word| !attaches(word) && !word.contains("{pid}")));
            command.arg("--").arg(&plan.bwrap[0]);
            command
        }
    };
    command.args(&plan.bwrap[1..]);
    if plan.pasta.is_some() {
        command.arg("--share-net");
    }
    once(command.arg("--").args(&plan.before_command).arg("true"))
}

/// Runs a command that must succeed.
fn once(command: &mut Command) -> Result<()> {
    let done = process::finish(command, DEADLINE)?;
    if done.status.success() { Ok(()) } else { Err(format!("{}: {}", process::shown(command), done.stderr.trim())) }
}
