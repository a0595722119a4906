//! `workmux setup`: has agents report what they do, by hooks in their own settings that call `set-window-status`.
//!
//! This file chooses, shows and asks. `hooks` is the table of agents and events, `places` knows the files, `json` and
//! `plugin` what goes into them, `file` reads and writes them. All changes are made up before the first is written.

mod file;
mod hooks;
mod json;
mod places;
mod plugin;

use std::path::Path;

use color_eyre::eyre::{Report, Result};
use similar::TextDiff;

use self::file::Found;
use self::hooks::{How, how};
use self::places::Places;
use crate::error::{Failure, hinted};
use crate::surroundings::Surroundings;

pub(crate) use hooks::AGENTS;

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Setup {
    /// These agents; those that are there when empty.
    pub(crate) agents: Vec<String>,
    /// Take the hooks out again.
    pub(crate) remove: bool,
    /// Show the change only.
    pub(crate) dry_run: bool,
    /// Do not ask.
    pub(crate) yes: bool,
}

/// A file and what is to stand in it; nothing removes it.
struct Change {
    found: Found,
    after: Option<String>,
}

impl Change {
    fn is_one(&self) -> bool {
        self.found.text != self.after
    }
}

/// Installs or removes; the answer is the exit code.
pub(crate) fn setup(wish: Setup, surroundings: &Surroundings) -> Result<u8, Failure> {
    Ok(run(&wish, surroundings)?)
}

fn run(wish: &Setup, surroundings: &Surroundings) -> Result<u8> {
    let places = Places::read(surroundings)?;
    let chosen = chosen(wish, &places);
    if chosen.is_empty() {
        crate::ui::print(&format!("No settings of {} were found. Name the agent: workmux setup AGENT", list(&AGENTS)));
        return Ok(0);
    }
    let (changes, agents) = changes(wish, &places, &chosen)?;
    if changes.is_empty() {
        let state = if wish.remove { "No status hooks are installed" } else { "Status hooks are installed already" };
        crate::ui::print(&format!("{state}: {}.", list(&chosen)));
        return Ok(0);
    }
    for change in &changes {
        crate::ui::print(&difference(change));
    }
    if wish.dry_run {
        return Ok(0);
    }
    let (question, done) =
        if wish.remove { ("Remove these hooks?", "Removed from") } else { ("Install these hooks?", "Installed in") };
    if !wish.yes && !crate::ui::confirm(question) {
        crate::ui::print("Aborted.");
        return Ok(0);
    }
    for change in &changes {
        change.found.replace(change.after.as_deref())?;
        crate::ui::print(&format!("✓ {done} {}", change.found.shown()));
    }
    if !wish.remove {
        for remark in agents.iter().filter_map(|agent| hooks::remark(agent)) {
            crate::ui::note(remark);
        }
    }
    Ok(0)
}

/// The agents that were named, or else those that are there.
fn chosen(wish: &Setup, places: &Places<'_>) -> Vec<&'static str> {
    let is_chosen = |agent: &&str| match wish.agents.as_slice() {
        [] => places.has(agent),
        named => named.iter().any(|name| name == agent),
    };
    AGENTS.into_iter().filter(is_chosen).collect()
}

/// What is to be written, and for which agents. A file that several share is changed once.
fn changes<'a>(wish: &Setup, places: &Places<'_>, chosen: &[&'a str]) -> Result<(Vec<Change>, Vec<&'a str>)> {
    let (mut changes, mut agents): (Vec<Change>, Vec<&str>) = (Vec::new(), Vec::new());
    for &agent in chosen {
        for path in places.files(agent, !wish.agents.is_empty()) {
            let found = Found::read(&path)?;
            let at = match changes.iter().position(|change| change.found.real == found.real) {
                Some(at) => at,
                None => {
                    changes.push(Change { after: found.text.clone(), found });
                    changes.len() - 1
                }
            };
            let change = &mut changes[at];
            let after = changed(agent, wish.remove, change)?;
            if after != change.after {
                agents.push(agent);
                change.after = after;
            }
        }
    }
    changes.retain(Change::is_one);
    agents.dedup();
    Ok((changes, agents))
}

/// What is to stand in the file when this agent's hooks are in it, or out of it.
fn changed(agent: &str, remove: bool, change: &Change) -> Result<Option<String>> {
    let before = change.after.as_deref();
    match (how(agent), before) {
        (None, _) => Ok(before.map(str::to_owned)),
        (Some(How::Json { dialect, hooks, .. }), None) if !remove => {
            json::install("", dialect, hooks).map(Some).map_err(|wrong| unusable(&change.found.path, &wrong))
        }
        (Some(How::Plugin), None) if !remove => Ok(Some(plugin::CONTENT.to_owned())),
        (Some(_), None) => Ok(None),
        (Some(How::Json { dialect, hooks, .. }), Some(text)) => {
            let after =
                if remove { json::remove(text, dialect, hooks) } else { json::install(text, dialect, hooks).map(Some) };
            let after = after.map_err(|wrong| unusable(&change.found.path, &wrong))?;
            // What the user links to is the user's: it is emptied, and never removed.
            Ok(after.or_else(|| change.found.linked.then(|| "{}\n".to_owned())))
        }
        (Some(How::Plugin), Some(text)) => match (plugin::is_ours(text), remove) {
            (true, true) => Ok(change.found.linked.then(String::new)),
            (false, true) => Ok(Some(text.to_owned())),
            (_, false) if text.trim().is_empty() || plugin::is_ours(text) => Ok(Some(plugin::CONTENT.to_owned())),
            (_, false) => Err(hinted(
                format!("{} is there, and workmux did not write it", crate::text::quote(change.found.path.as_os_str())),
                "give that file another name, and type the command again",
            )),
        },
    }
}

fn unusable(path: &Path, wrong: &json::Wrong) -> Report {
    let place = format!("{}:{}", crate::text::quote(path.as_os_str()), wrong.line);
    let next = "mend it there, as JSON that the agent can read, and type the command again";
    hinted(crate::text::line(&wrong.message), next)
        .wrap_err(format!("{place}: not a settings file that workmux can change; nothing was written"))
}

/// The change as a unified difference.
fn difference(change: &Change) -> String {
    let (before, after) = (change.found.text.as_deref(), change.after.as_deref());
    let name = |text: Option<&str>| if text.is_some() { change.found.shown() } else { "/dev/null".to_owned() };
    let difference = TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default());
    let text = difference.unified_diff().header(&name(before), &name(after)).to_string();
    // A guest may have written what stands there, and it is shown to be agreed to.
    let lines = text.lines().map(|line| line.split('\t').map(crate::text::visible).collect::<Vec<_>>().join("\t"));
    lines.collect::<Vec<_>>().join("\n")
}

fn list(agents: &[&str]) -> String {
    agents.join(", ")
}

#[cfg(test)]
mod tests;
