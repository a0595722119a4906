//! Puts one sandboxed command together and sees it through: everything between flags and the supervisor.
//!
//! The order matters. Nothing of the project's can change what is decided after the configuration is frozen; the git
//! boundary stands before anything of the guest exists; the record is written before there is anything to leave
//! behind; and whatever happens, the end runs: RPC drains, git is imported, the backend releases, the record goes.

mod actions;
pub(crate) mod agent;
mod attach;
mod consent;
mod dry_run;
mod failed;
mod guest_paths;
mod guest_program;
mod imports;
mod left_behind;
mod log;
pub(crate) mod notice;
mod owner;
mod person;
mod reach;
mod reaper;
mod session;
mod settings;
pub mod survey;
mod told;
pub(crate) mod typing;
mod wanted;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use color_eyre::eyre::{Report, Result, WrapErr as _};
use workmux_plugin_api::manifest::Root;
use workmux_plugin_api::{Isolation, Purpose};

use crate::config::{self, Config, Loaded, Sources};
use crate::error::{Failure, hinted};
use crate::git::Repository;
use crate::plugins::{Environment, Registry, trace};
use crate::routing::{self, Chosen};
use crate::surroundings::Surroundings;

pub use attach::attach;
pub(crate) use owner::become_owner;

/// A command to run in a sandbox, as the user asked for it.
#[derive(Debug)]
pub struct Wish {
    /// An agent, with RPC, or a shell.
    pub purpose: Purpose,
    /// Where the command starts.
    pub start: PathBuf,
    /// The checkout's top level, where it was given.
    pub root: Option<PathBuf>,
    /// The words; empty = the configured agent, or a shell.
    pub command: Vec<OsString>,
    /// `--backend`
    pub backend: Option<String>,
    /// Show, do not run.
    pub dry_run: bool,
    /// For the pane of a worktree that was made here.
    pub task: Option<Task>,
}

/// A command of a worktree's pane. Its configuration is the one that was frozen when the worktree was made.
#[derive(Debug)]
pub struct Task {
    /// The worktree's directory of records.
    pub directory: PathBuf,
    /// The agent it is, where it is one: a name of `agents` or of the agents table, or a shell string.
    pub agent: Option<String>,
    /// A shell string.
    pub text: String,
    /// Words after it, which no shell reads.
    pub words: Vec<String>,
    /// Its status is the worktree's.
    pub leads: bool,
}

/// Configuration that starting a sandbox needs.
const NEEDED: [&str; 5] = ["sandbox", "agent", "agents", "status_icons", "status_format"];

/// Where the command is to run and what the files say about it.
struct Place {
    repository: Repository,
    cwd: PathBuf,
    loaded: Loaded,
}

impl Place {
    fn config(&self) -> Result<&Config> {
        Ok(self.loaded.config(&NEEDED)?)
    }
}

/// Runs the command; the answer is its exit code.
pub fn launch(wish: Wish, surroundings: &Surroundings) -> Result<u8, Failure> {
    run(wish, surroundings).map_err(Failure::session)
}

fn run(wish: Wish, surroundings: &Surroundings) -> Result<u8> {
    let place = locate(&wish, surroundings)?;
    let registry = registry()?;
    let chosen = choose(&registry, &place, &wish)?;
    if let Some(line) = &chosen.unasked {
        crate::ui::note(line);
    }
    foreign_tables(&place, &registry, chosen.name());
    if chosen.manifest().isolation == Isolation::None {
        crate::ui::warning(&format!("backend '{}' does not isolate: the command can do what you can", chosen.name()));
    }
    let others = if chosen.unasked.is_some() { chosen.others() } else { Vec::new() };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().wrap_err("cannot start the supervisor")?;
    let outcome = runtime.block_on(async {
        if wish.dry_run {
            dry_run::show(wish, place, chosen, surroundings).await
        } else {
            notice::show_once(&surroundings.state);
            session::session(wish, place, chosen, surroundings).await
        }
    });
    // A backend's thread that hangs, or a tool that has a deadline of its own, is not waited for.
    runtime.shutdown_background();
    if outcome.is_err() && !others.is_empty() {
        crate::ui::note(&format!("also here: {} (choose with --backend, or set 'sandbox.backend')", others.join(", ")));
    }
    outcome
}

/// Says which tables below `sandbox` nobody reads: a restriction with a slip in its name would be none.
fn foreign_tables(place: &Place, registry: &Registry, chosen: &str) {
    // The list of all backends is made only where some table is not the chosen one's.
    if place.loaded.foreign_tables(&[chosen]).is_empty() {
        return;
    }
    let names = registry.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for warning in place.loaded.foreign_tables(&names) {
        crate::ui::warning(&warning.to_string());
    }
}

/// The backend, not loaded yet. As root this may start the program again as the owner of the worktree.
fn choose<'a>(registry: &'a Registry, place: &Place, wish: &Wish) -> Result<Chosen<'a>> {
    let chosen = routing::choose(registry, place.config()?, wish.backend.as_deref())?;
    if chosen.manifest().root == Root::BecomeOwner {
        owner::become_owner(&place.repository.worktree)?;
    }
    Ok(chosen)
}

/// Finds the checkout and reads the configuration that is in force there.
fn locate(wish: &Wish, surroundings: &Surroundings) -> Result<Place> {
    let cwd = wish
        .start
        .canonicalize()
        .wrap_err_with(|| format!("cannot find {}", crate::text::quote(wish.start.as_os_str())))?;
    let repository = Repository::discover(wish.root.as_ref().unwrap_or(&cwd)).map_err(Report::new)?;
    if !cwd.starts_with(&repository.worktree) {
        return Err(hinted(
            format!(
                "{} is not inside the worktree {}",
                crate::text::quote(cwd.as_os_str()),
                crate::text::quote(repository.worktree.as_os_str())
            ),
            "give a directory of that worktree, or another --worktree-root",
        ));
    }
    // The one git process of a start: it runs while the configuration is read and the backend is loaded. Root reads
    // nothing here, which may be somebody else's.
    if !nix::unistd::geteuid().is_root() {
        repository.read_ahead();
    }
    let can_ask = crate::ui::can_ask() && !wish.dry_run;
    let loaded = match &wish.task {
        Some(task) => {
            config::load(&Sources { frozen: Some(task.directory.join("config.json")), ..Sources::default() })?
        }
        None => configuration(&cwd, &repository, Given::default(), &NEEDED, can_ask, surroundings)?,
    };
    for unserved in config::later::unserved(loaded.config(&NEEDED)?) {
        if unserved.restricting {
            return Err(Report::msg(unserved.message).wrap_err("the sandbox is not started"));
        }
        crate::ui::warning(&unserved.message);
    }
    Ok(Place { repository, cwd, loaded })
}

/// What the command line says of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// A file instead of the project's.
    pub explicit: Option<PathBuf>,
    /// Values by key.
    pub command_line: std::collections::BTreeMap<String, serde_json::Value>,
}

/// The configuration in force at `cwd`, with what the project needs the user's word for settled and what is wrong with it
/// printed.
pub(crate) fn configuration(
    cwd: &Path,
    repository: &Repository,
    given: Given,
    needed: &[&str],
    can_ask: bool,
    surroundings: &Surroundings,
) -> Result<Loaded> {
    let Given { explicit, command_line } = given;
    let mut loaded = config::load(&Sources { explicit, command_line, ..sources(cwd, Some(repository), surroundings) })?;
    settings::with_approvals(surroundings, Some(repository), can_ask, |approvals| loaded.approve(needed, approvals))?;
    tell(&loaded, needed);
    Ok(loaded)
}

/// A backend and its merged table, as a worktree's panes will use them.
pub(crate) struct Pinned {
    /// The backend's name.
    pub backend: String,
    /// Its table.
    pub table: serde_json::Value,
}

/// Chooses the backend for a worktree's panes and settles its table, so that they need not ask.
pub(crate) fn pin(
    loaded: &Loaded,
    needed: &[&str],
    repository: &Repository,
    backend: Option<&str>,
    can_ask: bool,
    surroundings: &Surroundings,
) -> Result<Pinned> {
    let registry = registry()?;
    let chosen = routing::choose(&registry, loaded.config(needed)?, backend)?;
    let table = settings::table(chosen.manifest(), loaded, surroundings, repository, can_ask)?;
    Ok(Pinned { backend: chosen.name().to_owned(), table: table.merged })
}

/// Prints what is wrong with the files and what of the project's is not used.
fn tell(loaded: &Loaded, needed: &[&str]) {
    for warning in loaded.warnings() {
        crate::ui::warning(&warning.to_string());
    }
    for refusal in loaded.refusals(needed) {
        crate::ui::warning(&refusal.to_string());
    }
}

/// Where the configuration in force at `cwd` comes from.
fn sources(cwd: &Path, repository: Option<&Repository>, surroundings: &Surroundings) -> Sources {
    Sources {
        start: cwd.to_owned(),
        worktree_root: repository.map(|r| r.worktree.clone()),
        main_root: repository.and_then(|r| r.main_checkout.clone()),
        home: surroundings.home.clone(),
        xdg_config_home: Some(surroundings.config_home.clone()),
        ..Sources::default()
    }
}

/// Keeps a line in the log for a run.
pub(crate) fn log_of(state: &Path, run: &str, line: &str) {
    log::Log::new(state, run).line(line);
}

/// The installed backends.
pub fn registry() -> Result<Registry> {
    let environment = Environment::current().wrap_err("cannot tell where plugins are")?;
    if let Some(fault) = trace::fault(&environment) {
        crate::ui::warning(&fault);
    }
    Ok(Registry::new(environment).with_ask(person::Person).with_events(Arc::new(person::Person)))
}
