//! `workmux sandbox …`: reads the flags and hands over to who does it.

use workmux_plugin_api::Purpose;

use crate::cli::{RunArgs, SandboxCommand};
use crate::error::Failure;
use crate::images;
use crate::install_dev::{self, InstallDev};
use crate::instances::{self, Prune, Stop};
use crate::launch::{self, Wish};
use crate::surroundings::Surroundings;

/// Runs one of them.
pub(super) fn run(command: SandboxCommand, surroundings: &Surroundings) -> Result<u8, Failure> {
    match command {
        SandboxCommand::Agent(args) => launch::launch(wish(Purpose::Agent, args, surroundings), surroundings),
        SandboxCommand::Shell { exec: false, run } => {
            launch::launch(wish(Purpose::Shell, run, surroundings), surroundings)
        }
        SandboxCommand::Shell { exec: true, run } => {
            launch::attach(wish(Purpose::Shell, run, surroundings), surroundings)
        }
        SandboxCommand::Run { worktree, worktree_root, backend, dry_run, command } => {
            let wish = Wish {
                purpose: Purpose::Agent,
                start: worktree,
                root: worktree_root,
                command,
                backend: backend.backend,
                dry_run,
                task: None,
            };
            launch::launch(wish, surroundings)
        }
        SandboxCommand::Build(args) => images::build(args.backend.as_deref(), surroundings),
        SandboxCommand::Pull(args) => images::pull(args.backend.as_deref(), surroundings),
        SandboxCommand::InitDockerfile { force, backend: args } => {
            images::recipe(force, args.backend.as_deref(), surroundings)
        }
        SandboxCommand::Stop { name, all, yes, show, backend } => {
            let (dry_run, json, backend) = (show.dry_run, show.json, backend.backend);
            instances::stop(Stop { name, all, yes, dry_run, json, backend }, surroundings)
        }
        SandboxCommand::Prune { force, show, backend } => {
            let (dry_run, json, backend) = (show.dry_run, show.json, backend.backend);
            instances::prune(Prune { force, dry_run, json, backend }, surroundings)
        }
        SandboxCommand::InstallDev { release, skip_build, backend: args } => {
            install_dev::install_dev(InstallDev { release, skip_build, backend: args.backend }, surroundings)
        }
    }
}

/// Whether every small exit code may be a guest's.
pub(super) fn is_session(command: &SandboxCommand) -> bool {
    matches!(command, SandboxCommand::Agent(_) | SandboxCommand::Shell { .. } | SandboxCommand::Run { .. })
}

fn wish(purpose: Purpose, args: RunArgs, surroundings: &Surroundings) -> Wish {
    Wish {
        purpose,
        start: surroundings.cwd.clone(),
        root: None,
        command: args.command,
        backend: args.backend.backend,
        dry_run: args.dry_run,
        task: None,
    }
}
