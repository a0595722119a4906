//! What a request line means: one of the known words with exactly its fields (P35), or the reason why not.

use std::time::Duration;

use workmux_guest::words::Code;

use super::json::{Fields, Value, object};
use super::limits::Limits;
use super::{FamilyRequest, MergeRequest, Refusal, SpawnAgent};
use crate::multiplexer::{Status, Title};
use crate::text;

/// Characters of the prompt that goes with a status.
const PROMPT_LINE: usize = 500;
/// Words that other versions serve.
const LATER: [&str; 3] = ["Exec", "Remove", "ClipboardRead"];
/// Lines of a terminal that a guest gets that does not say how many.
const CAPTURED: u32 = 100;

/// A request that this host serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Heartbeat,
    SetStatus { status: Status, prompt: Option<String> },
    SetTitle { title: Title },
    SpawnAgent { id: Option<String>, request: SpawnAgent },
    Family(FamilyRequest),
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
        "Status" => Request::Family(FamilyRequest::Status),
        "Wait" => {
            let names = names(&mut form, limits)?;
            let longest = u32::try_from(limits.wait.as_secs()).unwrap_or(u32::MAX);
            let seconds = form.optional_whole("seconds", longest)?.ok_or_else(|| missing("seconds"))?;
            Request::Family(FamilyRequest::Wait { names, within: Duration::from_secs(seconds.into()) })
        }
        "Send" => {
            let name = form.name("name", limits)?;
            Request::Family(FamilyRequest::Send { name, text: form.text("text")? })
        }
        "Capture" => {
            let name = form.name("name", limits)?;
            let lines = form.optional_whole("lines", limits.captured)?.unwrap_or(CAPTURED);
            Request::Family(FamilyRequest::Capture { name, lines })
        }
        "Merge" => Request::Family(FamilyRequest::Merge(merge(&mut form, limits)?)),
        "Close" => Request::Family(FamilyRequest::Close { name: form.name("name", limits)? }),
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

fn names(form: &mut Form, limits: &Limits) -> Result<Vec<String>, Refusal> {
    let wrong = || bad(&format!("field 'names' must be an array of 1 to {} strings", limits.names));
    let names = match form.take("names") {
        Some(Value::Texts(names)) if !names.is_empty() => names,
        Some(_) => return Err(wrong()),
        None => return Err(missing("names")),
    };
    names.into_iter().map(|name| checked_name("names", name, limits)).collect()
}

fn merge(form: &mut Form, limits: &Limits) -> Result<MergeRequest, Refusal> {
    let into = form.optional_text("into")?;
    let request = MergeRequest {
        name: form.name("name", limits)?,
        into: into.map(|into| checked_name("into", into, limits)).transpose()?,
        rebase: form.flag("rebase")?,
        squash: form.flag("squash")?,
        ignore_uncommitted: form.flag("ignore_uncommitted")?,
        keep: form.flag("keep")?,
        no_verify: form.flag("no_verify")?,
        no_hooks: form.flag("no_hooks")?,
        notification: form.flag("notification")?,
        cleanup: form.flag("cleanup")?,
    };
    if request.rebase && request.squash {
        return Err(bad("'rebase' and 'squash' exclude each other"));
    }
    if request.keep && request.cleanup {
        return Err(bad("'keep' and 'cleanup' exclude each other"));
    }
    Ok(request)
}

fn checked_name(field: &str, name: String, limits: &Limits) -> Result<String, Refusal> {
    if name.is_empty() || name.chars().count() > limits.name {
        return Err(bad(&format!("field '{field}': a name has 1 to {} characters", limits.name)));
    }
    Ok(name)
}

fn missing(name: &str) -> Refusal {
    bad(&format!("field '{name}' is missing"))
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
            None => Err(missing(name)),
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

    /// True only where it is said.
    fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.take(name) {
            Some(Value::Flag(flag)) => Ok(flag),
            None => Ok(false),
            Some(_) => Err(bad(&format!("field '{name}' must be true or false"))),
        }
    }

    /// A number from 1 to `most`.
    fn optional_whole(&mut self, name: &str, most: u32) -> Result<Option<u32>, Refusal> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let whole = if let Value::Whole(whole) = value { u32::try_from(whole).ok() } else { None };
        match whole.filter(|whole| (1..=most).contains(whole)) {
            Some(whole) => Ok(Some(whole)),
            None => Err(bad(&format!("field '{name}' must be a whole number from 1 to {most}"))),
        }
    }

    fn name(&mut self, name: &str, limits: &Limits) -> Result<String, Refusal> {
        checked_name(name, self.text(name)?, limits)
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
    fn the_words_about_descendants() {
        let name = || "x".to_owned();
        let seconds = |seconds| Duration::from_secs(seconds);
        let merge = MergeRequest { name: name(), ..MergeRequest::default() };
        let all =
            MergeRequest { into: Some("main".into()), rebase: true, keep: true, no_verify: true, ..merge.clone() };
        let all = MergeRequest { ignore_uncommitted: true, no_hooks: true, notification: true, ..all };
        for (line, request) in [
            (r#"{"type":"Status"}"#, FamilyRequest::Status),
            (
                r#"{"type":"Wait","names":["x","y z"],"seconds":60}"#,
                FamilyRequest::Wait { names: vec![name(), "y z".into()], within: seconds(60) },
            ),
            (
                r#"{"type":"Wait","names":["x"],"seconds":1}"#,
                FamilyRequest::Wait { names: vec![name()], within: seconds(1) },
            ),
            (
                r#"{"type":"Send","name":"x","text":" --a\n\u001b "}"#,
                FamilyRequest::Send { name: name(), text: " --a\n\u{1b} ".into() },
            ),
            (r#"{"type":"Capture","name":"x"}"#, FamilyRequest::Capture { name: name(), lines: 100 }),
            (r#"{"type":"Capture","name":"x","lines":1}"#, FamilyRequest::Capture { name: name(), lines: 1 }),
            (r#"{"type":"Capture","name":"x","lines":2000}"#, FamilyRequest::Capture { name: name(), lines: 2000 }),
            (r#"{"type":"Merge","name":"x"}"#, FamilyRequest::Merge(merge.clone())),
            (
                r#"{"type":"Merge","name":"x","into":null,"squash":true,"rebase":false,"cleanup":true}"#,
                FamilyRequest::Merge(MergeRequest { squash: true, cleanup: true, ..merge }),
            ),
            (
                r#"{"type":"Merge","name":"x","into":"main","rebase":true,"squash":false,"ignore_uncommitted":true,"keep":true,"no_verify":true,"no_hooks":true,"notification":true}"#,
                FamilyRequest::Merge(all),
            ),
            (r#"{"type":"Close","name":"x"}"#, FamilyRequest::Close { name: name() }),
        ] {
            assert_eq!(read(line), Ok(Request::Family(request)), "{line}");
        }
    }

    #[test]
    fn p49_names_and_numbers_end_at_their_limits() {
        let named = |name: &str| format!(r#"{{"type":"Close","name":"{name}"}}"#);
        assert!(read(&named(&"é".repeat(255))).is_ok());
        let names = |n: usize| format!(r#"{{"type":"Wait","seconds":9,"names":["x"{}]}}"#, r#","x""#.repeat(n - 1));
        assert!(read(&names(64)).is_ok());
        for line in [
            named(&"é".repeat(256)),
            named(""),
            names(65),
            format!(r#"{{"type":"Wait","seconds":9,"names":["x","{}"]}}"#, "x".repeat(256)),
            format!(r#"{{"type":"Merge","name":"x","into":"{}"}}"#, "x".repeat(256)),
        ] {
            assert_eq!(read(&line), Err(Code::BadField), "{line}");
        }
    }

    #[test]
    fn our_own_guest_is_understood() {
        use workmux_guest::words::{Merge, Request as Sent};
        let merge = Merge { name: "x".into(), ..Merge::default() };
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
            Sent::Status {},
            Sent::Wait { names: vec!["x".into(), "y".into()], seconds: 60 },
            Sent::Send { name: "x".into(), text: "go on\n".into() },
            Sent::Capture { name: "x".into(), lines: None },
            Sent::Capture { name: "x".into(), lines: Some(2000) },
            Sent::Merge(Merge { into: Some("b".into()), rebase: true, ..merge.clone() }),
            Sent::Merge(merge),
            Sent::Close { name: "x".into() },
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
            (r#"{"type":"Status","names":["x"]}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x"]}"#, Code::BadField),
            (r#"{"type":"Wait","seconds":5}"#, Code::BadField),
            (r#"{"type":"Wait","names":[],"seconds":5}"#, Code::BadField),
            (r#"{"type":"Wait","names":"x","seconds":5}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x",1],"seconds":5}"#, Code::BadField),
            (r#"{"type":"Wait","names":[["x"]],"seconds":5}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x",""],"seconds":5}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x"],"seconds":0}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x"],"seconds":61}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x"],"seconds":-1}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x"],"seconds":4294967297}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x"],"seconds":1.5}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x"],"seconds":"5"}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x"],"seconds":null}"#, Code::BadField),
            (r#"{"type":"Wait","names":["x"],"seconds":5,"all":true}"#, Code::BadField),
            (r#"{"type":"Send","name":"x"}"#, Code::BadField),
            (r#"{"type":"Send","text":"x"}"#, Code::BadField),
            (r#"{"type":"Send","name":"x","text":null}"#, Code::BadField),
            (r#"{"type":"Send","name":["x"],"text":"x"}"#, Code::BadField),
            (r#"{"type":"Send","name":"x","text":"x","enter":true}"#, Code::BadField),
            (r#"{"type":"Capture"}"#, Code::BadField),
            (r#"{"type":"Capture","name":"x","lines":0}"#, Code::BadField),
            (r#"{"type":"Capture","name":"x","lines":2001}"#, Code::BadField),
            (r#"{"type":"Capture","name":"x","lines":null}"#, Code::BadField),
            (r#"{"type":"Capture","name":"x","lines":"5"}"#, Code::BadField),
            (r#"{"type":"Capture","name":"x","pane":1}"#, Code::BadField),
            (r#"{"type":"Merge"}"#, Code::BadField),
            (r#"{"type":"Merge","name":"x","into":""}"#, Code::BadField),
            (r#"{"type":"Merge","name":"x","into":1}"#, Code::BadField),
            (r#"{"type":"Merge","name":"x","keep":null}"#, Code::BadField),
            (r#"{"type":"Merge","name":"x","keep":1}"#, Code::BadField),
            (r#"{"type":"Merge","name":"x","force":true}"#, Code::BadField),
            (r#"{"type":"Merge","name":"x","rebase":true,"squash":true}"#, Code::BadField),
            (r#"{"type":"Merge","name":"x","keep":true,"cleanup":true}"#, Code::BadField),
            (r#"{"type":"Close"}"#, Code::BadField),
            (r#"{"type":"Close","name":null}"#, Code::BadField),
            (r#"{"type":"Close","name":"x","force":true}"#, Code::BadField),
            (r#"{"type":"Remove","name":"x","force":true}"#, Code::Unsupported),
            (r#"{"type":"ClipboardRead","mime":"image/png"}"#, Code::Unsupported),
        ] {
            assert_eq!(read(line), Err(code), "{line}");
        }
    }
}
