//! The Lima backend: a sandbox is a set of namespaces in a virtual machine that all worktrees of a repository share.
//!
//! This file is the contract's side: which verb does what. `prepare` decides what the machine must see ([`exports`]) and
//! what the sandbox sees of it ([`layout`]), and brings the machine there ([`machine`]); `exec` is one command over
//! the shared ssh connection ([`session`]; [`ssh`] for a terminal) that has the host's guest program lay the sandbox out and
//! become its first process. The machine outlives runs ([`instances`]).

mod check;
mod explain;
mod exports;
mod files;
mod install;
mod instances;
mod layout;
mod limactl;
mod machine;
mod mux;
mod name;
mod provision;
mod ready;
mod record;
mod sandbox;
mod session;
mod settings;
mod ssh;
mod template;

use workmux_plugin_api::*;

use mux::Mux;
use sandbox::Sandbox;
use session::Shared;
use ssh::Way;

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
        let command = sandbox.command(&request.command)?;
        let program = ssh::program(cx)?;
        let plan = |way| {
            let args = ssh::arguments(&sandbox.ssh_config, &sandbox.machine, way, request.terminal, &command);
            Plan {
                program: program.to_owned(),
                args: args.into_iter().map(Into::into).collect(),
                controls_terminal: request.terminal,
                explains_itself: true,
                ..Plan::default()
            }
        };
        Ok(match Mux::greet(&ssh::socket(&sandbox.dir)) {
            Ok(mux) if !request.terminal => {
                let (by_hand, alone) = (plan(Way::Shared), plan(Way::Own));
                Exec::Session(Box::new(Shared::new(mux, command, by_hand, alone)))
            }
            // A terminal has a mode and a size, which `ssh` takes along.
            Ok(_) => Exec::Plan(plan(Way::Shared)),
            Err(_) => Exec::Plan(plan(Way::Own)),
        })
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
