//! A loaded backend as the rest of the host calls it: its verbs, each with a deadline, each cancelled by dropping its
//! future, each answer checked.
//!
//! Needs a tokio runtime with timers around it, of any kind: the backend's own code never runs on it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use workmux_plugin_api::abi::import::{Call, LoadedBackend, LoadedExec};
use workmux_plugin_api::{
    AttachRequest, BuildRequest, Capability, CheckRequest, Error, ErrorKind, ExecRequest, ExplainRequest, Features,
    Finding, Freshness, FreshnessRequest, Image, ImageRequest, InstallRequest, Installed, Instance, InstanceInfo,
    InstanceRequest, InstancesRequest, Level, Manifest, Plan, PrepareRequest, PullRequest, Pulled, Recipe,
    ReleaseRequest, Result as ApiResult, Route, RouteRequest, Settings, SettingsRequest, VerifyRequest,
};

use super::answers;
use super::call::{self, Lost, Patience};
use super::services::{Services, Shared};
use super::session::Session;
use super::toolbox::Toolbox;
use super::trace::Trace;

/// How long a backend may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For every verb that only answers.
    pub question: Duration,
    /// For stopping and deleting an instance.
    pub change: Duration,
    /// For `prepare`, and for what works as long, since its last progress.
    pub silence: Duration,
    /// For these in all.
    pub prepare: Duration,
    /// For loading it.
    pub load: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            question: Duration::from_secs(30),
            change: Duration::from_secs(300),
            silence: Duration::from_secs(600),
            prepare: Duration::from_secs(6 * 3600),
            load: Duration::from_secs(10),
        }
    }
}

/// Takes what a backend says while it works. The text is clean and bounded, the rate too. Called on threads of the
/// backend's.
pub trait Events: Send + Sync {
    /// A line for the log, or for the user where it is a warning.
    fn log(&self, backend: &str, level: Level, text: &str);
    /// How far a long step is; `total` 0 = not known.
    fn progress(&self, backend: &str, text: &str, done: u64, total: u64);
}

/// Nobody listens.
pub(super) struct Silent;

impl Events for Silent {
    fn log(&self, _backend: &str, _level: Level, _text: &str) {}
    fn progress(&self, _backend: &str, _text: &str, _done: u64, _total: u64) {}
}

/// A call that failed: the backend's own error, or what went wrong around it. Clean text.
#[derive(Debug, Clone)]
pub struct CallError {
    /// Whose.
    pub backend: String,
    /// Which verb.
    pub verb: &'static str,
    /// What, why, and what to do next.
    pub error: Error,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backend '{}': {}", self.backend, self.error)?;
        self.error.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for CallError {}

type Result<T> = std::result::Result<T, CallError>;

/// How to run a command.
pub enum Exec {
    /// A local program for the host to start.
    Plan(Plan),
    /// A command that the backend runs.
    Session(Session),
}

/// A loaded backend. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    core: Arc<Core>,
    events: Arc<dyn Events>,
}

pub(super) struct Core {
    pub(super) name: &'static str,
    /// For ever: code of a library may run until the process ends, and dropping it would be such code.
    pub(super) loaded: &'static LoadedBackend,
    pub(super) manifest: Manifest,
    pub(super) path: PathBuf,
    pub(super) toolbox: Arc<Toolbox>,
    pub(super) state_dir: PathBuf,
    pub(super) deadlines: Deadlines,
    pub(super) trace: Option<Arc<Trace>>,
}

impl Backend {
    pub(super) fn new(core: Core, events: Arc<dyn Events>) -> Self {
        Self { core: Arc::new(core), events }
    }

    /// The same backend with another listener.
    #[must_use]
    pub fn with_events(&self, events: Arc<dyn Events>) -> Self {
        Self { core: Arc::clone(&self.core), events }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// Where its library really lies.
    pub fn path(&self) -> &Path {
        &self.core.path
    }

    /// What it says of itself. Foreign text.
    pub fn manifest(&self) -> &Manifest {
        &self.core.manifest
    }

    /// What it can enforce.
    pub fn features(&self) -> &Features {
        self.core.loaded.features()
    }

    /// Whether it offers this; equal to what its manifest says.
    pub fn has(&self, capability: Capability) -> bool {
        self.core.loaded.capabilities().contains(&capability)
    }

    /// What its plans and clean-up calls start from: the manifest's `tool_env` and a safe `PATH`.
    pub fn tool_environment(&self) -> Vec<(OsString, OsString)> {
        self.core.toolbox.environment()
    }

    /// Where a tool of its manifest is.
    pub fn tool(&self, name: &str) -> Option<&Path> {
        self.core.toolbox.tools().get(name).map(PathBuf::as_path)
    }

    /// [`workmux_plugin_api::Backend::settings`]
    pub async fn settings(&self, request: SettingsRequest) -> Result<Settings> {
        self.question("settings", |b, call| b.settings(call, request), answers::settings).await
    }

    /// [`workmux_plugin_api::Backend::check`]
    pub async fn check(&self, request: CheckRequest) -> Result<Vec<Finding>> {
        self.question("check", |b, call| b.check(call, request), answers::findings).await
    }

    /// [`workmux_plugin_api::Transport::rpc_route`]. `wide` = the user's own configuration allows to listen on all
    /// interfaces; otherwise an answer that wants it is an error.
    pub async fn rpc_route(&self, request: RouteRequest, wide: bool) -> Result<Route> {
        self.question("rpc_route", |b, call| b.rpc_route(call, request), move |route| answers::route(route, wide)).await
    }

    /// [`workmux_plugin_api::Transport::prepare`]. Refuses a policy that the backend's features do not cover before
    /// asking it.
    pub async fn prepare(&self, request: PrepareRequest) -> Result<Instance> {
        let unmet = answers::unmet(self.features(), &request.spec.policy);
        if !unmet.is_empty() {
            let message = format!("cannot provide {}", unmet.join(", "));
            let hint = "take these demands out of your configuration, or use another backend: workmux plugin list";
            return Err(self.failed("prepare", Error::refused(message).hint(hint)));
        }
        self.call("prepare", self.patience(), |b, call| b.prepare(call, request), answers::instance).await
    }

    /// [`workmux_plugin_api::Images::image`]
    pub async fn image(&self, request: ImageRequest) -> Result<Image> {
        self.question("image", |b, call| b.image(call, request), answers::image).await
    }

    /// [`workmux_plugin_api::Images::pull`]
    pub async fn pull(&self, request: PullRequest) -> Result<Pulled> {
        self.call("pull", self.patience(), |b, call| b.pull(call, request), answers::pulled).await
    }

    /// [`workmux_plugin_api::Images::build`]
    pub async fn build(&self, request: BuildRequest) -> Result<()> {
        self.call("build", self.patience(), |b, call| b.build(call, request), Ok).await
    }

    /// [`workmux_plugin_api::Images::recipe`]
    pub async fn recipe(&self, request: ImageRequest) -> Result<Recipe> {
        self.question("recipe", |b, call| b.recipe(call, request), answers::recipe).await
    }

    /// [`workmux_plugin_api::Images::freshness`]
    pub async fn freshness(&self, request: FreshnessRequest) -> Result<Freshness> {
        self.question("freshness", |b, call| b.freshness(call, request), answers::freshness).await
    }

    /// [`workmux_plugin_api::Install::install`]
    pub async fn install(&self, request: InstallRequest) -> Result<Vec<Installed>> {
        self.call("install", self.patience(), |b, call| b.install(call, request), answers::installed).await
    }

    /// [`workmux_plugin_api::Instances::list`]
    pub async fn list(&self, request: InstancesRequest) -> Result<Vec<InstanceInfo>> {
        self.question("list", |b, call| b.list(call, request), answers::instances).await
    }

    /// [`workmux_plugin_api::Instances::stop`]
    pub async fn stop(&self, request: InstanceRequest) -> Result<()> {
        self.slow("stop", |b, call| b.stop(call, request)).await
    }

    /// [`workmux_plugin_api::Instances::delete`]
    pub async fn delete(&self, request: InstanceRequest) -> Result<()> {
        self.slow("delete", |b, call| b.delete(call, request)).await
    }

    /// [`workmux_plugin_api::Transport::exec`]
    pub async fn exec(&self, request: ExecRequest) -> Result<Exec> {
        let answer = self.question("exec", |b, call| b.exec(call, request), Ok).await?;
        self.executable("exec", answer)
    }

    /// [`workmux_plugin_api::Attach::attach`]
    pub async fn attach(&self, request: AttachRequest) -> Result<Exec> {
        let answer = self.question("attach", |b, call| b.attach(call, request), Ok).await?;
        self.executable("attach", answer)
    }

    /// [`workmux_plugin_api::Transport::explain`]
    pub async fn explain(&self, request: ExplainRequest) -> Result<Option<Error>> {
        let clean = |answer: Option<Error>| Ok(answer.map(answers::error));
        self.question("explain", |b, call| b.explain(call, request), clean).await
    }

    /// [`workmux_plugin_api::Transport::verify`]
    pub async fn verify(&self, request: VerifyRequest) -> Result<()> {
        self.question("verify", |b, call| b.verify(call, request), Ok).await
    }

    /// [`workmux_plugin_api::Transport::release`]
    pub async fn release(&self, request: ReleaseRequest) -> Result<()> {
        self.question("release", |b, call| b.release(call, request), Ok).await
    }

    /// For verbs that work long and say how far they are.
    fn patience(&self) -> Patience {
        let Deadlines { silence, prepare: total, .. } = self.core.deadlines;
        Patience { silence, total }
    }

    fn executable(&self, verb: &'static str, answer: LoadedExec) -> Result<Exec> {
        match answer {
            LoadedExec::Plan(plan) => answers::plan(plan).map(Exec::Plan).map_err(|e| self.failed(verb, e)),
            LoadedExec::Session(session) => {
                if let Some(plan) = &session.info().by_hand {
                    answers::plan(plan.clone()).map_err(|e| self.failed(verb, e))?;
                }
                Session::new(self.name(), session, self.core.trace.clone())
                    .map(Exec::Session)
                    .map_err(|e| self.failed(verb, e))
            }
        }
    }

    async fn slow<F>(
        &self,
        verb: &'static str,
        ask: impl FnOnce(&'static LoadedBackend, Call) -> F + Send + 'static,
    ) -> Result<()>
    where
        F: Future<Output = ApiResult<()>>,
    {
        let total = self.core.deadlines.change;
        self.call(verb, Patience { silence: total, total }, ask, Ok).await
    }

    async fn question<A, B, F>(
        &self,
        verb: &'static str,
        ask: impl FnOnce(&'static LoadedBackend, Call) -> F + Send + 'static,
        look: impl FnOnce(A) -> ApiResult<B>,
    ) -> Result<B>
    where
        A: Send + 'static,
        F: Future<Output = ApiResult<A>>,
    {
        let question = self.core.deadlines.question;
        self.call(verb, Patience { silence: question, total: question }, ask, look).await
    }

    async fn call<A, B, F>(
        &self,
        verb: &'static str,
        patience: Patience,
        ask: impl FnOnce(&'static LoadedBackend, Call) -> F + Send + 'static,
        look: impl FnOnce(A) -> ApiResult<B>,
    ) -> Result<B>
    where
        A: Send + 'static,
        F: Future<Output = ApiResult<A>>,
    {
        let Core { name, loaded, toolbox, state_dir, trace, .. } = &*self.core;
        let (name, loaded, toolbox, state_dir) = (*name, *loaded, Arc::clone(toolbox), state_dir.clone());
        let mut timed = Trace::begin(trace.as_ref(), name, verb);
        private_dir(&state_dir).map_err(|e| {
            let message = format!("cannot make its directory '{}'", state_dir.display());
            self.failed(verb, Error::internal(message).cause(e.to_string()))
        })?;
        let shared = Shared::new();
        let (events, for_services, trace) = (Arc::clone(&self.events), Arc::clone(&shared), trace.clone());
        let running = call::start(name, move |timers| {
            let tools = toolbox.tools().clone();
            let host = Arc::new(Services::new(name, toolbox, events, timers, for_services, trace));
            ask(loaded, Call { host, deadline: patience.silence, state_dir, tools })
        });
        let answer = match running {
            Ok(mut running) => {
                // Dropped before the call is: what it owns may be of use to its tools until they are gone.
                let _over = Over(Arc::clone(&shared));
                running.within(patience, &shared.alive).await
            }
            Err(e) => Err(e),
        };
        let answer = match answer {
            Ok(answer) => answer.and_then(look).map_err(|e| self.failed(verb, e)),
            Err(lost) => Err(self.failed(verb, lost_error(verb, lost))),
        };
        let (asked, answered) = shared.exchanged();
        timed.bytes(asked, answered);
        timed.end(&answer);
        answer
    }

    fn failed(&self, verb: &'static str, error: Error) -> CallError {
        CallError { backend: self.name().to_owned(), verb, error: answers::error(error) }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("name", &self.name()).field("path", &self.path()).finish()
    }
}

/// Ends what a call started, also when its future is dropped.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn private_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(super) fn lost_error(verb: &str, lost: Lost) -> Error {
    match lost {
        Lost::Deadline(after) => {
            Error::new(ErrorKind::Timeout, format!("did not answer '{verb}' within {} s", after.as_secs_f32()))
                .hint("try again; if it stays so: workmux doctor")
        }
        Lost::Died => Error::new(ErrorKind::Panicked, format!("panicked in '{verb}'")),
        Lost::Thread(e) => Error::new(ErrorKind::LimitHit, "no thread could be started for it").cause(e.to_string()),
    }
}
