//! The smallest backend: runs the command as a plain process in the worktree. It isolates nothing and says so
//! (`isolation = "none"` in `backend.toml`), so the host uses it only where the user asks for it by name.
//!
//! Copy this folder to begin a backend of your own.

use workmux_plugin_api::*;

#[derive(Default)]
struct Minimal;

#[async_trait]
impl Transport for Minimal {
    async fn prepare(&self, _cx: &Context, request: PrepareRequest) -> Result<Instance> {
        Ok(Instance {
            name: format!("minimal-{}", request.spec.slug),
            home: request.spec.home,
            env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            ..Instance::default()
        })
    }

    async fn exec(&self, _cx: &Context, request: ExecRequest) -> Result<Exec> {
        let mut words = request.command.argv.into_iter();
        let program = words.next().ok_or_else(|| Error::internal("no command"))?;
        Ok(Exec::Plan(Plan {
            program: program.as_os_str().into(),
            args: words.collect(),
            env: request.command.env,
            cwd: request.command.cwd,
            ..Plan::default()
        }))
    }
}

impl Backend for Minimal {
    fn features(&self) -> Features {
        Features { networks: vec![Network::Allow], ..Features::default() }
    }
}

export_backend!(Minimal, manifest = include_str!("../backend.toml"));
