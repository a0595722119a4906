//! What requests do to the host: the supervisor's side of the service.

use async_trait::async_trait;
use workmux_guest::words::{Answer, Code};

use super::FamilyRequest;
use crate::multiplexer::{Status, Title};
use crate::text;

/// A request was understood and not done. Its text goes to the guest: no host path, no token, nothing private.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Whether who did the work has written down already who was refused what.
    pub journaled: bool,
}

impl Refusal {
    /// A refusal with its reason.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), journaled: false }
    }

    /// A fault of ours; what it was goes to the record, not to the guest.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "the host failed at this request")
    }

    pub(super) fn answer(&self) -> Answer {
        Answer::Error { message: text::line(&self.message), code: Some(self.code) }
    }
}

/// A wish for a worktree with an agent of its own. The branch is not checked yet; `request_id` was dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnAgent {
    /// What to tell the agent, byte for byte; may be empty if a branch is named.
    pub prompt: String,
    /// The branch as the guest wrote it; `None` = the host finds a name.
    pub branch_name: Option<String>,
    /// Do not select the new window.
    pub background: bool,
}

/// What the supervisor does for its guest.
///
/// Each call has a deadline and is dropped at it: whatever it started must end with it, or finish by itself and be
/// recorded. A panic ends one connection, no more.
#[async_trait]
pub trait HostActions: Send + Sync {
    /// Shows a status. Without a window to show it in: `Ok`, and a note of the reason (P54).
    async fn set_status(&self, status: Status, prompt: Option<String>) -> Result<(), Refusal>;

    /// Names the window. Without a window: as above.
    async fn set_title(&self, title: Title) -> Result<(), Refusal>;

    /// Makes a worktree with an agent. Called at most once for each `request_id`.
    async fn spawn_agent(&self, request: SpawnAgent) -> Result<(), Refusal> {
        let _unserved = request;
        Err(Refusal::new(Code::Unsupported, "this version of workmux cannot start agents from inside a sandbox yet"))
    }

    /// Asks something of the agents that were started from this run. The messages go to the guest in their order, cleaned,
    /// with the end of them where it is too much; those of `Status` and `Wait` are one JSON text.
    ///
    /// `Wait` answers by itself when its time is over. The end of the run drops whatever is under way a moment later.
    async fn family(&self, request: FamilyRequest) -> Result<Vec<String>, Refusal> {
        Err(Refusal::new(Code::Unsupported, format!("this host does not serve '{}'", request.word())))
    }

    /// Keeps a line for the run's record: what was refused, what failed. The text is clean and at most 300 characters.
    fn note(&self, line: &str, journaled: bool) {
        let _unkept = (line, journaled);
    }
}
