//! From the command line to an exit code: one `match`, one file a group of commands.

mod completions;
mod help;
mod plugin;
mod sandbox;
mod worktrees;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

pub(crate) use completions::{known_backends, known_worktrees, removable_backends, running_instances, usable_backends};

use crate::cli::{Cli, Command};
use crate::error::{Failure, USAGE, render};
use crate::init::{self, Of};
use crate::setup::{self, Setup};
use crate::surroundings::Surroundings;

/// Runs the program on these words (the first is its own name).
pub fn run(words: Vec<OsString>) -> ExitCode {
    if let Some(code) = completions::answer(&words) {
        return code;
    }
    let matches = match help::with_backends(Cli::command(), &words).try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(e) => return usage(&e),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    if let Command::LoadPlugin { path } = &cli.command {
        return crate::plugins::trial_main(path);
    }
    match dispatch(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            crate::ui::raw_error(&render(&failure.report));
            ExitCode::from(failure.code)
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    let _closed = error.print();
    if !error.render().to_string().ends_with('\n') {
        // A help template of our own loses its last line end.
        if error.use_stderr() { crate::ui::raw_error("\n") } else { crate::ui::result("\n") }
    }
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Sandbox(args) => {
            let surroundings = Surroundings::read();
            let surroundings = if sandbox::is_session(&args.command) {
                surroundings.map_err(Failure::session)?
            } else {
                surroundings?
            };
            sandbox::run(args.command, &surroundings)
        }
        Command::Plugin(args) => plugin::run(args.command),
        Command::Add(_)
        | Command::Open(_)
        | Command::Close { .. }
        | Command::Merge(_)
        | Command::Remove(_)
        | Command::List { .. }
        | Command::Status(_)
        | Command::Wait { .. }
        | Command::Send { .. }
        | Command::Capture { .. }
        | Command::Path { .. }
        | Command::Pane { .. }
        | Command::Agent { .. } => worktrees::run(command, &Surroundings::read()?),
        Command::Init { global, force } => {
            init::init(if global { Of::User } else { Of::Project }, force, &Surroundings::read()?)
        }
        Command::Setup { agents, remove, dry_run, yes } => {
            setup::setup(Setup { agents, remove, dry_run, yes }, &Surroundings::read()?)
        }
        Command::SetWindowStatus { status } => {
            crate::window_status::set(&status);
            Ok(0)
        }
        Command::RegisterAgent => {
            crate::window_status::set(crate::window_status::REGISTER);
            Ok(0)
        }
        Command::Completions { shell } => completions::script(shell),
        Command::Doctor { json } => crate::doctor::run(json),
        Command::CheckBackend { name } => {
            crate::doctor::check_main(&name);
            Ok(0)
        }
        Command::Detached { stage, directory, cwd, words } => {
            Ok(crate::detached::main(stage, &directory, &cwd, &words))
        }
        Command::LoadPlugin { .. } => Ok(0),
    }
}
