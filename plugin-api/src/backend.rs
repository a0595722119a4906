//! The traits a backend implements.
//!
//! Common to every verb, unless it says otherwise:
//! - **Order.** `settings` comes first; then `rpc_route`, `prepare`, `exec`, `explain` or `verify`, `release` for one run. Calls for different
//!   runs overlap freely, so methods take `&self`.
//! - **Deadline.** The host gives each call a deadline ([`Context::deadline`]) and drops the future when it passes:
//!   30 s for questions, 600 s for `prepare` while it reports progress.
//! - **Cancellation is drop.** Whatever a call has begun must be undone or harmless when its future is dropped.
//! - **Crash.** The host may be killed between any two steps. What a backend made must end by itself (the first
//!   process does when its socket closes) or be found again from the recorded [`Instance`] by a later `release`.
//! - **Idempotence.** Every verb may be repeated with the same request.
//! - **Panics** become errors of that call; the host goes on.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    AttachRequest, CheckRequest, Context, Error, Exec, ExecRequest, ExplainRequest, Features, Finding, Images, Install,
    Instance, Instances, PrepareRequest, ReleaseRequest, Result, Route, RouteRequest, Settings, SettingsRequest,
    VerifyRequest,
};

/// What runs commands somewhere else: all that the supervisor knows of a backend.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// How guests reach the supervisor. Asked before `prepare`, because the answer decides what is mounted.
    async fn rpc_route(&self, _cx: &Context, _request: RouteRequest) -> Result<Route> {
        Ok(Route::Sockets)
    }

    /// Makes everything ready so that `exec` can start at once: tools checked, image there, machine running. Refuses
    /// what the policy demands and this backend cannot enforce. Must not start the guest's command.
    async fn prepare(&self, cx: &Context, request: PrepareRequest) -> Result<Instance>;

    /// Answers how to run a command in the instance. A plan changes nothing by itself.
    async fn exec(&self, cx: &Context, request: ExecRequest) -> Result<Exec>;

    /// The plan's program ended before the guest's first process reported: turns what it left into an error worth
    /// reading. `None` = the program's own words say it best. Also asked where a sandbox that had begun was ended from
    /// outside: then there is nothing that it left. Changes nothing.
    async fn explain(&self, _cx: &Context, _request: ExplainRequest) -> Result<Option<Error>> {
        Ok(None)
    }

    /// Reads a running instance back and compares it with what `prepare` decided. Asked for by
    /// [`Plan::read_back`](crate::Plan::read_back), while the command already runs. An error ends the run at once.
    async fn verify(&self, _cx: &Context, _request: VerifyRequest) -> Result<()> {
        Ok(())
    }

    /// The run is over: removes what `prepare` and `exec` left. Succeeds when there is nothing to remove, and never
    /// touches what another run made. A worktree's persistent instance (a virtual machine) stays.
    async fn release(&self, _cx: &Context, _request: ReleaseRequest) -> Result<()> {
        Ok(())
    }
}

/// A backend: a transport, what it can enforce, its settings and its optional capabilities.
#[async_trait]
pub trait Backend: Transport {
    /// What it can enforce, on this machine, for this user. Quick, without running anything.
    fn features(&self) -> Features;

    /// Reads the backend's own table. The default takes every table as it is.
    async fn settings(&self, _cx: &Context, request: SettingsRequest) -> Result<Settings> {
        Ok(Settings { value: request.merged, ..Settings::default() })
    }

    /// Looks at the backend's own tools and this machine; changes nothing. Never fails as a whole: what is wrong is a
    /// finding.
    async fn check(&self, _cx: &Context, _request: CheckRequest) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// Further commands in an instance that runs (`shell --exec`).
    fn attach(&self) -> Option<&dyn Attach> {
        None
    }

    /// Pulling and building what instances start from.
    fn images(&self) -> Option<&dyn Images> {
        None
    }

    /// Listing, stopping and deleting instances that outlive a run.
    fn instances(&self) -> Option<&dyn Instances> {
        None
    }

    /// Placing a guest program into images and running instances.
    fn install(&self) -> Option<&dyn Install> {
        None
    }
}

/// Capability: a further command in an instance that runs.
#[async_trait]
pub trait Attach: Send + Sync {
    /// Answers how to run the command. [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) where the instance is gone.
    async fn attach(&self, cx: &Context, request: AttachRequest) -> Result<Exec>;
}

/// A capability by name, as it stands in manifests and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Capability {
    /// [`Attach`]
    Attach,
    /// [`Images`]
    Images,
    /// [`Instances`]
    Instances,
    /// [`Install`]
    Install,
    /// One of a newer protocol; ignored.
    #[serde(other)]
    Unknown,
}

impl Capability {
    /// The capabilities a backend really has: what its accessors answer.
    pub fn of(backend: &dyn Backend) -> Vec<Self> {
        let mut all = Vec::new();
        all.extend(backend.attach().map(|_| Self::Attach));
        all.extend(backend.images().map(|_| Self::Images));
        all.extend(backend.instances().map(|_| Self::Instances));
        all.extend(backend.install().map(|_| Self::Install));
        all
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attach => "attach",
            Self::Images => "images",
            Self::Instances => "instances",
            Self::Install => "install",
            Self::Unknown => "unknown",
        })
    }
}
