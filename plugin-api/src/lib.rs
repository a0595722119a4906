#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod abi;
mod backend;
mod context;
mod error;
mod exec;
mod images;
mod instances;
pub mod manifest;
mod mutant;
#[cfg(all(test, feature = "mutants"))]
mod mutants;
mod placing;
mod settings;
mod spec;
mod word;

pub use async_trait::async_trait;
pub use backend::{Attach, Backend, Capability, Transport};
pub use context::{Context, Level, RunningTool, Step, Tool, ToolOutput};
pub use error::{Error, ErrorKind, Remedy, Result};
pub use exec::{
    AttachRequest, Companion, Ended, Exec, ExecRequest, ExplainRequest, GuestCommand, Instance, Origin, Plan,
    PrepareRequest, ReleaseRequest, Route, RouteRequest, Session, SessionInfo, Stdio, ToolCall, VerifyRequest,
};
pub use images::{
    BuildRequest, Freshness, FreshnessRequest, Image, ImageRequest, Images, Install, InstallRequest, Installed,
    PullRequest, Pulled, Recipe,
};
pub use instances::{InstanceInfo, InstanceRequest, Instances, InstancesRequest};
pub use manifest::{Isolation, Manifest, PROTOCOL};
pub use placing::Placing;
pub use settings::{CheckRequest, Demands, Finding, Refusal, Settings, SettingsRequest};
pub use spec::{
    Access, Features, Limit, LimitKind, Limits, Mask, MaskKind, Mount, Network, Policy, Purpose, SandboxSpec, User,
};
pub use word::Word;

#[doc(hidden)]
pub mod __private {
    pub use crate::abi::export::{create, probe};
    pub use crate::abi::{BackendRootRef, header};
    pub use crate::manifest::{EmbeddedManifest, embed};
}
