//! A backend that is wrong on purpose. `WORKMUX_HOSTILE` names one sin and the place where it is committed, as
//! `sin@place`; everything else is done right, so that a test sees what one sin costs.
//!
//! [`deed`] holds the sins any code can commit, this file the wrong answers, [`raw`] what only a library can do that
//! does not use the author API.

mod deed;
mod raw;

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use deed::{commit, commit_async, sin};
use workmux_plugin_api::*;

const MANIFEST: &str = include_str!("../backend.toml");

#[expect(unsafe_code, reason = "what export_backend! writes, with a choice of two backends")]
mod exports {
    use workmux_plugin_api::__private::{EmbeddedManifest, embed, header, probe};
    use workmux_plugin_api::abi::{Header, Probe, RootResult};

    use super::{Hostile, MANIFEST, raw};

    #[used]
    #[unsafe(no_mangle)]
    static WORKMUX_BACKEND_MANIFEST: EmbeddedManifest<{ MANIFEST.len() }> = embed(MANIFEST);

    #[used]
    #[unsafe(no_mangle)]
    static WORKMUX_BACKEND_PROBE: Probe = probe();

    extern "C" fn root() -> RootResult {
        match raw::wanted() {
            true => raw::root(),
            false => workmux_plugin_api::__private::create::<Hostile>(),
        }
    }

    #[used]
    #[unsafe(no_mangle)]
    static WORKMUX_BACKEND_V0: Header = header(root);
}

pub(crate) struct Hostile;

impl Default for Hostile {
    fn default() -> Self {
        let _panics_when_dropped = commit("create");
        Self
    }
}

#[async_trait]
impl Backend for Hostile {
    async fn settings(&self, cx: &Context, request: SettingsRequest) -> Result<Settings> {
        commit_async(cx, "settings").await;
        let mut settings = Settings { value: request.merged, ..Settings::default() };
        match () {
            () if sin("mask-up") => settings.demands.masks = vec!["../../home".into()],
            () if sin("mask-absolute") => settings.demands.masks = vec!["/etc/passwd".into()],
            () if sin("mask-empty") => settings.demands.masks = vec![String::new()],
            () if sin("masks") => settings.demands.masks = vec!["x".into(); 100_000],
            () if sin("refusal") => {
                settings.refusals = vec![Refusal { key: "a\x1b[1m".into(), reason: "b\nc".into() }];
            }
            () => {}
        }
        Ok(settings)
    }

    async fn check(&self, cx: &Context, _request: CheckRequest) -> Result<Vec<Finding>> {
        commit_async(cx, "check").await;
        Ok(vec![Finding { subject: "conscience\x1b[2J".into(), state: Ok("clear\r\n".into()) }])
    }

    fn features(&self) -> Features {
        let _panics_when_dropped = commit("features");
        Features {
            mounts: !sin("no-mounts"),
            masks: true,
            networks: if sin("no-network") { vec![] } else { vec![Network::Allow, Network::None] },
            limits: vec![],
        }
    }

    fn attach(&self) -> Option<&dyn Attach> {
        let _panics_when_dropped = commit("accessor");
        (!sin("no-attach")).then_some(self)
    }

    fn images(&self) -> Option<&dyn Images> {
        (!sin("no-images")).then_some(self)
    }

    fn install(&self) -> Option<&dyn Install> {
        Some(self)
    }

    fn instances(&self) -> Option<&dyn Instances> {
        Some(self)
    }
}

#[async_trait]
impl Instances for Hostile {
    async fn list(&self, cx: &Context, _request: InstancesRequest) -> Result<Vec<InstanceInfo>> {
        commit_async(cx, "list").await;
        let one = |name: &str, unrecorded| InstanceInfo {
            name: name.into(),
            status: "Stopped".into(),
            running: sin("strangers-running"),
            unrecorded,
            ..InstanceInfo::default()
        };
        Ok(match () {
            () if sin("stranger") => vec![one("known", false), one("stranger", true)],
            () if sin("strangers") || sin("strangers-running") => vec![one("one", true), one("two", true)],
            () => Vec::new(),
        })
    }

    async fn stop(&self, cx: &Context, _request: InstanceRequest) -> Result<()> {
        commit_async(cx, "stop").await;
        Ok(())
    }

    async fn delete(&self, cx: &Context, request: InstanceRequest) -> Result<()> {
        commit_async(cx, "delete").await;
        match request.unrecorded == (request.name != "known") {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::NotFound, "it came in the place of another")),
        }
    }
}

#[async_trait]
impl Images for Hostile {
    async fn image(&self, cx: &Context, request: ImageRequest) -> Result<Image> {
        commit_async(cx, "image").await;
        let name = match () {
            () if sin("image-empty") => String::new(),
            () if sin("image-up") => "../../x".into(),
            () if sin("image-lines") => "a\nb".into(),
            () if sin("image-long") => "a".repeat(5000),
            () => request.image.unwrap_or_else(|| "hostile".into()),
        };
        Ok(Image { name, published: sin("published") })
    }

    async fn pull(&self, cx: &Context, _request: PullRequest) -> Result<Pulled> {
        commit_async(cx, "pull").await;
        Ok(Pulled { id: Some("new\x1b[2J\nline".into()), updated: true })
    }

    async fn build(&self, cx: &Context, _request: BuildRequest) -> Result<()> {
        commit_async(cx, "build").await;
        Ok(())
    }

    async fn freshness(&self, cx: &Context, _request: FreshnessRequest) -> Result<Freshness> {
        commit_async(cx, "freshness").await;
        Ok(Freshness { id: Some("a\x1b[2Jb".into()), local: false, newest: Some(false) })
    }

    async fn recipe(&self, cx: &Context, _request: ImageRequest) -> Result<Recipe> {
        commit_async(cx, "recipe").await;
        let file = match () {
            () if sin("recipe-up") => "../outside".to_owned(),
            () if sin("recipe-absolute") => "/tmp/outside".to_owned(),
            () if sin("recipe-dots") => "..".to_owned(),
            () if sin("recipe-empty") => String::new(),
            () if sin("recipe-control") => "a\x1bb".to_owned(),
            () => "Dockerfile.sandbox".to_owned(),
        };
        let text = if sin("recipe-huge") { "x".repeat(1 << 20) } else { "FROM scratch\n".into() };
        Ok(Recipe { file, text, build: "make\x1b[2J\nit".into(), image: "mine".into() })
    }
}

#[async_trait]
impl Install for Hostile {
    async fn install(&self, cx: &Context, _request: InstallRequest) -> Result<Vec<Installed>> {
        commit_async(cx, "install").await;
        let one = |outcome| Installed { place: "a\x1b[2Jplace\n".into(), outcome };
        Ok(match () {
            () if sin("places") => vec![one(Ok(())); 5_000],
            () if sin("nowhere") => Vec::new(),
            () => vec![one(Ok(())), one(Err(Error::internal("no\x1b[2J")))],
        })
    }
}

#[async_trait]
impl Attach for Hostile {
    async fn attach(&self, cx: &Context, _request: AttachRequest) -> Result<Exec> {
        commit_async(cx, "attach").await;
        Ok(Exec::Plan(plan()))
    }
}

#[async_trait]
impl Transport for Hostile {
    async fn rpc_route(&self, cx: &Context, _request: RouteRequest) -> Result<Route> {
        commit_async(cx, "rpc_route").await;
        let tcp = |bind: &str, guest_host: &str| {
            let bind = bind.parse().unwrap_or(IpAddr::from([127, 0, 0, 1]));
            Ok(Route::Tcp { bind, guest_host: guest_host.into() })
        };
        match () {
            () if sin("wide") => tcp("0.0.0.0", "host.internal"),
            () if sin("wide-six") => tcp("::", "host.internal"),
            () if sin("wide-mapped") => tcp("::ffff:0.0.0.0", "host.internal"),
            () if sin("multicast") => tcp("224.0.0.1", "host.internal"),
            () if sin("host-option") => tcp("127.0.0.1", "-oProxyCommand=x"),
            () if sin("host-lines") => tcp("127.0.0.1", "a\nb"),
            () => Ok(Route::Sockets),
        }
    }

    async fn prepare(&self, cx: &Context, request: PrepareRequest) -> Result<Instance> {
        commit_async(cx, "prepare").await;
        let mut instance = Instance { name: "hostile-1".into(), home: "/root".into(), ..Instance::default() };
        match () {
            () if sin("name-empty") => instance.name.clear(),
            () if sin("name-escape") => instance.name = "a\x1b[2Jb".into(),
            () if sin("name-option") => instance.name = "--rm".into(),
            () if sin("name-long") => instance.name = "a".repeat(1000),
            () if sin("instance-image") => {
                instance.image = Some(Image { name: "../x y".into(), published: true });
            }
            () if sin("home-relative") => instance.home = "../../etc".into(),
            () if sin("home-up") => instance.home = "/root/../etc".into(),
            () if sin("variable") => instance.env = vec![("A=B".into(), "x".into())],
            () if sin("state-huge") => instance.state = "x".repeat(1 << 20).into(),
            () if sin("notes") => instance.notes = vec!["\x1b]0;title\x07\nline ".repeat(50); 1000],
            () if sin("error-escape") => {
                return Err(Error::refused("no\x1b[31m\n\u{202e}").cause("x".repeat(100_000)).hint("run\r\nthis"));
            }
            () if sin("consent-always") || sin("consent") && !request.consented => {
                let error = Error::refused("the machine could write\x1b[2J git's files").cause("root\nthere can");
                return Err(error.hint("agree in your own file").remedy(Remedy::Consent));
            }
            () if sin("consent") => instance.notes = vec!["this was agreed to".into()],
            () if sin("environment") => {
                let tool = Tool { program: "/usr/bin/env".into(), ..Tool::default() };
                instance.notes = vec![cx.run(tool).await?.stdout.replace('\n', " ")];
            }
            () if sin("request") => {
                let text = format!("{request:?} {:?} {:?}", cx.state_dir(), cx.tool("sh"));
                instance.notes = vec![text];
            }
            () => {}
        }
        Ok(instance)
    }

    async fn exec(&self, cx: &Context, _request: ExecRequest) -> Result<Exec> {
        commit_async(cx, "exec").await;
        if deed::place().is_some_and(|place| place.starts_with("session")) {
            return Ok(Exec::Session(Box::new(Command)));
        }
        let mut plan = plan();
        let nul = |text: &str| PathBuf::from(OsString::from_vec(text.replace('0', "\0").into_bytes()));
        match () {
            () if sin("program-empty") => plan.program = PathBuf::new(),
            () if sin("program-relative") => plan.program = "sh".into(),
            () if sin("program-up") => plan.program = "/usr/../bin/sh".into(),
            () if sin("program-nul") => plan.program = nul("/bin/s0h"),
            () if sin("argument-nul") => plan.args = vec![Word::from(nul("a0b"))],
            () if sin("cwd-relative") => plan.cwd = "somewhere".into(),
            () if sin("cwd-nul") => plan.cwd = nul("/a0b"),
            () if sin("plan-variable") => plan.env = vec![(String::new(), "x".into())],
            () if sin("companion") => {
                plan.companions = vec![Companion { program: "sh".into(), ..Companion::default() }]
            }
            () if sin("companions") => {
                plan.companions = vec![Companion { program: "/bin/sh".into(), ..Companion::default() }; 1000];
            }
            () if sin("cleanup") => plan.cleanup = vec![ToolCall { program: "./sh".into(), args: vec![] }],
            () if sin("arguments") => plan.args = vec!["x".into(); 100_000],
            () => {}
        }
        Ok(Exec::Plan(plan))
    }

    async fn explain(&self, cx: &Context, _request: ExplainRequest) -> Result<Option<Error>> {
        commit_async(cx, "explain").await;
        Ok(Some(Error::internal("a\x1b[2J\nreason").cause("b\rc")))
    }

    async fn verify(&self, cx: &Context, _request: VerifyRequest) -> Result<()> {
        commit_async(cx, "verify").await;
        Ok(())
    }

    async fn release(&self, cx: &Context, _request: ReleaseRequest) -> Result<()> {
        commit_async(cx, "release").await;
        commit_async(cx, "dropped").await;
        Ok(())
    }
}

fn plan() -> Plan {
    Plan { program: "/bin/true".into(), ..Plan::default() }
}

/// A session that ends at once.
struct Command;

#[async_trait]
impl Session for Command {
    async fn run(&self, _stdio: Stdio) -> Result<Ended> {
        let _panics_when_dropped = commit("session-run");
        let ended = |code, signal| Ok(Ended { origin: Origin::Guest, code, signal });
        match () {
            () if sin("end-nothing") => ended(None, None),
            () if sin("end-both") => ended(Some(0), Some(9)),
            () if sin("end-zero") => ended(None, Some(0)),
            () if sin("end-signal") => ended(None, Some(999)),
            () if sin("end-negative") => ended(None, Some(-9)),
            () if sin("forever") => std::future::pending().await,
            () => ended(Some(7), None),
        }
    }

    fn signal(&self, _signal: i32) {
        let _panics_when_dropped = commit("session-signal");
    }

    fn resize(&self, _rows: u16, _columns: u16) {
        let _panics_when_dropped = commit("session-resize");
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        let _panics_when_dropped = commit("session-drop");
    }
}
