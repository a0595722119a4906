//! Content of a project that the user confirmed: remembered as hashes, per repository, in the user's state directory.
//!
//! One empty file per confirmation, named by its hash, so that two processes cannot disturb each other. Whether there
//! is somebody to ask is the caller's knowledge.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::report::Place;
use crate::text;

/// What a project wants and the user has to know before it counts.
#[derive(Debug, Clone)]
pub struct Question {
    /// The key.
    pub key: String,
    /// Where the project says it.
    pub place: Place,
    /// What it says, ready to be shown: whole, with nothing hidden.
    pub content: String,
    digest: String,
}

impl Question {
    pub(super) fn new(key: &str, place: Place, value: &Value) -> Self {
        let mut hash = Sha256::new();
        hash.update(key.as_bytes());
        hash.update([0]);
        hash.update(value.to_string().as_bytes());
        Self { key: key.to_owned(), place, content: show(value), digest: hex(&hash.finalize()) }
    }
}

/// What the user said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Now or earlier, to exactly this.
    Yes,
    /// No.
    No,
    /// There was nobody to ask.
    Nobody,
}

/// Answers questions about a project's content.
pub trait Approvals {
    /// Whether the user confirmed exactly this.
    fn answer(&mut self, question: &Question) -> Answer;
}

/// Asks nobody and remembers nothing: for questions that only want to know what holds.
pub struct Nobody;

impl Approvals for Nobody {
    fn answer(&mut self, _: &Question) -> Answer {
        Answer::Nobody
    }
}

/// The terminal's side: shows a question and reads the answer.
pub type Ask<'a> = &'a mut dyn FnMut(&Question) -> bool;

/// Answers from the record, else by asking, and records a yes.
pub struct Recorded<'a> {
    dir: PathBuf,
    ask: Option<Ask<'a>>,
}

impl<'a> Recorded<'a> {
    /// `state` is the program's state directory, `repository` the canonical path that names the repository, `ask` is
    /// `None` where there is no terminal.
    pub fn new(state: &Path, repository: &Path, ask: Option<Ask<'a>>) -> Self {
        let name = hex(&Sha256::digest(repository.as_os_str().as_bytes()));
        Self { dir: state.join("approvals").join(name), ask }
    }

    fn record(&self, question: &Question) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let path = self.dir.join(&question.digest);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
    }
}

impl Approvals for Recorded<'_> {
    fn answer(&mut self, question: &Question) -> Answer {
        if fs::symlink_metadata(self.dir.join(&question.digest)).is_ok_and(|found| found.is_file()) {
            return Answer::Yes;
        }
        let Some(ask) = &mut self.ask else { return Answer::Nobody };
        if !ask(question) {
            return Answer::No;
        }
        // A yes that cannot be recorded counts this once; the next command asks again.
        let _recorded = self.record(question);
        Answer::Yes
    }
}

impl fmt::Debug for Recorded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Recorded").field("dir", &self.dir).finish_non_exhaustive()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Plain strings as they are, anything else as JSON; nothing invisible, nothing left out.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text::visible(text),
        Value::Array(list) if list.iter().all(Value::is_string) => list
            .iter()
            .filter_map(Value::as_str)
            .map(|item| format!("- {}", text::visible(item)))
            .collect::<Vec<_>>()
            .join("\n"),
        other => text::visible(&serde_json::to_string_pretty(other).unwrap_or_else(|_| other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(value: &Value) -> Question {
        Question::new("post_create", Place { file: Path::new("/p/.workmux.yaml").into(), line: 1 }, value)
    }

    #[test]
    fn p28_only_the_exact_content_is_remembered() {
        let state = tempfile::tempdir().unwrap();
        let (one, other) = (question(&json!(["make"])), question(&json!(["make "])));
        let repo = Path::new("/p");
        assert_eq!(Recorded::new(state.path(), repo, None).answer(&one), Answer::Nobody);
        assert_eq!(Recorded::new(state.path(), repo, Some(&mut |_| false)).answer(&one), Answer::No);
        assert_eq!(Recorded::new(state.path(), repo, None).answer(&one), Answer::Nobody);
        assert_eq!(Recorded::new(state.path(), repo, Some(&mut |_| true)).answer(&one), Answer::Yes);
        let mut asked = 0;
        let mut count = |_: &Question| {
            asked += 1;
            false
        };
        let mut again = Recorded::new(state.path(), repo, Some(&mut count));
        assert_eq!((again.answer(&one), again.answer(&other)), (Answer::Yes, Answer::No));
        assert_eq!(asked, 1);
        assert_eq!(Recorded::new(state.path(), Path::new("/q"), None).answer(&one), Answer::Nobody);
        // The same words under another key are another thing.
        let elsewhere = Question::new("pre_merge", one.place.clone(), &json!(["make"]));
        assert_eq!(Recorded::new(state.path(), repo, None).answer(&elsewhere), Answer::Nobody);
    }

    #[test]
    fn p28_what_is_shown_hides_nothing() {
        assert_eq!(question(&json!(["a\u{202e}b\u{1b}[8m", "c\nd"])).content, "- a\\u{202e}b\\u{1b}[8m\n- c\n  d");
    }
}
