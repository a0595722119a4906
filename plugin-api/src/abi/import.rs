//! The host's half: a loaded library seen as an ordinary object with the traits' verbs.
//!
//! Opening the file, trust and deadlines are the host's; this file starts at a symbol's address and ends at typed
//! futures. A future from here runs the backend's code when polled: the host polls it on a thread of its own and drops
//! it to cancel.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fmt;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use abi_stable::StableAbi as _;
use abi_stable::abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals};
use abi_stable::library::AbiHeaderRef;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RErr, ROk, RSome, RStr, RString};
use async_ffi::FutureExt as _;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::export::{Description, Envelope, ExecAnswer, error_text, from_json, parse_error, to_json};
use super::{AbiHost, AbiHost_TO, BackendObject, BackendRootRef, HostObject, Outcome, Probe, Reply, SessionObject};
use crate::context::{CallFacts, Event, NextStep};
use crate::manifest::Protocol;
use crate::{
    AttachRequest, BuildRequest, Capability, CheckRequest, Ended, Error, ErrorKind, ExecRequest, ExplainRequest,
    Features, Finding, Freshness, FreshnessRequest, Image, ImageRequest, InstallRequest, Installed, Instance,
    InstanceInfo, InstanceRequest, InstancesRequest, Level, PROTOCOL, Plan, PrepareRequest, PullRequest, Pulled,
    Recipe, ReleaseRequest, Result, Route, RouteRequest, SessionInfo, Settings, SettingsRequest, Step, Tool,
    ToolOutput, VerifyRequest,
};

/// Longest answer that is read.
const MAX_ANSWER: usize = 16 << 20;
/// Longest error or event that is read.
const MAX_NOTE: usize = 1 << 20;

/// Why a library is not used. The texts name both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportError {
    /// Built for another protocol.
    Protocol {
        /// The library's.
        theirs: Protocol,
    },
    /// The record or header is not what this API writes.
    Foreign(String),
    /// Same protocol, but the types do not have the layout they must have.
    Layout(String),
    /// The backend could not be made.
    Create(Error),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol { theirs } => {
                write!(f, "it was built for plugin protocol {theirs}, this workmux speaks {PROTOCOL}")
            }
            Self::Foreign(why) => write!(f, "it is not a workmux backend: {why}"),
            Self::Layout(why) => write!(f, "it says plugin protocol {PROTOCOL} but does not match it: {why}"),
            Self::Create(e) => {
                write!(f, "it could not start: {e}")?;
                e.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
            }
        }
    }
}

impl std::error::Error for ImportError {}

/// Reads the plain record of a library: works whatever the rest was built with.
///
/// # Safety
/// `probe` is the address of the library's [`PROBE_SYMBOL`](super::PROBE_SYMBOL), and the library stays loaded.
///
/// # Errors
/// [`ImportError::Protocol`] names both versions.
pub unsafe fn check_probe(probe: *const c_void) -> std::result::Result<Protocol, ImportError> {
    // SAFETY: the caller's promise; the size is read first, and alone, through an unaligned read.
    let size = unsafe { probe.cast::<u32>().read_unaligned() };
    if (size as usize) < std::mem::size_of::<Probe>() || size > 4096 {
        return Err(ImportError::Foreign("its probe record has an impossible size".into()));
    }
    // SAFETY: the record is at least as large as ours.
    let probe = unsafe { probe.cast::<Probe>().read_unaligned() };
    let theirs = Protocol { major: probe.protocol_major, minor: probe.protocol_minor };
    if PROTOCOL.serves(theirs) { Ok(theirs) } else { Err(ImportError::Protocol { theirs }) }
}

/// Checks a library's layout and makes its backend.
///
/// # Safety
/// `header` is the address of the library's [`HEADER_SYMBOL`](super::HEADER_SYMBOL), [`check_probe`] accepted the
/// library, and it stays loaded for ever.
///
/// # Errors
/// Every way in which the library does not fit.
pub unsafe fn import(header: *const c_void) -> std::result::Result<LoadedBackend, ImportError> {
    // SAFETY: `AbiHeaderRef` is a transparent non-null reference to a record that begins with a magic string, which
    // `upgrade` compares before anything behind it is read.
    let header: AbiHeaderRef = unsafe { std::mem::transmute::<*const c_void, AbiHeaderRef>(header) };
    if !header.is_valid() {
        return Err(ImportError::Foreign("its header was made by another version of abi_stable, or is damaged".into()));
    }
    let header = header.upgrade().map_err(|e| ImportError::Foreign(first_line(&e.to_string())))?;
    let theirs =
        header.layout().ok_or_else(|| ImportError::Foreign("it carries no description of its types".into()))?;
    // Fresh globals: with shared ones the answer would depend on what was loaded before.
    check_layout_compatibility_with_globals(BackendRootRef::LAYOUT, theirs, &CheckingGlobals::new())
        .map_err(|e| ImportError::Layout(first_difference(&e.to_string())))?;
    // SAFETY: the layout was just checked.
    let root = unsafe { header.unchecked_layout::<BackendRootRef>() }
        .map_err(|e| ImportError::Foreign(first_line(&format!("{e:?}"))))?;
    match (root.create())() {
        ROk(object) => LoadedBackend::new(object).map_err(ImportError::Create),
        RErr(text) => Err(ImportError::Create(their_error(&text))),
    }
}

/// abi_stable reports differences in tens of kilobytes; the first differing type and why is what helps.
fn first_difference(report: &str) -> String {
    let lines: Vec<&str> = report.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let start = lines.iter().position(|l| l.starts_with("Error:")).unwrap_or(0);
    let text = lines[start.min(lines.len())..].iter().take(4).copied().collect::<Vec<_>>().join(" ");
    text.chars().take(300).collect()
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("no reason given").chars().take(300).collect()
}

/// What the host does for a backend during a call.
#[async_trait]
pub trait HostServices: Send + Sync + 'static {
    /// Runs a tool to its end, in a cleared environment.
    async fn run(&self, tool: Tool) -> Result<ToolOutput>;
    /// Starts a tool; the answer is its number in this call.
    async fn start(&self, tool: Tool) -> Result<u64>;
    /// What a started tool does next, within this time.
    async fn next(&self, number: u64, within: Duration) -> Result<Step>;
    /// Ends a started tool.
    async fn end(&self, number: u64) -> Result<()>;
    /// Waits.
    async fn sleep(&self, time: Duration) -> Result<()>;
    /// Is told how long the request and the answer of the call were, in bytes.
    fn exchanged(&self, _asked: usize, _answered: usize) {}
    /// Takes a log line. Untrusted text.
    fn log(&self, level: Level, text: String);
    /// Takes a progress line; `total` 0 = unknown. Untrusted text.
    fn progress(&self, text: String, done: u64, total: u64);
}

/// What a call may know and use.
#[derive(Clone)]
pub struct Call {
    /// The host's services.
    pub host: Arc<dyn HostServices>,
    /// What the backend is told of its deadline; keeping it is the caller's.
    pub deadline: Duration,
    /// The backend's private directory.
    pub state_dir: PathBuf,
    /// Where the manifest's tools are.
    pub tools: BTreeMap<String, PathBuf>,
}

/// A backend in this process.
#[derive(Clone)]
pub struct LoadedBackend {
    object: BackendObject,
    features: Features,
    capabilities: Vec<Capability>,
}

/// How to run a command: the imported form of [`Exec`](crate::Exec).
pub enum LoadedExec {
    /// A local program for the host to start.
    Plan(Plan),
    /// A command the backend runs.
    Session(LoadedSession),
}

impl LoadedBackend {
    fn new(object: BackendObject) -> Result<Self> {
        let description: Description = match object.describe() {
            ROk(text) => from_json(bounded(&text, MAX_NOTE)?)?,
            RErr(text) => return Err(their_error(&text)),
        };
        Ok(Self { object, features: description.features, capabilities: description.capabilities })
    }

    /// What it can enforce.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// What its accessors answered when it was loaded.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// [`Backend::settings`](crate::Backend::settings)
    pub async fn settings(&self, call: Call, request: SettingsRequest) -> Result<Settings> {
        self.ask("settings", call, request).await
    }

    /// [`Backend::check`](crate::Backend::check)
    pub async fn check(&self, call: Call, request: CheckRequest) -> Result<Vec<Finding>> {
        self.ask("check", call, request).await
    }

    /// [`Transport::rpc_route`](crate::Transport::rpc_route)
    pub async fn rpc_route(&self, call: Call, request: RouteRequest) -> Result<Route> {
        self.ask("rpc_route", call, request).await
    }

    /// [`Transport::prepare`](crate::Transport::prepare)
    pub async fn prepare(&self, call: Call, request: PrepareRequest) -> Result<Instance> {
        self.ask("prepare", call, request).await
    }

    /// [`Transport::explain`](crate::Transport::explain)
    pub async fn explain(&self, call: Call, request: ExplainRequest) -> Result<Option<Error>> {
        self.ask("explain", call, request).await
    }

    /// [`Transport::verify`](crate::Transport::verify)
    pub async fn verify(&self, call: Call, request: VerifyRequest) -> Result<()> {
        self.ask("verify", call, request).await
    }

    /// [`Transport::release`](crate::Transport::release)
    pub async fn release(&self, call: Call, request: ReleaseRequest) -> Result<()> {
        self.ask("release", call, request).await
    }

    /// [`Instances::list`](crate::Instances::list)
    pub async fn list(&self, call: Call, request: InstancesRequest) -> Result<Vec<InstanceInfo>> {
        self.ask("instances.list", call, request).await
    }

    /// [`Instances::stop`](crate::Instances::stop)
    pub async fn stop(&self, call: Call, request: InstanceRequest) -> Result<()> {
        self.ask("instances.stop", call, request).await
    }

    /// [`Instances::delete`](crate::Instances::delete)
    pub async fn delete(&self, call: Call, request: InstanceRequest) -> Result<()> {
        self.ask("instances.delete", call, request).await
    }

    /// [`Images::image`](crate::Images::image)
    pub async fn image(&self, call: Call, request: ImageRequest) -> Result<Image> {
        self.ask("images.image", call, request).await
    }

    /// [`Images::pull`](crate::Images::pull)
    pub async fn pull(&self, call: Call, request: PullRequest) -> Result<Pulled> {
        self.ask("images.pull", call, request).await
    }

    /// [`Images::build`](crate::Images::build)
    pub async fn build(&self, call: Call, request: BuildRequest) -> Result<()> {
        self.ask("images.build", call, request).await
    }

    /// [`Images::recipe`](crate::Images::recipe)
    pub async fn recipe(&self, call: Call, request: ImageRequest) -> Result<Recipe> {
        self.ask("images.recipe", call, request).await
    }

    /// [`Images::freshness`](crate::Images::freshness)
    pub async fn freshness(&self, call: Call, request: FreshnessRequest) -> Result<Freshness> {
        self.ask("images.freshness", call, request).await
    }

    /// [`Install::install`](crate::Install::install)
    pub async fn install(&self, call: Call, request: InstallRequest) -> Result<Vec<Installed>> {
        self.ask("install", call, request).await
    }

    /// [`Transport::exec`](crate::Transport::exec)
    pub async fn exec(&self, call: Call, request: ExecRequest) -> Result<LoadedExec> {
        self.exec_verb("exec", call, request).await
    }

    /// [`Attach::attach`](crate::Attach::attach)
    pub async fn attach(&self, call: Call, request: AttachRequest) -> Result<LoadedExec> {
        self.exec_verb("attach", call, request).await
    }

    async fn ask<Q: Serialize, A: for<'de> Deserialize<'de>>(&self, op: &str, call: Call, request: Q) -> Result<A> {
        from_json(&self.invoke(op, call, request).await?.body)
    }

    async fn exec_verb<Q: Serialize>(&self, op: &str, call: Call, request: Q) -> Result<LoadedExec> {
        let reply = self.invoke(op, call, request).await?;
        match (from_json(&reply.body)?, reply.session) {
            (ExecAnswer::Plan { plan }, _) => Ok(LoadedExec::Plan(plan)),
            (ExecAnswer::Session { info }, RSome(object)) => {
                Ok(LoadedExec::Session(LoadedSession { object, info: Arc::new(info) }))
            }
            (ExecAnswer::Session { .. }, _) => Err(Error::internal("answered with a session but sent none")),
        }
    }

    async fn invoke<Q: Serialize>(&self, op: &str, call: Call, request: Q) -> Result<Reply> {
        let facts = CallFacts {
            deadline_ms: call.deadline.as_millis().min(u128::from(u64::MAX)) as u64,
            state_dir: call.state_dir,
            tools: call.tools,
        };
        let body = to_json(&Envelope { call: facts, request })?;
        let (asked, host) = (body.len(), Arc::clone(&call.host));
        let object: HostObject = AbiHost_TO::from_value(HostAdapter(call.host), TD_Opaque);
        // Bound first: the future must not borrow from this call.
        let future = self.object.invoke(op.into(), body.into(), object);
        let outcome = future.await;
        let answered = match &outcome {
            ROk(reply) => reply.body.len(),
            RErr(text) => text.len(),
        };
        host.exchanged(asked, answered);
        match outcome {
            ROk(reply) => bounded(&reply.body, MAX_ANSWER).map(drop).map(|()| reply),
            RErr(text) => Err(their_error(&text)),
        }
    }
}

fn bounded(text: &str, most: usize) -> Result<&str> {
    if text.len() <= most {
        return Ok(text);
    }
    let message = format!("answered with {} bytes, which is more than {most}", text.len());
    Err(Error::new(ErrorKind::LimitHit, message))
}

/// The error in an answer, or what is wrong with it.
fn their_error(text: &str) -> Error {
    bounded(text, MAX_NOTE).map_or_else(|e| e, parse_error)
}

/// A command that the backend runs.
#[derive(Clone)]
pub struct LoadedSession {
    object: SessionObject,
    info: Arc<SessionInfo>,
}

impl LoadedSession {
    /// [`Session::run`](crate::Session::run)
    pub async fn run(&self, stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> Result<Ended> {
        let future = self.object.run(stdin.into_raw_fd(), stdout.into_raw_fd(), stderr.into_raw_fd());
        match future.await {
            ROk(text) => from_json(bounded(&text, MAX_NOTE)?),
            RErr(text) => Err(their_error(&text)),
        }
    }

    /// [`Session::signal`](crate::Session::signal)
    pub fn signal(&self, signal: i32) {
        self.object.signal(signal);
    }

    /// [`Session::resize`](crate::Session::resize)
    pub fn resize(&self, rows: u16, columns: u16) {
        self.object.resize(rows, columns);
    }

    /// [`Session::info`](crate::Session::info), as it was answered
    pub fn info(&self) -> &Arc<SessionInfo> {
        &self.info
    }
}

#[derive(Clone)]
struct HostAdapter(Arc<dyn HostServices>);

impl AbiHost for HostAdapter {
    fn emit(&self, event: RString) {
        if event.len() > MAX_NOTE {
            return;
        }
        match serde_json::from_str(&event) {
            Ok(Event::Log { level, text }) => self.0.log(level, text),
            Ok(Event::Progress { text, done, total }) => self.0.progress(text, done, total),
            // An event of a newer protocol.
            Err(_) => {}
        }
    }

    fn invoke(&self, op: RStr<'_>, body: RString) -> async_ffi::FfiFuture<Outcome> {
        let (host, op) = (Arc::clone(&self.0), op.to_string());
        async move {
            let answer = serve(&*host, &op, &body).await;
            answer.map_or_else(|e| RErr(error_text(&e)), |text| ROk(text.into()))
        }
        .into_ffi()
    }
}

/// One of the host's services.
async fn serve(host: &dyn HostServices, op: &str, body: &str) -> Result<String> {
    match op {
        "run" => to_json(&host.run(from_json(body)?).await?),
        "tool.start" => to_json(&host.start(from_json(body)?).await?),
        "tool.next" => {
            let NextStep { number, within_ms } = from_json(body)?;
            to_json(&host.next(number, Duration::from_millis(within_ms)).await?)
        }
        "tool.end" => to_json(&host.end(from_json(body)?).await?),
        "sleep" => to_json(&host.sleep(Duration::from_millis(from_json(body)?)).await?),
        _ => Err(Error::unsupported(format!("this workmux does not have the service '{op}' (protocol {PROTOCOL})"))),
    }
}
