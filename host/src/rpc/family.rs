//! What a guest may ask about the agents that were started from it: the requests, how long each may take and what may
//! come back.
//!
//! `request` reads them from the wire. Which agents a run may name, and what happens to them, is
//! [`HostActions::family`](super::HostActions::family).

use std::time::Duration;

use workmux_guest::words::Code;

use super::{Limits, Refusal};
use crate::text;

/// A request about descendants of the run. The names are as the guest wrote them: bounded, and nothing else is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FamilyRequest {
    /// How all of them are: one message, a JSON array.
    Status,
    /// As `Status`, for these, as soon as all of them are finished or when the time is over.
    Wait {
        /// At least one.
        names: Vec<String>,
        /// Answer after that long at the latest, finished or not.
        within: Duration,
    },
    /// Types a text for an agent.
    Send {
        /// Whose.
        name: String,
        /// Byte for byte, so with whatever would steer a terminal.
        text: String,
    },
    /// What an agent's terminal shows.
    Capture {
        /// Whose.
        name: String,
        /// At most so many of the last lines.
        lines: u32,
    },
    /// Merges a worktree's branch.
    Merge(MergeRequest),
    /// Closes an agent's window and keeps its worktree.
    Close {
        /// Whose.
        name: String,
    },
}

/// A wish to merge a worktree's branch. At most one of `rebase` and `squash` is set, and one of `keep` and `cleanup`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergeRequest {
    /// Which worktree.
    pub name: String,
    /// The branch to merge into; `None` = the host decides.
    pub into: Option<String>,
    /// Rebase first.
    pub rebase: bool,
    /// As one commit.
    pub squash: bool,
    /// Merge although the worktree holds work that is not committed.
    pub ignore_uncommitted: bool,
    /// Keep the worktree, its window and its branch.
    pub keep: bool,
    /// Without git's own hooks. Not set does not mean that hooks may run: that is the host's decision.
    pub no_verify: bool,
    /// Without the configured hooks. As above.
    pub no_hooks: bool,
    /// Tell the user when it is done.
    pub notification: bool,
    /// Remove the worktree, its window and its branch.
    pub cleanup: bool,
}

impl FamilyRequest {
    /// The word on the wire.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Status => "Status",
            Self::Wait { .. } => "Wait",
            Self::Send { .. } => "Send",
            Self::Capture { .. } => "Capture",
            Self::Merge(_) => "Merge",
            Self::Close { .. } => "Close",
        }
    }

    /// How long the host may work at it.
    pub(super) fn deadline(&self, limits: &Limits) -> Duration {
        match self {
            Self::Status | Self::Send { .. } | Self::Capture { .. } => limits.request,
            Self::Wait { within, .. } => *within + limits.wait_margin,
            Self::Merge(_) => limits.merge,
            Self::Close { .. } => limits.close,
        }
    }

    /// The messages, clean and no more than may be sent. Half a JSON text is worth nothing, of the others the end is
    /// kept: it says how it went, or what a terminal shows now.
    ///
    /// Clean text has no character whose escape in JSON is longer than two bytes, so a message fits into a line.
    pub(super) fn fit(answers: Answers, messages: &[String], most: usize) -> Result<Vec<String>, Refusal> {
        let mut left = most;
        let mut kept = Vec::new();
        for message in messages.iter().rev() {
            let message = text::lines(message);
            let end = last_lines(&message, left);
            if end.len() < message.len() && answers == Answers::Json {
                return Err(Refusal::new(Code::TooLarge, format!("the answer is longer than {most} bytes")));
            }
            // An empty message takes a line as well.
            left = left.saturating_sub(end.len() + 1);
            kept.push(end.to_owned());
            if end.len() < message.len() || left == 0 {
                break;
            }
        }
        kept.reverse();
        Ok(kept)
    }

    /// What its messages are.
    pub(super) fn answers(&self) -> Answers {
        match self {
            Self::Status | Self::Wait { .. } => Answers::Json,
            _ => Answers::Lines,
        }
    }
}

/// What messages are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// For programs.
    Json,
    /// For people.
    Lines,
}

/// The end of a text: whole lines of at most so many bytes together, or the end of a line that is longer.
fn last_lines(text: &str, most: usize) -> &str {
    let Some(surplus) = text.len().checked_sub(most).filter(|surplus| *surplus > 0) else { return text };
    let boundary = (surplus..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let end = &text[boundary..];
    match end.split_once('\n') {
        Some((_, whole)) if !text[..boundary].ends_with('\n') => whole,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p51_every_request_has_a_deadline_of_its_own() {
        let limits = Limits::default();
        let name = || "x".to_owned();
        for (request, seconds) in [
            (FamilyRequest::Status, 10),
            (FamilyRequest::Wait { names: vec![name()], within: Duration::from_secs(60) }, 65),
            (FamilyRequest::Send { name: name(), text: name() }, 10),
            (FamilyRequest::Capture { name: name(), lines: 1 }, 10),
            (FamilyRequest::Merge(MergeRequest::default()), 120),
            (FamilyRequest::Close { name: name() }, 30),
        ] {
            assert_eq!(request.deadline(&limits).as_secs(), seconds, "{request:?}");
        }
    }

    #[test]
    fn p51_of_too_much_the_last_whole_lines_are_kept() {
        let fit = |messages: &[&str], most| {
            let messages: Vec<String> = messages.iter().map(|message| (*message).to_owned()).collect();
            FamilyRequest::fit(Answers::Lines, &messages, most).unwrap()
        };
        assert_eq!(fit(&["one", "two\nthree"], 100), ["one", "two\nthree"]);
        assert_eq!(fit(&["one", "two\nthree"], 9), ["two\nthree"]);
        assert_eq!(fit(&["one", "two\nthree"], 8), ["three"]);
        assert_eq!(fit(&["one", "two\nthree"], 5), ["three"]);
        assert_eq!(fit(&["one", "two\nthree"], 4), ["hree"]);
        assert_eq!(fit(&["é\né"], 3), ["é"]);
        assert_eq!(fit(&["éé"], 3), ["é"]);
        assert_eq!(fit(&[], 3), [""; 0]);
        assert_eq!(fit(&[""; 100], 3), [""; 3]);
    }

    #[test]
    fn p3_messages_are_clean_and_json_is_whole_or_refused() {
        let one = |answers, text: &str, most| FamilyRequest::fit(answers, &[text.to_owned()], most);
        let foul = "a\u{1b}[31mb\u{7}\u{202e}\r\n\tc\u{9b}d";
        assert_eq!(one(Answers::Lines, foul, 100).unwrap(), ["ab\n\tcd"]);
        assert_eq!(one(Answers::Json, "[1,2]", 5).unwrap(), ["[1,2]"]);
        assert_eq!(one(Answers::Json, "[1,2]", 4).unwrap_err().code, Code::TooLarge);
    }
}
