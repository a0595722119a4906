//! What end-to-end tests are written with: a user's world, the real program in it, engines that are really there.
//!
//! A test reads like a session: make a [`World`], run the program in it, look at what it left.
//!
//! ```no_run
//! use workmux_tests::{World, require_engine};
//!
//! require_engine!("bubblewrap");
//! let world = World::new();
//! world.user_config("sandbox: { backend: bubblewrap }");
//! let worktree = world.worktree("topic");
//! world.workmux(&["sandbox", "shell", "--", "sh", "-c", "exit 3"]).dir(&worktree).run().code(3);
//! ```
//!
//! `sandbox` are the kinds of sandbox, `given` is what `cargo xtask test` hands over, `engine` finds engines and keeps
//! count, `run` runs programs, `pty` and `tmux` are terminals, `wait` waits, `waiting` is a guest that waits, `residue`
//! looks for what runs left, `snapshot` sees what changed, `gits` are the versions of git here, `registry` gives out
//! images, `machines` are Lima's, `claude` installs an agent and `model` talks to it, `stand_in` are agents that do what a test says, `dial` is a
//! guest's plainest client. No test runs the product as root unless it asks to (`as_root`).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod claude;
mod dial;
mod engine;
mod gits;
mod given;
mod machines;
mod model;
mod pty;
mod registry;
mod residue;
mod run;
mod sandbox;
mod snapshot;
pub mod stamp;
mod stand_in;
mod tmux;
mod wait;
mod waiting;
mod world;

pub use dial::{dial, quoted};
pub use engine::engine;
pub use gits::{Git, gits};
pub use given::{Account, Given, checkout, given};
pub use model::Model;
pub use pty::Pty;
pub use registry::{Registry, Silent, trust};
pub use residue::{Process, family, processes};
pub use run::{Finished, Run, Running};
pub use sandbox::Sandbox;
pub use snapshot::Snapshot;
pub use tmux::Tmux;
pub use wait::{PATIENCE, wait_for, wait_until};
pub use waiting::{Waiting, pausing, told};
pub use world::World;
