//! All host git and the boundary around it.
//!
//! `repository` finds and recognises a checkout; `command` is the only way git is run. The boundary: `skeleton` makes
//! one `private` git dir, `boundary` shares it among the runs of a worktree. A sync is a `round`: `plan` decides,
//! `arrive` brings objects through the `exchange`, `apply` moves the host's refs and index, `forward` gives the guest
//! what the host did. What is read from a guest is read by `guest` through `guest_files`, as data: no git ever runs in
//! a guest's directory.

mod alternates;
mod apply;
mod arrive;
mod base;
mod boundary;
mod checkouts;
mod command;
mod config;
mod config_file;
mod error;
mod exchange;
mod forward;
mod gitlinks;
mod guest;
mod guest_files;
mod host_lock;
mod index;
mod large_files;
mod layout;
mod oid;
mod plan;
mod pointer;
mod private;
mod reap;
mod record;
mod refs;
mod report;
mod repository;
mod round;
mod side;
mod skeleton;
mod submodules;
#[cfg(test)]
mod tests;
mod tracking;
mod version;
mod watch;

pub use boundary::{Boundary, GitMount, Imported, RefConflict, RefUpdate};
pub use checkouts::Checkout;
pub use command::{GitCommand, program, search_path};
pub use error::GitError;
pub use oid::{ObjectFormat, Oid, is_plain_ref_name, is_ref_name};
pub use reap::reap;
pub use repository::{Identity, RefFormat, Repository};
pub use version::{OLDEST, Version, version};
pub use watch::Watch;

/// A place where a test may kill the process.
#[cfg(test)]
fn step(name: &str) {
    if std::env::var("WORKMUX_TEST_KILL_AT").is_ok_and(|at| at == name) {
        let _gone = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(not(test))]
#[inline(always)]
const fn step(_name: &str) {}
