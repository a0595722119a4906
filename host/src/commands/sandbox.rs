//! `workmux sandbox …`: reads the flags and hands over to `launch`, or says which backend would have the operation.

use std::path::PathBuf;

use color_eyre::eyre::{Report, Result};
use workmux_plugin_api::Purpose;

use crate::cli::{BackendArgs, RunArgs, SandboxCommand};
use crate::config::{self, Sources};
use crate::error::Failure;
use crate::instances::{self, Prune, Stop};
use crate::launch::{self, Wish};
use crate::routing::{self, Operation};
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
            };
            launch::launch(wish, surroundings)
        }
        SandboxCommand::Build(backend) => unserved(routing::BUILD, backend, surroundings),
        SandboxCommand::Pull(backend) => unserved(routing::PULL, backend, surroundings),
        SandboxCommand::InitDockerfile { backend, .. } => unserved(routing::INIT_DOCKERFILE, backend, surroundings),
        SandboxCommand::Stop { name, all, yes, show, backend } => {
            let (dry_run, json, backend) = (show.dry_run, show.json, backend.backend);
            instances::stop(Stop { name, all, yes, dry_run, json, backend }, surroundings)
        }
        SandboxCommand::Prune { force, show, backend } => {
            let (dry_run, json, backend) = (show.dry_run, show.json, backend.backend);
            instances::prune(Prune { force, dry_run, json, backend }, surroundings)
        }
        SandboxCommand::InstallDev { backend, .. } => unserved(routing::INSTALL_DEV, backend, surroundings),
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
    }
}

/// An operation that no backend of this protocol version can serve: the error names the backend that was asked.
fn unserved(operation: Operation, backend: BackendArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let registry = launch::registry()?;
    let asked = match backend.backend {
        Some(name) => {
            registry.manifest(&name).map_err(routing::report)?;
            Some(name)
        }
        None => configured(surroundings)?,
    };
    Err(routing::not_provided(operation, asked.as_deref(), &registry).into())
}

/// The backend the user's configuration names, read outside any repository too.
fn configured(surroundings: &Surroundings) -> Result<Option<String>, Report> {
    let sources = Sources {
        start: surroundings.cwd.clone(),
        home: surroundings.home.clone(),
        xdg_config_home: Some(PathBuf::from(&surroundings.config_home)),
        ..Sources::default()
    };
    let loaded = config::load(&sources)?;
    Ok(loaded.config(&["sandbox.backend"])?.sandbox.backend.clone())
}
