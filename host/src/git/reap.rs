//! The end of a private git dir: orderly, or after a crash. What a guest left is imported, then removed.

use std::path::Path;

use super::base::Base;
use super::boundary::Imported;
use super::command;
use super::error::{GitError, clean};
use super::layout::{self, Held, Layout};
use super::private::{Private, Synced};
use super::step;

/// Imports and removes every private git dir below `state_root` that no live run uses.
pub fn reap(state_root: &Path) -> Vec<Result<Imported, GitError>> {
    Layout::sweep(state_root);
    let all = Layout::all(state_root);
    if all.is_empty() {
        return Vec::new();
    }
    match command::program() {
        Ok(program) => all.iter().filter_map(|layout| reap_one(layout, &program).transpose()).collect(),
        Err(e) => vec![Err(e)],
    }
}

fn reap_one(layout: &Layout, program: &Path) -> Result<Option<Imported>, GitError> {
    let Some(held) = layout.hold_existing()? else { return Ok(None) };
    if layout.in_use(&held) {
        return Ok(None);
    }
    finish(layout, held, program).map(Some)
}

/// Imports and removes one that nobody uses. What cannot be imported is put aside, so that it is met only once.
pub(super) fn finish(layout: &Layout, held: Held, program: &Path) -> Result<Imported, GitError> {
    if !Private::exists(layout) {
        // Never finished, so no guest has seen it.
        layout.remove(held)?;
        return Ok(Imported::default());
    }
    match Private::open(layout, program) {
        Ok(private) => end(&private, held),
        Err(why) => {
            let kept = layout.keep(held, "lost")?;
            let (why, place) = (clean(&why.to_string()), kept.display());
            let note = format!("what a sandbox left was not imported: {why}. It is kept at '{place}'");
            Ok(Imported { notes: vec![note], kept: Some(kept), ..Imported::default() })
        }
    }
}

/// The last sync, after which nothing of the guest's is needed, or what is left is kept.
pub(super) fn end(private: &Private, held: Held) -> Result<Imported, GitError> {
    let layout = &private.layout;
    let mut synced = match private.sync(true) {
        Ok(synced) => synced,
        // What may be better at the next attempt is left for it.
        Err(e @ (GitError::Busy(_) | GitError::Tool(_) | GitError::Changed(_))) => return Err(e),
        Err(e) => Synced { unfinished: Some(clean(&e.to_string())), ..Synced::default() },
    };
    step("synced");
    let Some(why) = synced.unfinished else {
        layout.remove(held)?;
        return Ok(synced.imported);
    };
    let base: Option<Base> = layout::load(&layout.base()).ok().flatten();
    let kept = layout.keep(held, &base.map_or_else(|| "lost".to_owned(), |base| base.run))?;
    let place = kept.display();
    synced.imported.notes.push(format!(
        "{why}: the sandbox's git directory is kept at '{place}' (run no git inside it; remove it when nothing in it is \
         needed)"
    ));
    synced.imported.kept = Some(kept);
    Ok(synced.imported)
}
