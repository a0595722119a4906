//! `shell --exec`: a further command in the sandbox that already runs for this worktree.
//!
//! The command gets a socket of its own in the running sandbox's directory of sockets, or a port and a file of keys there,
//! as that sandbox itself did; the backend only starts our guest program in it, which fetches words, environment and
//! lifeline over the connection.

use std::path::{Path, PathBuf};

use color_eyre::eyre::{Report, Result, WrapErr as _};
use workmux_guest::control::Start;
use workmux_guest::{GUEST_BIN_DIR, GUEST_PROGRAM, GUEST_SOCKET_DIR};
use workmux_plugin_api::{AttachRequest, GuestCommand};

use super::wanted::{assignment, variables};
use super::{Wish, agent, choose, failed, locate, reach, registry};
use crate::error::{Failure, from_backend, hinted};
use crate::plugins::Backend;
use crate::routing::{self, ATTACH};
use crate::runs::{self, Record};
use crate::supervisor::{self, FirstProcess, Interrupted, Job, Observer, Signals, Status, Unstarted};
use crate::surroundings::Surroundings;

/// Runs the command; the answer is its exit code.
pub fn attach(wish: Wish, surroundings: &Surroundings) -> Result<u8, Failure> {
    run(wish, surroundings).map_err(Failure::session)
}

fn run(wish: Wish, surroundings: &Surroundings) -> Result<u8> {
    let place = locate(&wish, surroundings)?;
    let registry = registry()?;
    let chosen = choose(&registry, &place, &wish)?;
    let offered = chosen.manifest().capabilities.contains(&ATTACH.capability);
    if !offered && !crate::mutant::off("p81_missing") {
        return Err(routing::not_provided(ATTACH, Some(chosen.name()), &registry));
    }
    let worktree = &place.repository.worktree;
    let (directory, record) = newest(surroundings, worktree, chosen.name())?;
    let backend = chosen.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().wrap_err("cannot start")?;
    let status = runtime.block_on(join(wish, &place, &backend, &directory, record, surroundings));
    runtime.shutdown_background();
    let status = status?;
    if let Status::NotStarted { reason, .. } = &status {
        crate::ui::raw_error(&format!("Error: {reason}\n"));
    }
    Ok(status.code())
}

/// The newest live run of this worktree; the others are named.
fn newest(surroundings: &Surroundings, worktree: &Path, backend: &str) -> Result<(PathBuf, Record)> {
    let mut live = runs::live(&surroundings.state)
        .into_iter()
        .filter(|(_, r)| r.worktree == worktree && r.backend == backend && r.instance.is_some());
    let (directory, record) = live.next().ok_or_else(|| nothing_runs(worktree))?;
    let others: Vec<String> =
        live.filter_map(|(_, r)| Some(format!("'{}'", crate::text::line(&r.instance?.name)))).collect();
    if !others.is_empty() {
        let name = record.instance.as_ref().map(|i| crate::text::line(&i.name)).unwrap_or_default();
        crate::ui::note(&format!("joining '{name}', the newest; also running: {}", others.join(", ")));
    }
    Ok((directory, record))
}

async fn join(
    wish: Wish,
    place: &super::Place,
    backend: &Backend,
    directory: &Path,
    record: Record,
    surroundings: &Surroundings,
) -> Result<Status> {
    let config = place.config()?.clone();
    let command = agent::command(&wish, &config, surroundings);
    let instance = record.instance.clone().unwrap_or_default();
    let sockets = directory.join("sock");
    let name = format!("exec-{}", &runs::new_id()?[..16]);
    let mut signals = Signals::install().wrap_err("cannot listen for signals")?;
    let guest_sockets = Path::new(GUEST_SOCKET_DIR);
    let (door, place_of_door) =
        reach::door(&record.route, &sockets, guest_sockets, &name).await.wrap_err("the sandbox has just ended")?;
    let socket = Socket(sockets.join(&name));
    let terminal = supervisor::is_interactive();
    let request = AttachRequest {
        settings: record.settings.clone(),
        instance: instance.clone(),
        first_process: record.first_process.clone().filter(runs::alive).map(|p| p.pid),
        command: GuestCommand {
            argv: vec![GUEST_PROGRAM.into(), "exec".into(), place_of_door.into()],
            env: Vec::new(),
            cwd: place.cwd.clone(),
        },
        terminal,
    };
    if wish.dry_run {
        let exec = backend.attach(request).await.map_err(|e| from_backend(&e))?;
        return super::dry_run::attached(&exec);
    }
    let how = match signals.unless_interrupted(backend.attach(request)).await {
        Ok(how) => how.map_err(|e| from_backend(&e))?,
        Err(Interrupted(signal)) => return Ok(Status::Signaled(signal as i32)),
    };
    let identity = place.repository.identity();
    let variables = variables(place, &config, &command, &instance, &identity, None, Path::new(GUEST_BIN_DIR));
    let start = Start {
        argv: command.argv.iter().map(|w| w.clone().into_encoded_bytes()).collect(),
        env: variables.iter().map(assignment).collect(),
        cwd: place.cwd.clone().into_os_string().into_encoded_bytes(),
        terminal,
        inherit: instance.inherit_env,
        size: if terminal { supervisor::terminal_size() } else { None },
        ..Start::default()
    };
    let job = Job {
        typing: None,
        how,
        first_process: Some(FirstProcess { door, start }),
        terminal,
        tool_environment: backend.tool_environment(),
        backend: backend.name().to_owned(),
        sandbox: record.instance.as_ref().map(|instance| instance.name.clone()).unwrap_or_default(),
        stop: Box::pin(std::future::pending()),
        signals,
    };
    let (status, reaping) = supervisor::supervise(job, &mut Warning).await;
    reaping.done().await;
    let status = match status {
        Err(report) if report.is::<Unstarted>() => {
            let about = failed::About { image: config.sandbox.image.clone(), agent: command.row.name };
            Err(failed::explain(report, backend, &record.settings, &instance, &about).await.report)
        }
        Err(_) if !runs::alive(record.first_process.as_ref().unwrap_or(&record.supervisor)) => {
            Err(Report::msg("the sandbox ended, and the command with it"))
        }
        other => other,
    };
    drop(socket);
    status
}

struct Warning;

impl Observer for Warning {
    fn first_process(&mut self, _pid: Option<u32>) {}
    fn started(&mut self) {}
    fn warn(&mut self, text: &str) {
        crate::ui::warning(text);
    }
}

/// The socket's file, removed when dropped.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ended = std::fs::remove_file(&self.0);
    }
}

/// A hint for runs that are not there.
fn nothing_runs(worktree: &Path) -> Report {
    hinted(
        format!("no sandbox runs for {}", crate::text::quote(worktree.as_os_str())),
        "start one: workmux sandbox shell (or: workmux sandbox agent)",
    )
}
