//! `cargo xtask bench`: what workmux costs, against the same work done without it.
//!
//! A benchmark is a pair of things to do, the plain one and ours (`pairs`). They take turns, so that whatever else
//! the machine does hits both, and only their relation is judged. Each file beside this one owns the pairs of one
//! subject and says what the plain thing is:
//!
//! - `sandbox`: a command in a bubblewrap sandbox, against bwrap (and pasta) started by hand with the same arguments
//! - `worktrees`: a worktree with a window, against git and tmux asked by hand
//! - `containers`: a command in a container, against the engine started by hand with the same arguments
//! - `machines`: a command in a machine of Lima's stand-in, against the ssh it stands on
//! - `pulls`: a pull that finds nothing new, against the engine's own
//! - `plugins`: a command with twenty backends installed, against none
//! - `rpc`: a Heartbeat, against the same bytes through a bare echo

mod containers;
mod dry_run;
mod home;
mod machines;
mod pairs;
mod plugins;
mod pulls;
mod rpc;
mod sandbox;
mod worktrees;

use std::path::Path;

use home::Home;
use pairs::Outcome;

use crate::build::{self, Profile};
use crate::engines::Engines;
use crate::scratch::Scratch;
use crate::setup::{self, Consent};
use crate::workspace::Workspace;
use crate::{Result, install};

/// The task. Fails when a gate does not hold.
pub(crate) fn run(workspace: &Workspace, consent: Consent, json: Option<&Path>) -> Result<()> {
    let ready = setup::prepare(consent, &setup::measured())?.complete()?;
    let product = build::make(workspace, Profile::Release)?;
    let scratch = Scratch::open()?;
    let stage = scratch.folder("stage")?;
    install::lay_out(workspace, &product, &stage)?;
    let engines = Engines::prepare(&scratch, &ready.account);
    let home = Home::make(&ready.account, &scratch.folder("worlds")?)?;

    let mut outcomes = Vec::new();
    println!("{}", Outcome::heading());
    let mut subjects = sandbox::pairs(&home, &stage.join("bin/workmux"))?;
    subjects.extend(worktrees::pairs(&home, &stage.join("bin/workmux"))?);
    subjects.extend(containers::pairs(&home, &stage.join("bin/workmux"), &engines)?);
    let (machine, machines) = machines::pairs(workspace, &home, &stage.join("bin/workmux"))?;
    subjects.extend(machines);
    subjects.extend(pulls::pairs(&home, &stage.join("bin/workmux"), &engines)?);
    subjects.extend(plugins::pairs(workspace, &product, &home, &stage)?);
    for pair in subjects {
        let outcome = pair.measure()?;
        println!("{outcome}");
        outcomes.push(outcome);
    }
    machine.stop()?;
    for outcome in rpc::outcomes(&product.guest)? {
        println!("{outcome}");
        outcomes.push(outcome);
    }
    if let Some(file) = json {
        let text = format!("{:#}\n", pairs::to_json(&outcomes));
        std::fs::write(file, text).map_err(|e| format!("could not write '{}': {e}", file.display()))?;
    }
    let broken: Vec<_> = outcomes.iter().filter(|o| !o.holds()).map(|o| o.name).collect();
    if broken.is_empty() { Ok(()) } else { Err(format!("beyond its limit: {}", broken.join(", "))) }
}
