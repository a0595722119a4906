//! `sandbox prune`: deletes what nobody uses any more, after showing it.

use super::shown::{ago, count, now, size};
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
    let unused = |one: &&One| wish.force || !(one.live || one.info.running);
    let chosen: Vec<&One> = everything.instances.iter().filter(unused).collect();
    if wish.json && wish.dry_run {
        crate::ui::print(&as_json(&everything, &chosen));
        return Ok(0);
    }
    if everything.instances.is_empty() {
        crate::ui::print(&format!("No workmux {noun}s found."));
        return Ok(0);
    }
    let now = now();
    for (at, one) in everything.instances.iter().enumerate() {
        let used = if one.live || one.info.running { ", in use" } else { "" };
        crate::ui::print(&format!(
            "{}. {} ({}{used})\n   Size: {}\n   Age: {}\n   Last accessed: {}",
            at + 1,
            line(&one.info.name),
            one.info.status,
            size(one.info.size),
            ago(one.info.created, now),
            ago(one.info.last_used, now),
        ));
    }
    if chosen.is_empty() {
        crate::ui::print(&format!("No unused workmux {noun}s; those in use are kept."));
        return Ok(0);
    }
    for one in chosen.iter().filter(|one| one.live || one.info.running) {
        crate::ui::warning(&format!("'{}' is in use and is deleted all the same", line(&one.info.name)));
    }
    if wish.dry_run {
        crate::ui::print(&format!("Would delete {}.", count(chosen.len(), &noun)));
        return Ok(0);
    }
    if !wish.force && !crate::ui::confirm(&format!("Delete {}?", count(chosen.len(), &noun))) {
        crate::ui::print("Aborted.");
        return Ok(0);
    }
    Ok(each(&chosen, "Deleted", |one| everything.backend_of(one).delete(everything.request(one, wish.force))).await)
}
