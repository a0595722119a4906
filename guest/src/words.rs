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
    /// How the agents are that were started from here: one `Output`, a JSON array of [`Member`]s.
    Status {},
    /// As `Status`, for these, as soon as all of them are finished or when the time is over.
    Wait {
        /// 1 to 64.
        names: Vec<String>,
        /// 1 to 60.
        seconds: u32,
    },
    /// Type a text for an agent.
    Send {
        /// Whose.
        name: String,
        /// What.
        text: String,
    },
    /// What an agent's terminal shows: `Output`s of whole lines.
    Capture {
        /// Whose.
        name: String,
        /// The last so many, 1 to 2000; absent = 100.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<u32>,
    },
    /// Merge a worktree's branch. May say with `Output`s what was done.
    Merge(Merge),
    /// Close an agent's window and keep its worktree.
    Close {
        /// Whose.
        name: String,
    },
}

/// The fields of [`Request::Merge`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// Which worktree.
    pub name: String,
    /// The branch to merge into; absent = the host decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// Rebase first. Not with `squash`.
    #[serde(default)]
    pub rebase: bool,
    /// As one commit.
    #[serde(default)]
    pub squash: bool,
    /// Although the worktree holds work that is not committed.
    #[serde(default)]
    pub ignore_uncommitted: bool,
    /// Keep the worktree and its branch. Not with `cleanup`.
    #[serde(default)]
    pub keep: bool,
    /// Without git's hooks.
    #[serde(default)]
    pub no_verify: bool,
    /// Without the configured hooks.
    #[serde(default)]
    pub no_hooks: bool,
    /// Tell the user when it is done.
    #[serde(default)]
    pub notification: bool,
    /// Remove the worktree and its branch.
    #[serde(default)]
    pub cleanup: bool,
}

/// One agent in the answer to [`Request::Status`] and [`Request::Wait`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What the other requests call it.
    pub name: String,
    /// Its branch.
    pub branch: String,
    /// The name of the agent that started it; `None` = the one that asks.
    pub parent: Option<String>,
    /// `working`, `waiting`, `done`, `asked` (it was told something since) or `none`.
    pub status: String,
    /// Since when, in Unix seconds.
    pub since: Option<u64>,
    /// Whether its run lives.
    pub running: bool,
    /// How its command ended.
    pub exit_code: Option<i32>,
}

/// What the host answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Answer {
    /// Done.
    Ok {},
    /// Before the `Ok` or `Error` of a request that has something to tell; never to one that guests without it send.
    Output {
        /// JSON or whole lines, as the request says.
        message: String,
    },
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
