//! Worktrees with agents in them: making, showing, merging and removing them, for the user and for guests.
//!
//! `make` is the one sequence from a wish to a running agent; `add` (the user) and `family` (guests) fill it in. `record`
//! keeps what is known of each, `find` says which one a name means. `show` opens what shows a worktree through
//! `multiplexer` or `detached`, `panes` says what runs there and `pane` runs it, in a sandbox through `launch`. All git is
//! `changes`, all writing into worktrees is `beneath`.

pub(crate) mod add;
mod autoname;
mod beneath;
mod carry;
pub(crate) mod changes;
mod combine;
mod family;
mod files;
mod find;
mod hooks;
mod journal;
mod live;
mod make;
pub(crate) mod merge;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod pane;
mod panes;
pub(crate) mod prompt;
mod quota;
mod record;
pub(crate) mod remove;
mod scratch;
mod show;
pub(crate) mod status;
pub(crate) mod talk;
mod wait;

pub(crate) use family::Family;
pub(crate) use record::{State, change_state};

/// The names of the worktrees of the repository this process is in; none where that cannot be told.
pub(crate) fn names_here() -> Vec<String> {
    let all = || {
        let surroundings = crate::surroundings::Surroundings::read()?;
        find::Here::find(&surroundings.cwd, &surroundings)?.all()
    };
    let all = all().unwrap_or_default();
    all.into_iter().filter(|known| !known.checkout.main).map(|known| known.name).collect()
}

/// Keeps what an agent outside a sandbox says of itself, where it works in a worktree that was made here; whether it does.
pub(crate) fn told(status: crate::multiplexer::Status) -> bool {
    let kept = || {
        let surroundings = crate::surroundings::Surroundings::read().ok()?;
        let repository = crate::git::Repository::discover(&surroundings.cwd).ok()?;
        let entry = record::Store::new(&surroundings.state).find(&repository.worktree)?;
        let outside = !entry.record.sandboxed && entry.state().running();
        outside.then(|| entry.change(|state| state.say(status.word())).ok())?
    };
    kept().is_some()
}
