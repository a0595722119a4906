//! `sandbox prune`: deletes what nobody uses any more, after showing it.

use super::shown::{ago, count, now, plural, size};
use super::{Everything, One, as_json, each};
use crate::error::Failure;
use crate::routing::PRUNE;
use crate::surroundings::Surroundings;
use crate::text::line;
use color_eyre::eyre::Result;

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Prune {
    /// Do not ask, and delete those in use too.
    pub(crate) force: bool,
    /// Show what would be deleted.
    pub(crate) dry_run: bool,
    /// Answer as JSON.
    pub(crate) json: bool,
    /// `--backend`
    pub(crate) backend: Option<String>,
}

/// Deletes; the answer is the exit code.
pub(crate) fn prune(wish: Prune, surroundings: &Surroundings) -> Result<u8, Failure> {
    Ok(crate::task::run(pruning(wish, surroundings))?)
}

async fn pruning(wish: Prune, surroundings: &Surroundings) -> Result<u8> {
    let everything = Everything::ask(PRUNE, wish.backend.as_deref(), surroundings).await?;
    everything.remark_failures();
    let noun = everything.noun();
    let many = plural(&noun);
    let unused = |one: &&One| wish.force || !one.in_use();
    let chosen: Vec<&One> = everything.instances.iter().filter(unused).collect();
    if wish.json && wish.dry_run {
        crate::ui::print(&as_json(&everything, &chosen));
        return Ok(0);
    }
    if everything.instances.is_empty() {
        crate::ui::print(&format!("No workmux {many} found."));
        return Ok(everything.nothing());
    }
    let now = now();
    for (at, one) in everything.instances.iter().enumerate() {
        crate::ui::print(&format!(
            "{}. {} ({})\n   Size: {}\n   Age: {}\n   Last accessed: {}",
            at + 1,
            line(&one.info.name),
            one.state(one.in_use()),
            size(one.info.size),
            ago(one.info.created, now),
            ago(one.info.last_used, now),
        ));
    }
    if chosen.is_empty() {
        crate::ui::print(&format!("No unused workmux {many}; those in use are kept."));
        return Ok(0);
    }
    let unrecorded = chosen.iter().filter(|one| one.info.unrecorded).count();
    for one in chosen.iter().filter(|one| wish.force && (one.in_use() || one.info.unrecorded)) {
        let why = if one.in_use() { "is in use" } else { "is not recorded here" };
        crate::ui::warning(&format!("'{}' {why} and is deleted all the same", line(&one.info.name)));
    }
    if wish.dry_run {
        let asked = if wish.force || unrecorded == 0 { "" } else { ", and ask about each that is not recorded here" };
        crate::ui::print(&format!("Would delete {}{asked}.", count(chosen.len(), &noun)));
        return Ok(0);
    }
    let chosen = if wish.force { chosen } else { agreed(chosen, &noun) };
    if chosen.is_empty() {
        crate::ui::print("Aborted.");
        return Ok(0);
    }
    Ok(each(&everything.progress, &chosen, "Deleted", |one| {
        everything.backend_of(one).delete(everything.request(one, wish.force))
    })
    .await)
}

/// One question for all, and one for each that bears only a name of ours: it may be somebody else's.
fn agreed<'a>(chosen: Vec<&'a One>, noun: &str) -> Vec<&'a One> {
    let (others, mut ours): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|one| one.info.unrecorded);
    if !ours.is_empty() && !crate::ui::confirm(&format!("Delete {}?", count(ours.len(), noun))) {
        ours.clear();
    }
    for one in others {
        let name = line(&one.info.name);
        match crate::ui::confirm(&format!("Delete '{name}', which is not recorded here?")) {
            true => ours.push(one),
            false => crate::ui::print(&format!("'{name}' is kept.")),
        }
    }
    ours
}
