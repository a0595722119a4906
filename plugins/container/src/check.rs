//! The verb `check`: every thing that can be wrong with the engine, really tried, each with its fix. The host also asks
//! it when a container did not start in time.

use workmux_plugin_api::{CheckRequest, Context, Error, ErrorKind, Finding, Image, Result, Tool};

use crate::engine::Engine;
use crate::explain::explain;
use crate::image;
use crate::limits::Delegated;
use crate::sandbox::Sandbox;
use crate::settings;

/// A question to an engine that works takes milliseconds; one that hangs must not hold the others up.
const DEADLINE_MS: u64 = 4000;
/// The oldest versions with `run --pull never` and the long form of mounts as it is used here.
const OLDEST_DOCKER: (u32, u32) = (20, 10);
const OLDEST_PODMAN: (u32, u32) = (4, 0);

/// Looks at everything.
pub(crate) async fn findings(cx: &Context, request: &CheckRequest) -> Result<Vec<Finding>> {
    let table = settings::read(&request.settings)?;
    let engine = match Engine::choose(&table, |name| cx.tool(name)) {
        Ok(engine) => engine,
        Err(e) => return Ok(vec![Finding { subject: "engine".into(), state: Err(e) }]),
    };
    let version = version(cx, engine).await;
    let works = version.is_ok();
    let mut all = vec![(engine.name().to_owned(), version)];
    if works {
        if let Ok(image) = image::choose(request.image.as_deref(), &request.agent, &table) {
            all.push((format!("image '{}'", image.name), present(cx, engine, &image).await));
        }
        all.push(("limits".into(), Ok(Delegated::of(engine).shown())));
    }
    Ok(all.into_iter().map(|(subject, state)| Finding { subject, state }).collect())
}

/// The version of what makes the containers: docker's daemon, podman itself.
async fn version(cx: &Context, engine: Engine) -> Result<String> {
    let (format, oldest) = match engine {
        Engine::Docker => ("{{.Server.Version}}", OLDEST_DOCKER),
        Engine::Podman => ("{{.Client.Version}}", OLDEST_PODMAN),
    };
    let answer = ask(cx, engine, "", &["version", "--format", format]).await?;
    let version = answer.trim().to_owned();
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= oldest {
        return Ok(if engine.is_rootless() { format!("{version}, without root") } else { version });
    }
    let problem = format!("'{}' is '{version}'; this backend needs {}.{} or newer", engine.name(), oldest.0, oldest.1);
    Err(Error::new(ErrorKind::TooOld, problem).hint("install a newer version of it"))
}

/// A published image that is not there yet is fetched when it is needed.
async fn present(cx: &Context, engine: Engine, image: &Image) -> Result<String> {
    match ask(cx, engine, &image.name, &["image", "inspect", "--format", "{{.Id}}", &image.name]).await {
        Ok(_id) => Ok("there".into()),
        Err(e) if e.kind == ErrorKind::NotFound && image.published => {
            Ok("not here yet: the first start pulls it, or type: workmux sandbox pull".into())
        }
        Err(e) => Err(e),
    }
}

async fn ask(cx: &Context, engine: Engine, image: &str, words: &[&str]) -> Result<String> {
    let tool = Tool {
        program: engine.name().into(),
        args: words.iter().map(|word| (*word).into()).collect(),
        deadline_ms: DEADLINE_MS,
        ..Tool::default()
    };
    let output = cx.run(tool).await.map_err(|e| match e.kind {
        ErrorKind::Timeout => Error::new(ErrorKind::Timeout, format!("'{}' does not answer", engine.name()))
            .cause(e.message)
            .hint(match engine {
                Engine::Docker => "restart its daemon: sudo systemctl restart docker",
                Engine::Podman => "look for a hanging one: ps -C podman",
            }),
        _ => e,
    })?;
    if output.code == Some(0) {
        return Ok(output.stdout);
    }
    let sandbox = Sandbox { engine, image: image.to_owned(), ..Sandbox::default() };
    Err(explain(&sandbox, "", &output.stderr).unwrap_or_else(|| {
        Error::new(ErrorKind::ToolFailed, format!("'{}' failed and said nothing", engine.name()))
            .hint(format!("try it by hand: {} version", engine.name()))
    }))
}
