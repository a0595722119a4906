//! Finds, checks, loads and calls backends.
//!
//! The way of a library, each step its own file: where it may lie ([`search`]), who could have put or changed it there
//! ([`trust`], [`pins`]), what it says of itself ([`manifest`]), whether it is whole ([`image`]), whether loading it
//! survives ([`trial`]), loading ([`loader`], the one file that does). [`registry`] walks it, lazily and by name;
//! [`backend`] and [`session`] are its end: a backend as the rest of the host calls it, each call on a thread of its
//! own ([`call`]), with what the host does for it during one ([`services`], [`toolbox`]) and a look at what it answers
//! ([`answers`]).
//!
//! [`install`] and [`remove`] put libraries into the user's own directory and take them out; [`source`] is what the user
//! names for that. [`inspect`] shows what is there, [`trace`] what is called.
//!
//! Everything a library says, its manifest included, is foreign text. What a loaded library *does* is beyond us: it
//! runs with the user's rights. [`crash`] names it where it takes the process down.

mod answers;
pub mod backend;
mod call;
mod crash;
pub mod environment;
mod image;
pub mod inspect;
pub mod install;
mod loader;
mod manifest;
mod pins;
pub mod registry;
pub mod remove;
mod search;
mod services;
mod session;
mod source;
mod toolbox;
pub mod trace;
mod trial;
mod trust;

pub use backend::{Backend, CallError, Deadlines, Events, Exec};
pub use environment::Environment;
pub use pins::{Ask, Standing};
pub use registry::{FindError, Listing, Registry, State};
pub use session::Session;
pub use trial::main as trial_main;
pub use trust::Identity;

/// Why a library is not used, and what to do about it. The reason is a fragment that goes on from the library's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Why, cleaned for printing.
    pub reason: String,
    /// The next thing to do, where there is one.
    pub fix: Option<String>,
    /// Nothing is wrong with it but that its user has not said yet that it may be used as it is.
    pub unconfirmed: bool,
}

impl Rejection {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: crate::text::line(&reason.into()), fix: None, unconfirmed: false }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(crate::text::line(&fix.into()));
        self
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod testing {
    use std::path::Path;

    use super::{Deadlines, Environment, Identity};

    /// An environment without variables, whose directories lie below `temp` and whose program is not there.
    pub(super) fn environment(temp: &Path) -> Environment {
        Environment {
            executable: temp.join("bin/workmux"),
            variables: std::collections::BTreeMap::new(),
            state_dir: temp.join("state"),
            cache_dir: temp.join("cache"),
            system_dirs: Vec::new(),
            identity: Identity::current(),
            trial: Vec::new(),
            deadlines: Deadlines::default(),
        }
    }
}
