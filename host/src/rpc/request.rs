//! What a request line means: one of the known words with exactly its fields (P35), or the reason why not.

use workmux_guest::words::Code;

use super::json::{Fields, Value, object};
use super::limits::Limits;
use super::{Refusal, SpawnAgent};
use crate::multiplexer::{Status, Title};
use crate::text;

/// Characters of the prompt that goes with a status.
const PROMPT_LINE: usize = 500;
/// Words that other versions serve.
const LATER: [&str; 5] = ["Exec", "Merge", "Close", "Remove", "ClipboardRead"];

/// A request that this host serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Heartbeat,
    SetStatus { status: Status, prompt: Option<String> },
    SetTitle { title: Title },
    SpawnAgent { id: Option<String>, request: SpawnAgent },
}

/// Reads one request.
pub(super) fn parse(line: &str, limits: &Limits) -> Result<Request, Refusal> {
    let mut form = Form(object(line, limits)?);
    let word = form.text("type")?;
    let request = match word.as_str() {
        "Heartbeat" => Request::Heartbeat,
        "SetStatus" => {
            let status = form.text("status")?;
            let prompt = form.optional_text("prompt")?.map(|prompt| text::short(&prompt, PROMPT_LINE));
            let status = Status::from_word(&status)
                .ok_or_else(|| bad("field 'status' must be working, waiting, done, clear or register"))?;
            Request::SetStatus { status, prompt }
        }
        "SetTitle" => {
            let title = Title::clean(&form.text("title")?);
            Request::SetTitle { title: title.ok_or_else(|| bad("field 'title' has nothing that can be shown"))? }
        }
        "SpawnAgent" => {
            let request = SpawnAgent {
                prompt: form.text("prompt")?,
                branch_name: form.optional_text("branch_name")?,
                background: form.optional_flag("background")?.unwrap_or(false),
            };
            Request::SpawnAgent { id: request_id(&mut form, limits)?, request }
        }
        later if LATER.contains(&later) => {
            return Err(Refusal::new(Code::Unsupported, format!("this host does not serve '{later}'")));
        }
        unknown => {
            let unknown = text::short(unknown, 64);
            return Err(Refusal::new(Code::UnknownType, format!("unknown request '{unknown}'")));
        }
    };
    form.finish(&word)?;
    if let Request::SpawnAgent { request: SpawnAgent { prompt, branch_name: None, .. }, .. } = &request
        && prompt.is_empty()
    {
        return Err(bad("an agent needs a prompt or a branch name"));
    }
    Ok(request)
}

fn request_id(form: &mut Form, limits: &Limits) -> Result<Option<String>, Refusal> {
    match form.take("request_id") {
        None => Ok(None),
        Some(Value::Text(id)) if id.chars().count() <= limits.request_id => Ok(Some(id)),
        Some(_) => {
            Err(bad(&format!("field 'request_id' must be a string of at most {} characters", limits.request_id)))
        }
    }
}

fn bad(message: &str) -> Refusal {
    Refusal::new(Code::BadField, message)
}

/// The fields that nobody has asked for yet.
struct Form(Fields);

impl Form {
    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    fn text(&mut self, name: &str) -> Result<String, Refusal> {
        match self.take(name) {
            Some(Value::Text(text)) => Ok(text),
            Some(_) => Err(bad(&format!("field '{name}' must be a string"))),
            None => Err(bad(&format!("field '{name}' is missing"))),
        }
    }

    fn optional_text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) | None => Ok(None),
            Some(_) => Err(bad(&format!("field '{name}' must be a string or null"))),
        }
    }

    fn optional_flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.take(name) {
            Some(Value::Flag(flag)) => Ok(Some(flag)),
            Some(Value::Null) | None => Ok(None),
            Some(_) => Err(bad(&format!("field '{name}' must be true, false or null"))),
        }
    }

    fn finish(self, word: &str) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(bad(&format!("'{word}' has no field '{}'", text::short(name, 64)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Request, Code> {
        parse(line, &Limits::default()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn the_served_words() {
        assert_eq!(read(r#"{"type":"Heartbeat"}"#), Ok(Request::Heartbeat));
        assert_eq!(
            read(r#"{"status":"WORKING","prompt":"a\n\u001bb","type":"SetStatus"}"#),
            Ok(Request::SetStatus { status: Status::Working, prompt: Some("a b".into()) })
        );
        assert_eq!(
            read(r##"{"type":"SetTitle","title":"#(x) y"}"##),
            Ok(Request::SetTitle { title: Title::clean("(x) y").unwrap() })
        );
        let request = SpawnAgent { prompt: "--help\n".into(), branch_name: Some("-D".into()), background: true };
        assert_eq!(
            read(r#"{"type":"SpawnAgent","prompt":"--help\n","branch_name":"-D","background":true,"request_id":"1"}"#),
            Ok(Request::SpawnAgent { id: Some("1".into()), request })
        );
        assert!(read(r#"{"type":"SpawnAgent","prompt":"x","branch_name":null,"background":null}"#).is_ok());
        let status = format!(r#"{{"type":"SetStatus","status":"done","prompt":"{}"}}"#, "é".repeat(600));
        let Ok(Request::SetStatus { prompt: Some(prompt), .. }) = read(&status) else { panic!() };
        assert_eq!(prompt.chars().count(), 500);
    }

    #[test]
    fn our_own_guest_is_understood() {
        use workmux_guest::words::Request as Sent;
        for sent in [
            Sent::Heartbeat {},
            Sent::SetStatus { status: "waiting".into(), prompt: None },
            Sent::SetStatus { status: "done".into(), prompt: Some("fix it".into()) },
            Sent::SetTitle { title: "x".into() },
            Sent::SpawnAgent { prompt: "x".into(), branch_name: None, background: None, request_id: None },
            Sent::SpawnAgent {
                prompt: String::new(),
                branch_name: Some("b".into()),
                background: Some(false),
                request_id: Some("1".into()),
            },
        ] {
            let line = serde_json::to_string(&sent).unwrap();
            assert!(read(&line).is_ok(), "{line}");
        }
    }

    #[test]
    fn p35_anything_else_is_refused_by_name() {
        let long = format!(r#"{{"type":"SpawnAgent","prompt":"x","request_id":"{}"}}"#, "x".repeat(65));
        for (line, code) in [
            (r#"{}"#, Code::BadField),
            (r#"{"type":7}"#, Code::BadField),
            (r#"{"type":"heartbeat"}"#, Code::UnknownType),
            (r#"{"type":"Heartbeat","x":1}"#, Code::BadField),
            (r#"{"type":"SetStatus"}"#, Code::BadField),
            (r#"{"type":"SetStatus","status":"busy"}"#, Code::BadField),
            (r#"{"type":"SetStatus","status":"done","prompt":1}"#, Code::BadField),
            (r###"{"type":"SetTitle","title":"\u202e\t##"}"###, Code::BadField),
            (r#"{"type":"SetTitle","title":null}"#, Code::BadField),
            (r#"{"type":"SpawnAgent","prompt":""}"#, Code::BadField),
            (r#"{"type":"SpawnAgent","prompt":"x","base":"main"}"#, Code::BadField),
            (r#"{"type":"SpawnAgent","prompt":"x","agent":"y"}"#, Code::BadField),
            (r#"{"type":"SpawnAgent","prompt":"x","background":"yes"}"#, Code::BadField),
            (r#"{"type":"SpawnAgent","prompt":"x","request_id":null}"#, Code::BadField),
            (long.as_str(), Code::BadField),
            (r#"{"type":"Exec","command":"x","args":[]}"#, Code::Unsupported),
            (r#"{"type":"Merge"}"#, Code::Unsupported),
            (r#"{"type":"Close","name":"x"}"#, Code::Unsupported),
            (r#"{"type":"Remove","name":"x","force":true}"#, Code::Unsupported),
            (r#"{"type":"ClipboardRead","mime":"image/png"}"#, Code::Unsupported),
        ] {
            assert_eq!(read(line), Err(code), "{line}");
        }
    }
}
