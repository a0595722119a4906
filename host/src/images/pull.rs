//! `sandbox pull`, and the pulls that a run makes by itself.

use std::sync::Arc;

use color_eyre::eyre::Result;
use workmux_plugin_api::{ImageRequest, PullRequest};

use super::{Target, freshness};
use crate::error::{Failure, failed};
use crate::plugins::{Backend, CallError};
use crate::progress::{Out, Progress};
use crate::routing::PULL;
use crate::surroundings::Surroundings;
use crate::text::line;

/// The command; the answer is its exit code.
pub(crate) fn pull(flag: Option<&str>, surroundings: &Surroundings) -> Result<u8, Failure> {
    crate::task::interruptible("the pull", async {
        let target = Target::find(PULL, flag, surroundings).await?;
        let name = target.image().await?.name;
        crate::ui::print(&format!("Pulling image '{name}'..."));
        let request = PullRequest { image: target.request, last: freshness::last(&surroundings.state, &name) };
        let pulled = target.backend.pull(request).await;
        target.progress.clear();
        let pulled = pulled.map_err(|e| failed(&format!("could not pull image '{name}'"), &e.error))?;
        if pulled.updated {
            crate::ui::print(&match &pulled.id {
                Some(id) => format!("Updated to {}.", short(id)),
                None => "Updated.".to_owned(),
            });
        }
        crate::ui::print(&format!("Image '{name}' is up to date."));
        freshness::pulled(&surroundings.state, &name, pulled.id);
        Ok(0)
    })
}

/// A run found nothing to start from: gets the published image, and says so.
///
/// # Errors
/// As [`pull`].
pub(crate) async fn pull_missing(
    backend: &Backend,
    request: ImageRequest,
    name: &str,
    surroundings: &Surroundings,
) -> Result<()> {
    crate::ui::note(&format!("the image '{}' is not here yet: pulling it ...", line(name)));
    by_itself(backend, request, name, surroundings)
        .await
        .map_err(|e| failed(&format!("could not pull image '{}'", line(name)), &e.error))
}

/// A run knows of a newer image: gets it. A failure costs a warning, since there is one to work with.
pub(crate) async fn pull_stale(backend: &Backend, request: ImageRequest, name: &str, surroundings: &Surroundings) {
    crate::ui::note(&format!("there is a newer image '{}': pulling it ...", line(name)));
    if let Err(e) = by_itself(backend, request, name, surroundings).await {
        crate::ui::warning(&format!(
            "it could not be pulled, so the one that is here is used: {}",
            line(&e.to_string())
        ));
    }
}

async fn by_itself(
    backend: &Backend,
    request: ImageRequest,
    name: &str,
    surroundings: &Surroundings,
) -> Result<(), CallError> {
    let progress = Arc::new(Progress::new(Out::Note));
    // What is not here, or was replaced, has no last.
    let request = PullRequest { image: request, last: None };
    let pulled = backend.with_events(Arc::clone(&progress) as _).pull(request).await;
    progress.clear();
    freshness::pulled(&surroundings.state, name, pulled?.id);
    Ok(())
}

/// The part of an identity by which people tell images apart.
fn short(id: &str) -> &str {
    let digits = id.rsplit(':').next().unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}
