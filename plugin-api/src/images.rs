//! Capabilities: what instances start from, and placing a program in it. Two small traits, and a backend has the
//! commands `build`, `pull`, `init-dockerfile` and `install-dev`.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Context, Result};

/// Names an image the way the user's configuration does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageRequest {
    /// As [`Settings::value`](crate::Settings::value).
    pub settings: Value,
    /// `sandbox.image`, as it is; `None` = the backend's own choice for the agent.
    pub image: Option<String>,
    /// The agent's name, `default` where it is none of the known ones.
    pub agent: String,
}

/// An image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// Its name, as a person types it.
    pub name: String,
    /// It is the one that is published for the agent: the host pulls it unasked where it is missing or too old.
    pub published: bool,
}

/// Asks to pull an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PullRequest {
    /// Which.
    pub image: ImageRequest,
    /// The identity of what its name stood for when the host last saw it; a backend that would have to ask may take
    /// this for the answer.
    pub last: Option<String>,
}

/// What a pull came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pulled {
    /// The identity of what the name stands for now, where that was told.
    pub id: Option<String>,
    /// It stood for something else before, or for nothing.
    pub updated: bool,
}

/// Asks to build an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildRequest {
    /// Which.
    pub image: ImageRequest,
    /// The guest program of this very host, which goes into the image as `workmux`.
    pub program: PathBuf,
}

/// A recipe for an image of the user's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// The file's name; a single path component.
    pub file: String,
    /// Its text.
    pub text: String,
    /// What to type to build from it, in the directory of the file.
    pub build: String,
    /// What that build calls the image, for `sandbox.image`.
    pub image: String,
}

/// How a local image compares with what its registry has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Freshness {
    /// The identity of the local image; `None` = it is not there.
    pub id: Option<String>,
    /// It was built or changed on this machine, and nothing may replace it unasked.
    pub local: bool,
    /// The registry has the same; `None` = it could not be told, or was not to be asked.
    pub newest: Option<bool>,
}

/// Asks how fresh an image is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FreshnessRequest {
    /// Which.
    pub image: ImageRequest,
    /// Ask the registry too; without it only the local image is looked at.
    pub ask_registry: bool,
}

/// Capability: images.
///
/// [`pull`](Self::pull) and [`build`](Self::build) take as long as they take: they tell how far they are by
/// [`Context::progress`], which the host shows, and give up by themselves where nothing moves. Without a word for
/// 10 minutes the host gives them up. Dropped, what they started ends and nothing half-made keeps the image's name.
#[async_trait]
pub trait Images: Send + Sync {
    /// Which image it is. Asks no tool and no network.
    async fn image(&self, cx: &Context, request: ImageRequest) -> Result<Image>;

    /// Gets the newest from its registry. Repeating it is cheap where there is nothing new.
    async fn pull(&self, cx: &Context, request: PullRequest) -> Result<Pulled>;

    /// Builds it on this machine. What the name stood for before stays until the build has succeeded.
    async fn build(&self, cx: &Context, request: BuildRequest) -> Result<()>;

    /// How [`build`](Self::build) would do it, as a file that the user can change. Asks no tool and no network. An
    /// agent without a recipe is [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported), with those that have one.
    async fn recipe(&self, cx: &Context, request: ImageRequest) -> Result<Recipe>;

    /// How fresh the local image is; changes nothing. Asked beside a running sandbox, about once a day.
    async fn freshness(&self, _cx: &Context, _request: FreshnessRequest) -> Result<Freshness> {
        Ok(Freshness::default())
    }
}

/// Asks to place a guest program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstallRequest {
    /// The image that is configured.
    pub image: ImageRequest,
    /// The program.
    pub program: PathBuf,
}

/// A place that got the program, or did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// What it is, in the backend's words, such as `image 'x'`.
    pub place: String,
    /// Why not.
    pub outcome: Result<()>,
}

/// Capability: placing a guest program into the image that is configured and into instances that run.
#[async_trait]
pub trait Install: Send + Sync {
    /// Places it. In its guests the word `workmux` is this program from now on, until the image or instance is made
    /// anew. One place that fails does not stop the others; an image that is not there is no place.
    async fn install(&self, cx: &Context, request: InstallRequest) -> Result<Vec<Installed>>;
}
