//! One run, from nothing to nothing: record, git boundary, RPC, backend, supervisor, and back.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use color_eyre::eyre::{Report, Result, WrapErr as _};
use tokio::sync::Notify;
use workmux_guest::CONTROL_SOCKET;
use workmux_guest::control::Start;
use workmux_plugin_api::{
    Access, Capability, ExecRequest, ImageRequest, Instance, Isolation, PrepareRequest, Purpose, ReleaseRequest,
    Remedy, Route, RouteRequest, Settings, VerifyRequest,
};

use super::actions::Actions;
use super::agent::{self, Command};
use super::failed::Failed;
use super::guest_paths::GuestPaths;
use super::imports::Imports;
use super::left_behind::Places;
use super::log::Log;
use super::told::report;
use super::typing;
use super::wanted::{assignment, build_spec, extra_mounts, variables};
use super::{Place, Wish, consent, failed, guest_program, reach, reaper, settings};
use crate::config::Config;
use crate::error::from_backend;
use crate::git::{Boundary, Identity, Imported, Repository};
use crate::images;
use crate::plugins::{Backend, Exec};
use crate::progress::{Out, Progress};
use crate::routing::Chosen;
use crate::rpc::{Limits, Server, Token};
use crate::runs::{self, CheckoutLock, ProcessIdentity, Record, Run};
use crate::spec::{self, GitPart, Parts, Rpc};
use crate::supervisor::{self, FirstProcess, Interrupted, Job, Observer, Reaping, Signals, Status, Unstarted};
use crate::surroundings::Surroundings;
use crate::worktrees::Family;

/// What RPC gets at the end to finish answering.
const DRAIN: Duration = Duration::from_secs(1);
/// What the backend gets to clean up once a signal asked for the end, and the command did not end by itself.
const RELEASE: Duration = Duration::from_secs(5);

/// Runs the command; the answer is its exit code. Where it could not start because the published image is not here yet,
/// that is pulled, and it is started again.
pub(super) async fn session(wish: Wish, place: Place, chosen: Chosen<'_>, surroundings: &Surroundings) -> Result<u8> {
    let mut outcome = begin_and_end(&wish, &place, &chosen, surroundings).await;
    if let Err(Failed { remedy: Some(Remedy::Pull), .. }) = &outcome
        && chosen.manifest().capabilities.contains(&Capability::Images)
    {
        outcome = match pull(&place, &chosen, surroundings).await {
            Ok(()) => begin_and_end(&wish, &place, &chosen, surroundings).await,
            Err(report) => Err(report.into()),
        };
    }
    match outcome.map_err(|failed| failed.report) {
        Err(report) => match report.downcast_ref::<Interrupted>() {
            Some(Interrupted(signal)) => Ok(Status::Signaled(*signal as i32).code()),
            None => Err(report),
        },
        code => code,
    }
}

/// Gets the published image.
async fn pull(place: &Place, chosen: &Chosen<'_>, surroundings: &Surroundings) -> Result<()> {
    let mut signals = Signals::install().wrap_err("cannot listen for signals")?;
    let backend = chosen.load()?;
    let config = place.config()?;
    let table = settings::judged(chosen.manifest(), &place.loaded, surroundings, Some(&place.repository), false)?;
    let work = async {
        let answer = backend.settings(settings::request(&table)).await.map_err(|e| from_backend(&e))?;
        let settings = settings::accepted(chosen.name(), &table, answer)?;
        let row = agent::row(config.agent(), config, surroundings);
        let request =
            ImageRequest { settings: settings.value, image: config.sandbox.image.clone(), agent: row.name.to_owned() };
        let image = backend.image(request.clone()).await.map_err(|e| from_backend(&e))?;
        images::pull_missing(&backend, request, &image.name, surroundings).await
    };
    signals.unless_interrupted(work).await?
}

async fn begin_and_end(
    wish: &Wish,
    place: &Place,
    chosen: &Chosen<'_>,
    surroundings: &Surroundings,
) -> Result<u8, Failed> {
    // From here on a signal leads to the end of this function, not of the process: what was made is taken down.
    let mut signals = Signals::install().wrap_err("cannot listen for signals")?;
    let progress = Arc::new(Progress::new(Out::Note));
    let backend = chosen.load()?.with_events(Arc::clone(&progress) as _);
    let name = chosen.name().to_owned();
    let mounted = chosen.manifest().isolation != Isolation::None;
    let config = place.config()?.clone();
    let table =
        settings::table(chosen.manifest(), &place.loaded, surroundings, &place.repository, crate::ui::can_ask())?;
    let command = agent::command(wish, &config, surroundings);
    let about = failed::About { image: config.sandbox.image.clone(), agent: command.row.name };

    signals.unless_interrupted(reaper::distant_guests(surroundings)).await.map_err(Report::new)?;
    // The boundary is the longest step and needs nothing of the backend: it is made beside the rest.
    let run_id = runs::new_id().wrap_err("cannot make a run id")?;
    let entering = if mounted { Some(enter(&place.repository, &surroundings.state, &run_id)) } else { None };
    let asked = async {
        let settings = backend.settings(settings::request(&table)).await.map_err(|e| from_backend(&e))?;
        let settings = settings::accepted(&name, &table, settings)?;
        let route = backend
            .rpc_route(RouteRequest { settings: settings.value.clone() }, false)
            .await
            .map_err(|e| from_backend(&e))?;
        Ok::<_, Report>((settings, reach::route(route, &config)))
    };
    let asked = signals.unless_interrupted(asked).await;
    let mut stage = Stage {
        backend,
        progress,
        name,
        entering,
        boundary: None,
        run: None,
        instance: None,
        settings: Settings::default(),
        ended: false,
        unstarted: false,
        companions: Reaping::default(),
    };
    let outcome = match asked {
        Err(interrupted) => Err(Report::new(interrupted)),
        Ok(Err(report)) => Err(report),
        Ok(Ok((settings, route))) => {
            stage.settings = settings;
            stage.play(wish, route, place, table.merged, &config, command, surroundings, run_id, mounted, signals).await
        }
    };
    let outcome = match outcome {
        Err(report) if !report.is::<Interrupted>() => Err(match &stage.instance {
            Some(instance) => {
                stage.unstarted = report.is::<Unstarted>();
                failed::explain(report, &stage.backend, &stage.settings.value, instance, &about).await
            }
            None => report.into(),
        }),
        other => other.map_err(Failed::from),
    };
    let interrupted = match &outcome {
        Ok(status) => matches!(status, Status::Signaled(_)) && !stage.ended,
        Err(failed) => failed.report.is::<Interrupted>(),
    };
    stage.strike(interrupted).await;
    let status = outcome?;
    if let Status::NotStarted { reason, .. } = &status {
        crate::ui::raw_error(&format!("Error: {reason}\n"));
    }
    Ok(status.code())
}

/// A boundary that is being made.
pub(super) type Entering = tokio::task::JoinHandle<Result<(Boundary, Identity), crate::git::GitError>>;

/// Makes the boundary on a thread of its own.
pub(super) fn enter(repository: &Repository, state: &Path, run: &str) -> Entering {
    let (repository, state, run) = (repository.clone(), state.to_owned(), run.to_owned());
    tokio::task::spawn_blocking(move || {
        let identity = repository.identity();
        // What a killed run left is taken up by whoever enters first, and must not be written to any more.
        runs::end_guests(&state);
        Ok((Boundary::enter(repository, &state, &run)?, identity))
    })
}

/// What has been set up so far, and must be taken down again.
struct Stage {
    backend: Backend,
    /// What it tells of its work.
    progress: Arc<Progress>,
    name: String,
    /// Until somebody needs the boundary.
    entering: Option<Entering>,
    boundary: Option<(Arc<Boundary>, Identity)>,
    run: Option<Run>,
    instance: Option<Instance>,
    settings: Settings,
    /// The backend's program ended by itself after the command did.
    ended: bool,
    /// Its program failed before there was a sandbox, and that is said.
    unstarted: bool,
    companions: Reaping,
}

impl Stage {
    #[expect(clippy::too_many_arguments, reason = "one call, at one place")]
    async fn play(
        &mut self,
        wish: &Wish,
        route: Route,
        place: &Place,
        table: serde_json::Value,
        config: &Config,
        command: Command,
        surroundings: &Surroundings,
        run_id: String,
        mounted: bool,
        mut signals: Signals,
    ) -> Result<Status> {
        let purpose = wish.purpose;
        let mut record = record(&run_id, purpose, &self.name, place, &self.settings, &route);
        let extra = extra_mounts(config, surroundings);
        record.writable = extra
            .iter()
            .filter(|mount| mount.access == Access::ReadWrite)
            .filter_map(|mount| mount.source.canonicalize().ok())
            .collect();
        // Whoever writes into checkouts now has not seen us: we wait until that is done.
        let writes = signals.unless_interrupted(nobody_writes(&surroundings.state)).await??;
        let run = Run::begin(&surroundings.state, record).wrap_err("cannot record the run")?;
        drop(writes);
        let (sockets, scratch, directory) = (run.sockets(), run.scratch(), run.directory().to_owned());
        self.run = Some(run);
        let log = Log::new(&surroundings.state, &run_id);
        let (backend_name, frozen_table) = (self.name.clone(), table);
        let frozen = place.loaded.freeze_with(&directory, move |config| {
            config.sandbox.tables.insert(backend_name, frozen_table);
        });
        let frozen = frozen.wrap_err("cannot keep a copy of the configuration")?;

        let guest_program = guest_program::find(surroundings)?;
        let paths = GuestPaths::new(mounted, &sockets, &guest_program, &directory)?;
        let (door, place_of_door) = reach::door(&route, &sockets, paths.sockets(), CONTROL_SOCKET).await?;
        let server = if purpose == Purpose::Agent {
            let token = Token::fresh().wrap_err("cannot make a token")?;
            let secret = token.reveal().to_owned();
            let (listener, address) = reach::rpc(&route, &sockets).await?;
            let record = wish.task.as_ref().map(|task| task.directory.clone());
            let family = Family::new(&run_id, record, &place.repository, frozen, &self.name, surroundings);
            let actions = Arc::new(Actions::new(config, log.clone(), wish.task.as_ref(), family));
            let server = Server::start(listener, token, Arc::clone(&actions) as _, Limits::default());
            Some((server, secret, address, actions))
        } else {
            None
        };
        self.entered(&mut signals).await?;
        if let (Some((.., actions)), Some((boundary, _))) = (&server, &self.boundary) {
            actions.family().imported_by(boundary);
        }
        let parts = Parts {
            git: self.git_parts(),
            extra,
            agent: match mounted {
                true => agent::files(command.row, config, surroundings, &place.repository, None)?,
                false => Vec::new(),
            },
            own: paths.mounts(&sockets, &guest_program),
        };
        let spec = build_spec(&run_id, purpose, place, config, &command, surroundings, parts, &self.settings, scratch)?;
        spec::enforceable(&self.name, &spec.policy, self.backend.features(), mounted)?;

        let request = PrepareRequest {
            spec: spec.clone(),
            settings: self.settings.value.clone(),
            dry_run: false,
            consented: false,
        };
        let instance = consent::prepared(&self.backend, request, &self.progress, &mut signals).await;
        self.progress.clear();
        let instance = instance?;
        for note in instance.notes.iter().take(8) {
            crate::ui::note(&crate::text::line(note));
        }
        self.instance = Some(instance.clone());
        if let Some(run) = &mut self.run {
            run.update(|r| r.instance = Some(instance.clone())).wrap_err("cannot record the run")?;
        }

        let about_image = ImageRequest {
            settings: self.settings.value.clone(),
            image: config.sandbox.image.clone(),
            agent: command.row.name.to_owned(),
        };
        // Any other image comes and goes by the user's word alone.
        let published = instance.image.clone().filter(|image| image.published);
        if let Some(image) = &published {
            let caught_up = images::freshness::catch_up(&self.backend, &about_image, image, surroundings);
            signals.unless_interrupted(caught_up).await?;
        }

        let terminal = supervisor::is_interactive();
        let exec = ExecRequest {
            command: paths.first_process(&spec, place_of_door),
            settings: self.settings.value.clone(),
            instance: instance.clone(),
            terminal,
            spec,
        };
        let how = signals.unless_interrupted(self.backend.exec(exec)).await?.map_err(|e| from_backend(&e))?;
        let identity = self.boundary.as_ref().map(|(_, identity)| identity.clone()).unwrap_or_default();
        let rpc = server.as_ref().map(|(_, token, address, _)| Rpc { token, address: address.clone() });
        let relay = rpc.as_ref().is_some_and(|rpc| rpc.address.is_none());
        let variables = variables(place, config, &command, &instance, &identity, rpc, paths.bin());
        let start = Start {
            argv: command.argv.iter().map(|w| w.clone().into_encoded_bytes()).collect(),
            env: variables.iter().map(assignment).collect(),
            cwd: place.cwd.clone().into_os_string().into_encoded_bytes(),
            terminal,
            relay,
            wait_for_route: matches!(&how, Exec::Plan(plan) if plan.wait_for_route),
            inherit: instance.inherit_env,
            size: if terminal { supervisor::terminal_size() } else { None },
        };
        if let Some(recovered) = self.boundary.as_ref().and_then(|(boundary, _)| boundary.recovered()) {
            report(recovered);
        }
        let (lost, stop) = tokio::sync::oneshot::channel();
        let imports = match &self.boundary {
            Some((boundary, _)) => {
                Some(Imports::begin(boundary, log.clone(), lost).wrap_err("cannot start to import")?)
            }
            None => None,
        };
        let reaping = reaper::begin(surroundings);
        let started = Arc::new(Started::default());
        let aging = published.map(|image| {
            let (started, backend) = (Arc::clone(&started), self.backend.clone());
            let state = surroundings.state.clone();
            tokio::spawn(async move {
                started.aging.notified().await;
                images::freshness::find_out(backend, about_image, image, state).await;
            })
        });
        let verified = verified(self.backend.clone(), &how, &started, &self.settings, &instance);
        let typing = match &wish.task {
            Some(_) if terminal => Some(typing::listen(&directory).wrap_err("cannot listen for what is typed")?),
            _ => None,
        };
        let job = Job {
            how,
            typing: typing.as_ref().map(typing::Listener::typing),
            first_process: Some(FirstProcess { door, start }),
            terminal,
            tool_environment: self.backend.tool_environment(),
            backend: self.name.clone(),
            sandbox: instance.name.clone(),
            stop: Box::pin(async {
                let imported = async {
                    match stop.await {
                        Ok(why) => Report::new(why).wrap_err("the sandbox was stopped"),
                        Err(_nobody_will) => std::future::pending().await,
                    }
                };
                tokio::select! {
                    why = imported => why,
                    why = verified => why,
                }
            }),
            signals,
        };
        let before = mounted.then(|| Places::look(&place.repository.worktree));
        let mut observer = Watching {
            run: self.run.as_mut(),
            actions: server.as_ref().map(|(.., actions)| actions),
            started,
            ended: &mut self.ended,
        };
        let (status, companions) = supervisor::supervise(job, &mut observer).await;
        self.companions = companions;
        if let Some(changed) = before.and_then(|before| before.changed(&Places::look(&place.repository.worktree))) {
            crate::ui::warning(&changed);
        }
        if let Some(aging) = aging {
            aging.abort();
        }
        if let Some((server, .., actions)) = server {
            server.drain(DRAIN).await;
            actions.end().await;
        }
        if let Some(imports) = imports {
            imports.end().await;
        }
        reaping.end().await;
        status
    }

    /// Waits until the boundary stands, or a signal comes.
    async fn entered(&mut self, signals: &mut Signals) -> Result<()> {
        if let Some(task) = &mut self.entering {
            let entered = signals.unless_interrupted(task).await?;
            self.entering = None;
            let (boundary, identity) = entered.wrap_err("the git boundary could not be made")??;
            self.boundary = Some((Arc::new(boundary), identity));
        }
        Ok(())
    }

    fn git_parts(&self) -> Vec<GitPart> {
        let mounts = self.boundary.as_ref().map(|(boundary, _)| boundary.mounts()).unwrap_or_default();
        mounts
            .into_iter()
            .map(|m| GitPart { source: m.source, target: m.target, writable: m.writable, shares: m.shares })
            .collect()
    }

    /// Takes everything down. Failures here are said and change no exit code.
    async fn strike(mut self, interrupted: bool) {
        // Where the run ended before it needed the boundary. Once a signal asked for the end, git gets a moment to finish
        // what it has begun; what it leaves after that is taken away by the next command.
        let patience = if interrupted { supervisor::GRACE } else { Duration::MAX };
        let boundary = match (self.boundary.take(), self.entering.take()) {
            (None, Some(task)) => match tokio::time::timeout(patience, task).await {
                Ok(Ok(Ok((boundary, identity)))) => Some((Arc::new(boundary), identity)),
                // Why that failed is not why we are here.
                _ => None,
            },
            (boundary, _) => boundary,
        };
        let companions = std::mem::take(&mut self.companions);
        // Git knows nothing of the backend's things, and they nothing of git's.
        let (left, ()) = tokio::join!(
            async {
                match boundary {
                    Some((boundary, _)) => Some(leave(boundary).await),
                    None => None,
                }
            },
            self.release(if interrupted { RELEASE } else { Duration::MAX })
        );
        match left {
            Some(Ok(imported)) => report(&imported),
            Some(Err(e)) => crate::ui::warning(&format!("{e:#}")),
            None => {}
        }
        companions.done().await;
    }

    /// Gives back what the backend made, and then forgets it.
    async fn release(mut self, patience: Duration) {
        if let Some(instance) = self.instance.take() {
            let run = self.run.as_ref().map(|r| r.id().to_owned()).unwrap_or_default();
            let request = ReleaseRequest { settings: self.settings.value.clone(), instance, run, ended: self.ended };
            match tokio::time::timeout(patience, self.backend.release(request)).await {
                Ok(Err(e)) if !self.unstarted => {
                    crate::ui::raw_error(&crate::error::render(&from_backend(&e)));
                    // The record stays, so that the next command tries again.
                    return;
                }
                Err(_late) => {
                    crate::ui::warning("the backend does not answer; the next command takes away what may be left");
                    return;
                }
                Ok(_) => {}
            }
        }
        if let Some(run) = self.run.take()
            && let Err(e) = run.end()
        {
            crate::ui::warning(&format!("cannot remove the run's directory: {e}"));
        }
    }
}

/// Leaves the boundary; an import that is still under way on another thread holds it a little longer.
async fn leave(boundary: Arc<Boundary>) -> Result<Imported> {
    let task = tokio::task::spawn_blocking(move || {
        let mut boundary = boundary;
        loop {
            match Arc::try_unwrap(boundary) {
                Ok(boundary) => return boundary.leave(),
                Err(shared) => boundary = shared,
            }
            std::thread::yield_now();
        }
    });
    task.await.wrap_err("the last import failed")?.map_err(|e| Report::new(e).wrap_err("the last import failed"))
}

/// Has the backend read the instance back, where its plan asks for that; answers only with a reason to end the run.
fn verified(
    backend: Backend,
    how: &Exec,
    started: &Arc<Started>,
    settings: &Settings,
    instance: &Instance,
) -> impl Future<Output = Report> + use<> {
    let wanted = matches!(how, Exec::Plan(plan) if plan.read_back);
    let (started, settings, instance) = (Arc::clone(started), settings.value.clone(), instance.clone());
    async move {
        if wanted {
            started.verify.notified().await;
            if let Err(e) = backend.verify(VerifyRequest { settings, instance }).await {
                return from_backend(&e).wrap_err("the sandbox was stopped");
            }
        }
        std::future::pending().await
    }
}

/// Told of the sandbox being there: one for each who waits.
#[derive(Default)]
struct Started {
    verify: Notify,
    aging: Notify,
}

/// Keeps the record up to date, and tells who waits for it that the sandbox is there.
struct Watching<'a> {
    run: Option<&'a mut Run>,
    actions: Option<&'a Arc<Actions>>,
    started: Arc<Started>,
    ended: &'a mut bool,
}

impl Observer for Watching<'_> {
    fn first_process(&mut self, pid: Option<u32>) {
        if let (Some(run), Some(process)) = (&mut self.run, pid.and_then(ProcessIdentity::of)) {
            let _disk_full = run.update(|r| r.first_process = Some(process));
        }
        self.started.verify.notify_one();
        self.started.aging.notify_one();
    }

    fn started(&mut self) {
        if let Some(actions) = self.actions {
            actions.begun();
        }
    }

    fn program_ended(&mut self) {
        *self.ended = true;
    }

    fn warn(&mut self, text: &str) {
        crate::ui::warning(text);
    }
}

/// Waits until nobody brings commits into checkouts; none begins while the answer is kept.
async fn nobody_writes(state: &Path) -> Result<CheckoutLock> {
    let since = Instant::now();
    let mut said = false;
    loop {
        if let Some(lock) = CheckoutLock::try_shared(state).wrap_err("cannot look for another workmux")? {
            return Ok(lock);
        }
        if !said && since.elapsed() > Duration::from_secs(1) {
            crate::ui::note("waiting: another workmux merges, makes or removes a worktree here");
            said = true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn record(run: &str, purpose: Purpose, backend: &str, place: &Place, settings: &Settings, route: &Route) -> Record {
    Record {
        run: run.to_owned(),
        purpose,
        backend: backend.to_owned(),
        instance: None,
        supervisor: ProcessIdentity::own(),
        first_process: None,
        repository: place.repository.common_dir.clone(),
        worktree: place.repository.worktree.clone(),
        writable: Vec::new(),
        cwd: place.cwd.clone(),
        started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        settings: settings.value.clone(),
        route: route.clone(),
    }
}
