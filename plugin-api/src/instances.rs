//! Capability: instances that outlive a run, or that a crash left: listing, stopping and deleting them.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Context, Result};

/// Asks for the instances there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstancesRequest {
    /// As [`Settings::value`](crate::Settings::value).
    pub settings: Value,
}

/// One instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceInfo {
    /// Its name, as [`Instance::name`](crate::Instance::name). Unique among those of the backend.
    pub name: String,
    /// Its state in the backend's own word, such as `Running` or `exited`; shown as it is.
    pub status: String,
    /// It runs, and stopping it would end what is in it.
    pub running: bool,
    /// It bears a name of this program's, and nothing shows that this program made it. Never deleted unless the user
    /// means this very one.
    pub unrecorded: bool,
    /// The run that made it, where the instance itself says so.
    pub run: Option<String>,
    /// The worktree it is for, where that is known.
    pub worktree: Option<PathBuf>,
    /// Bytes it takes on disk.
    pub size: Option<u64>,
    /// When it was made, in seconds since 1970.
    pub created: Option<u64>,
    /// When it was last used, in seconds since 1970.
    pub last_used: Option<u64>,
}

/// Asks to stop or delete one instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceRequest {
    /// As [`Settings::value`](crate::Settings::value).
    pub settings: Value,
    /// Its name, as listed.
    pub name: String,
    /// Delete it even where it runs.
    pub force: bool,
    /// The user was told that it is [`InstanceInfo::unrecorded`], and means it all the same. Without this, one that is
    /// not recorded is [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): it came in the place of another.
    pub unrecorded: bool,
}

/// Capability: instances that outlive a run.
///
/// Ownership is looked at again right before each action: an instance that is not (or no longer) one that this program
/// made is [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), whatever its name.
#[async_trait]
pub trait Instances: Send + Sync {
    /// All instances of this program on this machine, running or not, in no order. One that cannot be read costs a
    /// warning ([`Context::log`]), not the list.
    async fn list(&self, cx: &Context, request: InstancesRequest) -> Result<Vec<InstanceInfo>>;

    /// Stops it. One that is stopped already is fine.
    async fn stop(&self, cx: &Context, request: InstanceRequest) -> Result<()>;

    /// Deletes it with all that belongs to it. One that is gone already is fine; one that runs is
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) without `force`.
    async fn delete(&self, cx: &Context, request: InstanceRequest) -> Result<()>;
}
