//! A backend's own configuration table, and what it says of its own health.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Limits, Mask, Network};

/// The table `sandbox.<backend>`, in two parts, after the host has applied the schema of the manifest: what the user
/// wrote, and what the project wrote of the keys it may set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SettingsRequest {
    /// From the user's own file. An object, possibly empty.
    pub user: Value,
    /// From the project's file; only keys it may set, confirmed where they ask. An object, possibly empty.
    pub project: Value,
    /// Both, the project's over the user's in the direction its rule allows. What most backends want.
    pub merged: Value,
}

/// What a backend made of its table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Handed back with every later request; the host does not look inside.
    pub value: Value,
    /// What the table demands in words the host knows. The host treats these as its own policy.
    pub demands: Demands,
    /// Keys that cannot be used as they are, each with the reason. Any refusal stops the start.
    pub refusals: Vec<Refusal>,
}

/// Policy that a backend's table asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Demands {
    /// Limits, all of them `required`.
    pub limits: Limits,
    /// Files and directories to hide, relative to the worktree's root.
    pub masks: Vec<String>,
    /// A tighter network than the host's own configuration says.
    pub network: Option<Network>,
    /// Reserved: masks by guest path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guest_masks: Vec<Mask>,
}

/// A key of the table that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The key below the table, with dots: `network` or `mounts.0.path`.
    pub key: String,
    /// Why, as a fragment.
    pub reason: String,
}

/// Asks a backend about its own health.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckRequest {
    /// As [`Settings::value`].
    pub settings: Value,
    /// What an instance would start from, as the host's configuration says it; the meaning is the backend's.
    pub image: Option<String>,
    /// The agent's name in the host's table.
    pub agent: String,
}

/// One thing a backend looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at, such as `user namespaces`.
    pub subject: String,
    /// What is right about it, in a few words, or what is wrong and how to mend it.
    pub state: std::result::Result<String, Error>,
}
