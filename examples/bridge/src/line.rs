//! What stands on a line, in both directions. Pure, and strict about answers: a program that prints something else there
//! would sooner or later print it into an answer.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use workmux_plugin_api::manifest::Protocol;
use workmux_plugin_api::{Error, Level};

/// Characters of a wrong line that a message shows.
const SHOWN: usize = 80;

/// The one line on a program's standard input.
#[derive(Serialize)]
pub(crate) struct Question<'a, Q> {
    /// Comes back with the answer.
    pub(crate) id: u64,
    pub(crate) verb: &'a str,
    /// Whose types `request` and the answer are.
    pub(crate) protocol: Protocol,
    /// Milliseconds; then it is killed with its process group.
    pub(crate) deadline_ms: u64,
    /// A private directory that it may keep things in between calls.
    pub(crate) state_dir: &'a Path,
    pub(crate) request: &'a Q,
}

/// All that a program wrote to its standard output.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) notes: Vec<Note>,
    /// None where there is none; an error where a line is wrong, with the reason.
    pub(crate) answer: Result<Option<Answer>, String>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Ok(Value),
    Error(Error),
}

/// A line for the user or the log.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Note {
    pub(crate) level: Level,
    pub(crate) text: String,
}

enum Line {
    Answer(Answer),
    Log(Note),
    /// A notification that this bridge does not pass on.
    Other,
}

/// Reads up to the first wrong line.
pub(crate) fn read(stdout: &str, id: u64) -> Said {
    let mut said = Said { notes: Vec::new(), answer: Ok(None) };
    for text in stdout.lines().filter(|line| !line.trim().is_empty()) {
        match (line(text, id), &said.answer) {
            (Ok(Line::Answer(answer)), Ok(None)) => said.answer = Ok(Some(answer)),
            (Ok(Line::Answer(_)), _) => said.answer = Err("it answered twice".into()),
            (Ok(Line::Log(note)), _) => said.notes.push(note),
            (Ok(Line::Other), _) => {}
            (Err(why), _) => said.answer = Err(why),
        }
        if said.answer.is_err() {
            break;
        }
    }
    said
}

fn line(text: &str, asked: u64) -> Result<Line, String> {
    let mut line: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| format!("a line is no JSON object ({e}): {}", short(text)))?;
    let Some(id) = line.remove("id") else {
        if line.contains_key("ok") || line.contains_key("error") {
            return Err(format!("an answer has no 'id': {}", short(text)));
        }
        return match line.remove("log") {
            Some(note) => Note::deserialize(note).map(Line::Log).map_err(|e| format!("a 'log' is wrong: {e}")),
            None => Ok(Line::Other),
        };
    };
    if id.as_u64() != Some(asked) {
        return Err(format!("it answered question {id}, and was asked {asked}"));
    }
    match (line.remove("ok"), line.remove("error")) {
        (Some(ok), None) => Ok(Line::Answer(Answer::Ok(ok))),
        (None, Some(error)) => Error::deserialize(error)
            .map(|error| Line::Answer(Answer::Error(error)))
            .map_err(|e| format!("an 'error' is wrong: {e}")),
        _ => Err(format!("an answer has either 'ok' or 'error': {}", short(text))),
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use workmux_plugin_api::ErrorKind;

    use super::*;

    #[test]
    fn answers_and_notes_are_read() {
        let said = read(
            "{\"log\":{\"level\":\"warning\",\"text\":\"slow\"}}\n\n{\"progress\":{}}\r\n{\"id\":7,\"ok\":null}",
            7,
        );
        assert_eq!(said.notes, [Note { level: Level::Warning, text: "slow".into() }]);
        assert_eq!(said.answer, Ok(Some(Answer::Ok(Value::Null))));
        let error = r#"{"id":7,"error":{"kind":"missing-tool","message":"m","hint":"h"},"later":1}"#;
        let error_said = Error::new(ErrorKind::MissingTool, "m").hint("h");
        assert_eq!(read(error, 7).answer, Ok(Some(Answer::Error(error_said))));
        assert_eq!(read("", 7).answer, Ok(None));
        assert_eq!(read(r#"{"id":7,"ok":{"a":[]}}"#, 7).answer, Ok(Some(Answer::Ok(json!({"a": []})))));
    }

    #[test]
    fn wrong_lines_are_told() {
        let long = "x".repeat(500);
        for (stdout, why) in [
            ("hello", "no JSON object"),
            ("[1]", "no JSON object"),
            (r#"{"id":7,"ok":{"#, "no JSON object"),
            (r#"{"ok":{}}"#, "no 'id'"),
            (r#"{"id":8,"ok":{}}"#, "answered question 8, and was asked 7"),
            (r#"{"id":"7","ok":{}}"#, "answered question \"7\""),
            (r#"{"id":7}"#, "either 'ok' or 'error'"),
            (r#"{"id":7,"ok":1,"error":{"kind":"internal","message":"m"}}"#, "either 'ok' or 'error'"),
            (r#"{"id":7,"error":"no"}"#, "an 'error' is wrong"),
            (r#"{"log":"no"}"#, "a 'log' is wrong"),
            ("{\"id\":7,\"ok\":1}\n{\"id\":7,\"ok\":1}", "twice"),
            ("{\"id\":7,\"ok\":1}\nbye", "no JSON object"),
            (&long, "xxx ..."),
        ] {
            let wrong = read(stdout, 7).answer.unwrap_err();
            assert!(wrong.contains(why) && wrong.len() < 300, "{stdout}: {wrong}");
        }
    }
}
