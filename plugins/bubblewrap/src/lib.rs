//! The bubblewrap backend: a sandbox is a set of Linux namespaces around one process, made by `bwrap`.
//!
//! This file is the contract's side: which verb does what. `prepare` looks at the machine and decides everything
//! ([`sandbox`]); `exec` turns that decision into a command line without looking again ([`command_line`]). Nothing is
//! started by either, and a sandbox that is gone leaves nothing behind, so there is no `release`.

#![cfg(target_os = "linux")]

mod agent;
mod attach;
mod check;
mod command_line;
mod copies;
mod etc;
mod machine;
mod network;
mod place;
mod policy;
#[cfg(test)]
mod real;
mod sandbox;
mod settings;
mod step;

use workmux_plugin_api::*;

use sandbox::Sandbox;

#[derive(Default)]
struct Bubblewrap;

#[async_trait]
impl Transport for Bubblewrap {
    async fn prepare(&self, cx: &Context, request: PrepareRequest) -> Result<Instance> {
        cx.require_tool("bwrap", check::INSTALL_BWRAP)?;
        let tools = Tools::of(cx);
        let settings = settings::read(&request.settings)?;
        let machine = machine::Machine::default();
        sandbox::prepare(&request.spec, &settings, &tools, &machine, cx.state_dir(), request.dry_run)
    }

    async fn exec(&self, cx: &Context, request: ExecRequest) -> Result<Exec> {
        let bwrap = cx.require_tool("bwrap", check::INSTALL_BWRAP)?.to_owned();
        let tools = Tools::of(cx);
        let sandbox = Sandbox::from_state(&request.instance.state)?;
        let companions = network::companion(&sandbox.network, &tools)?;
        Ok(Exec::Plan(Plan {
            program: bwrap,
            args: command_line::arguments(&sandbox, &request.command),
            wait_for_route: !companions.is_empty(),
            companions,
            ..Plan::default()
        }))
    }
}

#[async_trait]
impl Backend for Bubblewrap {
    fn features(&self) -> Features {
        policy::features(nix::unistd::geteuid().as_raw())
    }

    async fn settings(&self, _cx: &Context, request: SettingsRequest) -> Result<Settings> {
        Ok(settings::answer(request.merged))
    }

    async fn check(&self, cx: &Context, request: CheckRequest) -> Result<Vec<Finding>> {
        Ok(check::findings(cx, &settings::read(&request.settings)?).await)
    }

    fn attach(&self) -> Option<&dyn Attach> {
        Some(self)
    }
}

#[async_trait]
impl Attach for Bubblewrap {
    async fn attach(&self, cx: &Context, request: AttachRequest) -> Result<Exec> {
        attach::plan(&request, &Tools::of(cx)).map(Exec::Plan)
    }
}

/// Where the optional tools are, as far as they are installed.
#[derive(Debug, Clone, Default)]
struct Tools {
    pasta: Option<std::path::PathBuf>,
    unshare: Option<std::path::PathBuf>,
    prlimit: Option<std::path::PathBuf>,
}

impl Tools {
    fn of(cx: &Context) -> Self {
        let find = |name| cx.tool(name).map(Into::into);
        Self { pasta: find("pasta"), unshare: find("unshare"), prlimit: find("prlimit") }
    }
}

export_backend!(Bubblewrap, manifest = include_str!("../backend.toml"));
