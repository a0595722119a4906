//! The Lima backend: a sandbox is a set of namespaces in a virtual machine that all worktrees of a repository share.
//!
//! This file is the contract's side: which verb does what. `prepare` decides what the machine must see ([`exports`]) and
//! what the sandbox sees of it ([`layout`]), and brings the machine there ([`machine`]); `exec` is one `ssh` ([`ssh`]) that
//! has the host's guest program lay the sandbox out and become its first process. The machine outlives runs ([`instances`]).

mod check;
mod explain;
mod exports;
mod files;
mod install;
mod instances;
mod layout;
mod limactl;
mod machine;
mod name;
mod provision;
mod ready;
mod record;
mod sandbox;
mod settings;
mod ssh;
mod template;

use workmux_plugin_api::*;

use sandbox::Sandbox;

/// What a machine calls the host; its loopback is reached by it.
const HOST: &str = "host.lima.internal";

#[derive(Default)]
struct Lima;

#[async_trait]
impl Transport for Lima {
    async fn rpc_route(&self, _cx: &Context, _request: RouteRequest) -> Result<Route> {
        Ok(Route::Tcp { bind: std::net::Ipv4Addr::LOCALHOST.into(), guest_host: HOST.into() })
    }

    async fn prepare(&self, cx: &Context, request: PrepareRequest) -> Result<Instance> {
        sandbox::prepare(cx, &request).await
    }

    async fn exec(&self, cx: &Context, request: ExecRequest) -> Result<Exec> {
        let sandbox = Sandbox::from_state(&request.instance.state)?;
        let way = ssh::Way::of(&sandbox.dir);
        let command = sandbox.command(&request.command)?;
        let args = ssh::arguments(&sandbox.ssh_config, &sandbox.machine, way, request.terminal, &command);
        Ok(Exec::Plan(Plan {
            program: ssh::program(cx)?.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            controls_terminal: request.terminal,
            explains_itself: true,
            ..Plan::default()
        }))
    }

    async fn explain(&self, cx: &Context, request: ExplainRequest) -> Result<Option<Error>> {
        let sandbox = Sandbox::from_state(&request.instance.state)?;
        explain::explain(cx, &sandbox.machine, &request.instance.home, &request.stderr).await
    }

    async fn release(&self, cx: &Context, request: ReleaseRequest) -> Result<()> {
        sandbox::release(cx, &request).await
    }
}

#[async_trait]
impl Backend for Lima {
    fn features(&self) -> Features {
        // The network is the machine's: it cannot be taken from one sandbox, which is reached over it.
        Features { mounts: true, masks: true, networks: vec![Network::Allow], limits: Vec::new() }
    }

    async fn settings(&self, _cx: &Context, request: SettingsRequest) -> Result<Settings> {
        Ok(settings::answer(request.merged))
    }

    async fn check(&self, cx: &Context, request: CheckRequest) -> Result<Vec<Finding>> {
        Ok(check::findings(cx, &request).await)
    }

    fn instances(&self) -> Option<&dyn Instances> {
        Some(self)
    }

    fn install(&self) -> Option<&dyn Install> {
        Some(self)
    }
}

export_backend!(Lima, manifest = include_str!("../backend.toml"));
