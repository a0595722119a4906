//! `sandbox pull`, `build` and `init-dockerfile`: what sandboxes start from, in the backend that has images; and what a
//! run does where its image is missing or old.
//!
//! This file finds the backend and the image; one file per command does the rest, and `freshness` keeps what is known
//! of an image's age. What an image is, where it comes from and how it is built is the backend's to know.

mod build;
pub(crate) mod freshness;
mod pull;
mod recipe;

use std::sync::Arc;

use color_eyre::eyre::Result;
use workmux_plugin_api::{Image, ImageRequest};

use crate::error::from_backend;
use crate::launch::survey::Survey;
use crate::plugins::Backend;
use crate::progress::{Out, Progress};
use crate::routing::{self, Operation};
use crate::surroundings::Surroundings;

pub(crate) use build::build;
use pull::pull_stale;
pub(crate) use pull::{pull, pull_missing};
pub(crate) use recipe::recipe;

/// The image that is configured here, and the backend that has it.
struct Target {
    backend: Backend,
    request: ImageRequest,
    progress: Arc<Progress>,
}

impl Target {
    /// Finds them. Asks the user about what the project wants, as a run would. As root this may start the program again
    /// as the owner of the worktree.
    async fn find(operation: Operation, flag: Option<&str>, surroundings: &Surroundings) -> Result<Self> {
        let registry = crate::launch::registry()?;
        let survey = Survey::asking(surroundings)?;
        let manifest = routing::serving(operation, &registry, survey.valid_config()?, flag)?;
        survey.become_owner(&manifest)?;
        let progress = Arc::new(Progress::new(Out::Result));
        let backend = routing::load(&registry, &manifest.name)?.with_events(Arc::clone(&progress) as _);
        let request = survey.image_request(&backend).await?;
        Ok(Self { backend, request, progress })
    }

    async fn image(&self) -> Result<Image> {
        self.backend.image(self.request.clone()).await.map_err(|e| from_backend(&e))
    }
}
