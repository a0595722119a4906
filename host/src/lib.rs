//! The `workmux` program as a library: `main.rs` only calls [`run`].
//!
//! `commands` read flags and ask `routing` for a backend; `worktrees` makes, shows and merges worktrees with agents in
//! them; `launch` puts a sandboxed command together; `plugins` finds, checks and loads backends; `spec` says what a
//! sandbox must look like; `git` is all host git and the boundary around it; `supervisor` owns one running command and
//! knows neither flags nor plugins; `rpc` answers the guest; `multiplexer` is the windows the user sees (`window_status`
//! the icon of an agent outside a sandbox), `detached` a terminal without one; `config` reads files; `runs` keeps the
//! records of what runs; `instances` stops and deletes what outlived its command; `images` pulls and builds what
//! sandboxes start from; `install_dev` puts a development build into them; `setup` has agents report what they do; `init`
//! writes configuration to begin with; `doctor` says what is in the way of all this.

pub mod agents;
#[cfg(test)]
mod alone;
pub mod cli;
pub mod commands;
pub mod config;
pub mod detached;
mod doctor;
pub mod error;
pub mod git;
mod images;
mod init;
mod install_dev;
mod instances;
mod kit;
pub mod launch;
pub mod multiplexer;
pub mod mutant;
#[cfg(all(test, feature = "mutants"))]
mod mutants;
mod new_file;
pub mod plugins;
mod progress;
pub mod routing;
pub mod rpc;
pub mod runs;
mod setup;
pub mod spec;
pub mod supervisor;
pub mod surroundings;
mod task;
pub mod text;
pub mod tool;
pub mod ui;
mod window_status;
mod worktrees;

/// Runs the program on this process's command line.
pub fn run() -> std::process::ExitCode {
    commands::run(std::env::args_os().collect())
}
