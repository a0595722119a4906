//! The container backend: a sandbox is a container of docker or podman, whose first process is the host's guest program.
//!
//! This file is the contract's side: which verb does what. `prepare` decides everything ([`sandbox`]) and asks the
//! engine nothing; `exec` turns the decision into a command line ([`arguments`]); what the engine made of it is read back
//! while the command already runs ([`read_back`]), and what it says when it fails is turned into errors ([`explain`]).

mod arguments;
mod attach;
mod check;
mod engine;
mod explain;
mod image;
mod images;
mod instances;
mod labels;
mod limits;
mod read_back;
mod release;
mod route;
mod sandbox;
mod settings;

use workmux_plugin_api::*;

use engine::Engine;
use sandbox::Sandbox;

#[derive(Default)]
struct Container;

#[async_trait]
impl Transport for Container {
    async fn rpc_route(&self, cx: &Context, request: RouteRequest) -> Result<Route> {
        let table = settings::read(&request.settings)?;
        let engine = Engine::choose(&table, |name| cx.tool(name))?;
        Ok(route::way(&table, engine)?.route)
    }

    async fn prepare(&self, cx: &Context, request: PrepareRequest) -> Result<Instance> {
        let table = settings::read(&request.settings)?;
        let engine = Engine::choose(&table, |name| cx.tool(name))?;
        let way = route::way(&table, engine)?;
        sandbox::prepare(&request.spec, &table, engine, &way, request.dry_run)
    }

    async fn exec(&self, cx: &Context, request: ExecRequest) -> Result<Exec> {
        let sandbox = Sandbox::from_state(&request.instance.state)?;
        Ok(Exec::Plan(Plan {
            program: sandbox.engine.program(cx)?,
            args: arguments::run(&sandbox, &request.instance.name, &request.command, request.terminal),
            controls_terminal: request.terminal,
            explains_itself: true,
            read_back: true,
            ..Plan::default()
        }))
    }

    async fn explain(&self, _cx: &Context, request: ExplainRequest) -> Result<Option<Error>> {
        let sandbox = Sandbox::from_state(&request.instance.state)?;
        Ok(explain::explain(&sandbox, &request.instance.name, &request.stderr))
    }

    async fn verify(&self, cx: &Context, request: VerifyRequest) -> Result<()> {
        let sandbox = Sandbox::from_state(&request.instance.state)?;
        read_back::verify(cx, &sandbox, &request.instance.name).await
    }

    async fn release(&self, cx: &Context, request: ReleaseRequest) -> Result<()> {
        // The engine removes a container that ended by itself (`--rm`).
        if request.ended {
            return Ok(());
        }
        let sandbox = Sandbox::from_state(&request.instance.state)?;
        release::remove(cx, sandbox.engine, &request.run).await
    }
}

#[async_trait]
impl Backend for Container {
    fn features(&self) -> Features {
        Features {
            mounts: true,
            masks: true,
            networks: vec![Network::Allow, Network::None],
            // An ordinary user's podman may be unable to; `prepare` knows the engine and refuses then.
            limits: vec![LimitKind::Memory, LimitKind::Cpus, LimitKind::Processes],
        }
    }

    async fn settings(&self, _cx: &Context, request: SettingsRequest) -> Result<Settings> {
        Ok(settings::answer(request.merged))
    }

    async fn check(&self, cx: &Context, request: CheckRequest) -> Result<Vec<Finding>> {
        check::findings(cx, &request).await
    }

    fn attach(&self) -> Option<&dyn Attach> {
        Some(self)
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn install(&self) -> Option<&dyn Install> {
        Some(self)
    }

    fn instances(&self) -> Option<&dyn Instances> {
        Some(self)
    }
}

#[async_trait]
impl Attach for Container {
    async fn attach(&self, cx: &Context, request: AttachRequest) -> Result<Exec> {
        attach::plan(cx, &request).map(Exec::Plan)
    }
}

export_backend!(Container, manifest = include_str!("../backend.toml"));
