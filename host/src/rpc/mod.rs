//! The supervisor's RPC service: what a guest may ask of the host, checked, bounded and answered.
//!
//! One JSON object a line in, one out, over a unix socket or TCP (CONTRIBUTING says where which). This module owns the
//! conversation: who may speak, how much, how fast, and what a well-formed request is. What a request *does* is
//! [`HostActions`], which the supervisor implements. Everything a guest sends is hostile: `limits` bounds it, `json`
//! and `request` check it; `crate::text` makes its text harmless.

mod actions;
mod answer;
mod connection;
mod family;
mod json;
mod latest;
mod limits;
mod lines;
mod listener;
mod opening;
mod rate;
mod request;
mod server;
mod spawns;
mod token;

#[cfg(test)]
mod tests;

pub use actions::{HostActions, Refusal, SpawnAgent};
pub use family::{FamilyRequest, MergeRequest};
pub use limits::{Limits, Rate};
pub use listener::Listener;
pub use server::Server;
pub use token::Token;
