//! `sandbox build`: the image made on this machine, with the guest program of this very version in it.

use color_eyre::eyre::Result;
use workmux_plugin_api::BuildRequest;

use super::{Target, freshness};
use crate::error::{Failure, failed, from_backend};
use crate::routing::BUILD;
use crate::surroundings::Surroundings;
use crate::text::line;

/// The command; the answer is its exit code.
pub(crate) fn build(flag: Option<&str>, surroundings: &Surroundings) -> Result<u8, Failure> {
    crate::task::interruptible("the build", async {
        let target = Target::find(BUILD, flag, surroundings).await?;
        // An agent without a recipe is an error before anything is said.
        target.backend.recipe(target.request.clone()).await.map_err(|e| from_backend(&e))?;
        let image = target.image().await?;
        let program = crate::launch::survey::guest_program(surroundings)?;
        let agent = line(&target.request.agent);
        crate::ui::print(&format!("Building image '{}' for agent '{agent}'...", image.name));
        if image.published {
            crate::ui::print("It takes the place of the published image of that name on this machine.");
        }
        let request = BuildRequest { image: target.request.clone(), program };
        let built = target.backend.build(request).await;
        target.progress.clear();
        built.map_err(|e| failed(&format!("could not build image '{}'", image.name), &e.error))?;
        freshness::forget(&surroundings.state, &image.name);
        crate::ui::print(&format!("✓ Built image '{}'", image.name));
        crate::ui::print(if image.published {
            "Tip: 'workmux sandbox pull' gets the published image instead, and its updates."
        } else {
            "Tip: without 'sandbox.image', 'workmux sandbox pull' gets the published image, and its updates."
        });
        Ok(0)
    })
}
