//! The RPC words: one JSON object a line, as guests and the supervisor exchange them.
//!
//! Wire-compatible with guests built for the documented program: those know `type`, the fields below and no others,
//! so an answer only ever gains optional fields. The host checks requests more strictly than these types do
//! (`host/src/rpc`): what a guest sends is hostile.

use serde::{Deserialize, Serialize};

/// Highest version of the RPC this build speaks. Version 1 is what the documented program's guests speak.
pub const PROTOCOL: u32 = 1;

/// The first line of every connection, from the guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opening {
    /// 64 lower-case hex digits.
    pub token: String,
    /// Offered by guests that want a [`Answer::Hello`]; absent means 1 and no hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
}

/// What a guest asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Request {
    /// Is the supervisor there? No side effect.
    Heartbeat {},
    /// Show this status for the run's window: `working`, `waiting`, `done`, `clear` or `register`.
    SetStatus {
        /// The status word, any case.
        status: String,
        /// What the agent was last asked, one line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
    },
    /// Name the run's window.
    SetTitle {
        /// The wanted title; the host cleans it.
        title: String,
    },
    /// Make a worktree with an agent of its own.
    SpawnAgent {
        /// What to tell the agent, byte for byte; may be empty.
        prompt: String,
        /// The branch; absent = named by the host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch_name: Option<String>,
        /// Do not select the new window.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        background: Option<bool>,
        /// The same id again gets the first answer again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
}

/// What the host answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Answer {
    /// Done.
    Ok {},
    /// Not done, and why.
    Error {
        /// For people.
        message: String,
        /// For programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
    },
    /// Only to a guest that offered a protocol version: the version both will speak.
    Hello {
        /// The version.
        protocol: u32,
    },
}

/// Why a request failed, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Wrong token.
    Auth,
    /// Not JSON, not an object, not UTF-8.
    Malformed,
    /// No such request.
    UnknownType,
    /// A field is missing, unknown or of the wrong type.
    BadField,
    /// A line or value beyond its limit.
    TooLarge,
    /// Not allowed to this run.
    Denied,
    /// Too many of these.
    Quota,
    /// No such thing.
    NotFound,
    /// It took too long.
    Timeout,
    /// Known, not served here.
    Unsupported,
    /// No common protocol version.
    Version,
    /// A fault of the host.
    Internal,
}
