//! The capabilities *images* and *install*: which verb is done where, and what they have in common.

mod build;
mod failures;
mod freshness;
mod install;
mod layers;
mod pull;
mod recipe;
mod scratch;

use workmux_plugin_api::*;

use crate::Container;
use crate::engine::Engine;
use crate::image;
use crate::settings::{self, Table};

/// An image of an engine.
struct Wanted {
    engine: Engine,
    table: Table,
    image: Image,
}

impl Wanted {
    fn read(cx: &Context, request: &ImageRequest) -> Result<Self> {
        let table = settings::read(&request.settings)?;
        let engine = Engine::choose(&table, |name| cx.tool(name))?;
        let image = image::choose(request.image.as_deref(), &request.agent, &table)?;
        Ok(Self { engine, table, image })
    }
}

#[async_trait]
impl Images for Container {
    async fn image(&self, _cx: &Context, request: ImageRequest) -> Result<Image> {
        image::choose(request.image.as_deref(), &request.agent, &settings::read(&request.settings)?)
    }

    async fn pull(&self, cx: &Context, request: PullRequest) -> Result<Pulled> {
        pull::pull(cx, &Wanted::read(cx, &request.image)?, request.last).await
    }

    async fn build(&self, cx: &Context, request: BuildRequest) -> Result<()> {
        let recipe = recipe::of(&request.image.agent)?;
        build::build(cx, &Wanted::read(cx, &request.image)?, recipe, &request.program).await
    }

    async fn recipe(&self, cx: &Context, request: ImageRequest) -> Result<Recipe> {
        let recipe = recipe::of(&request.agent)?;
        let table = settings::read(&request.settings)?;
        // The text is the same for all engines; who has none yet can have it all the same.
        let engine = Engine::choose(&table, |name| cx.tool(name)).unwrap_or_default();
        Ok(recipe::whole(recipe, engine))
    }

    async fn freshness(&self, cx: &Context, request: FreshnessRequest) -> Result<Freshness> {
        freshness::of(cx, &Wanted::read(cx, &request.image)?, request.ask_registry).await
    }
}

#[async_trait]
impl Install for Container {
    async fn install(&self, cx: &Context, request: InstallRequest) -> Result<Vec<Installed>> {
        install::install(cx, &Wanted::read(cx, &request.image)?, &request.program).await
    }
}

/// A tool call of an engine.
fn tool(engine: Engine, words: &[&str]) -> Tool {
    Tool { program: engine.name().into(), args: words.iter().map(|word| (*word).into()).collect(), ..Tool::default() }
}
