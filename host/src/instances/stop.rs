//! `sandbox stop`: one by name, all, or one of a list that is shown.

use std::io::IsTerminal as _;

use color_eyre::eyre::{Report, Result};

use super::shown::{count, plural};
use super::{Everything, One, as_json, each};
use crate::error::{Failure, hinted};
use crate::routing::STOP;
use crate::surroundings::Surroundings;
use crate::text::line;

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Stop {
    /// The one to stop.
    pub(crate) name: Option<String>,
    /// All that run.
    pub(crate) all: bool,
    /// Do not ask.
    pub(crate) yes: bool,
    /// Show what would be stopped.
    pub(crate) dry_run: bool,
    /// Answer as JSON.
    pub(crate) json: bool,
    /// `--backend`
    pub(crate) backend: Option<String>,
}

/// Stops; the answer is the exit code.
pub(crate) fn stop(wish: Stop, surroundings: &Surroundings) -> Result<u8, Failure> {
    Ok(crate::task::run(stopping(wish, surroundings))?)
}

async fn stopping(wish: Stop, surroundings: &Surroundings) -> Result<u8> {
    let everything = Everything::ask(STOP, wish.backend.as_deref(), surroundings).await?;
    let noun = everything.noun();
    let many = plural(&noun);
    let running: Vec<&One> = everything.instances.iter().filter(|one| one.info.running).collect();
    let chosen = match &wish.name {
        Some(name) => {
            let Some(one) = everything.instances.iter().find(|one| one.info.name == *name) else {
                everything.remark_failures();
                return Err(unknown(name, &everything));
            };
            if !one.info.running {
                crate::ui::print(&format!("'{}' is already stopped ({})", line(name), one.info.status));
                return Ok(0);
            }
            vec![one]
        }
        None if !wish.all && !wish.dry_run && !wish.json && !std::io::stdin().is_terminal() => {
            return Err(hinted(
                "'sandbox stop' does not know which one, and nobody is there to ask",
                "name one, or type: workmux sandbox stop --all",
            ));
        }
        None => running.clone(),
    };
    everything.remark_failures();
    if wish.json && wish.dry_run {
        crate::ui::print(&as_json(&everything, &chosen));
        return Ok(0);
    }
    if chosen.is_empty() {
        crate::ui::print(&format!("No running workmux {many} found."));
        return Ok(everything.nothing());
    }
    let chosen = if wish.name.is_none() && !wish.all && !wish.dry_run { choose(&running, &noun)? } else { chosen };
    crate::ui::print(&format!("To be stopped, {}:", count(chosen.len(), &noun)));
    for one in &chosen {
        crate::ui::print(&format!("  {} ({})", line(&one.info.name), one.state(one.live)));
    }
    if wish.dry_run {
        return Ok(0);
    }
    if !wish.yes {
        match crate::ui::answered("Stop them?") {
            Some(true) => {}
            Some(false) => {
                crate::ui::print("Aborted.");
                return Ok(0);
            }
            None => {
                return Err(hinted("nobody is there to answer: nothing was stopped", "add --yes to stop them unasked"));
            }
        }
    }
    Ok(each(&everything.progress, &chosen, "Stopped", |one| {
        everything.backend_of(one).stop(everything.request(one, false))
    })
    .await)
}

/// Shows a numbered list and reads a number, or `all`.
fn choose<'a>(running: &[&'a One], noun: &str) -> Result<Vec<&'a One>> {
    crate::ui::print(&format!("Running workmux {}:", plural(noun)));
    for (at, one) in running.iter().enumerate() {
        crate::ui::print(&format!("  {}. {} ({})", at + 1, line(&one.info.name), one.state(one.live)));
    }
    let answer = crate::ui::ask("> ").unwrap_or_default();
    let answer = answer.trim();
    if answer.eq_ignore_ascii_case("all") {
        return Ok(running.to_vec());
    }
    match answer.parse::<usize>().ok().and_then(|number| running.get(number.checked_sub(1)?)) {
        Some(one) => Ok(vec![one]),
        None => Err(hinted(
            format!("'{}' is not one of them", line(answer)),
            format!("type a number from 1 to {}, or 'all'", running.len()),
        )),
    }
}

fn unknown(name: &str, all: &Everything) -> Report {
    let names: Vec<String> = all.instances.iter().map(|one| format!("'{}'", line(&one.info.name))).collect();
    let hint = match (names.is_empty(), all.failed.is_empty()) {
        (false, _) => format!("there are: {}", names.join(", ")),
        (true, true) => "there is none now".to_owned(),
        (true, false) => "not all backends could be asked: see the warning".to_owned(),
    };
    hinted(format!("there is no sandbox '{}' of ours", line(name)), hint)
}
