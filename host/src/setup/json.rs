//! Puts hooks into a JSON text and takes them out again, touching no other byte of it.
//!
//! The text is the user's: it is not read into values and written anew, which would lose how it is laid out, and numbers
//! that do not fit. `serde_json` says where each value stands, and pieces are cut and put in there. Where the agent reads
//! comments, `serde_json` sees blanks in their place, and none of them is cut.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::hooks::{Dialect, Hook};

/// The key that all these agents keep them under.
const KEY: &str = "hooks";

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Counted from 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) message: String,
}

/// The text with these hooks. Those that are there already are left alone.
pub(super) fn install(text: &str, dialect: Dialect, hooks: &[Hook]) -> Result<String, Wrong> {
    let mut text = if text.trim().is_empty() { "{}\n".to_owned() } else { text.to_owned() };
    for hook in hooks {
        if let Some(more) = with(&Text::read(&text, dialect), hook)? {
            text = more;
        }
    }
    Ok(text)
}

/// The text without these hooks, and without what is empty for lack of them; nothing where nothing else was in it.
pub(super) fn remove(text: &str, dialect: Dialect, hooks: &[Hook]) -> Result<Option<String>, Wrong> {
    if text.trim().is_empty() {
        return Ok(Some(text.to_owned()));
    }
    let mut left = text.to_owned();
    while let Some(less) = without_one(&Text::read(&left, dialect), hooks)? {
        left = less;
    }
    Ok((left == text || left.trim() != "{}").then_some(left))
}

/// A text as it is written, and as it is read.
struct Text<'a> {
    written: &'a str,
    /// The same with blanks for comments: whatever stands at a place in the one stands there in the other.
    plain: Cow<'a, str>,
}

impl<'a> Text<'a> {
    fn read(written: &'a str, dialect: Dialect) -> Self {
        let plain = match dialect {
            Dialect::Plain => Cow::Borrowed(written),
            Dialect::Comments => without_comments(written),
        };
        Self { written, plain }
    }
}

/// Comments from `//` to the end of the line and from `/*` to `*/`, byte for byte made blanks. Line ends stay.
fn without_comments(text: &str) -> Cow<'_, str> {
    let (mut plain, mut at) = (String::with_capacity(text.len()), 0);
    let mut in_string = false;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let comment = match rest.get(..2) {
            _ if in_string => None,
            Some("//") => Some(rest.find(['\n', '\r']).unwrap_or(rest.len())),
            // One that nobody ends is left to be complained about.
            Some("/*") => rest[2..].find("*/").map(|end| end + 4),
            _ => None,
        };
        if let Some(length) = comment {
            plain.extend(
                rest[..length].bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { byte.into() } else { ' ' }),
            );
            at += length;
            continue;
        }
        // What is escaped ends no string.
        let length =
            if in_string && c == '\\' { 1 + rest[1..].chars().next().map_or(0, char::len_utf8) } else { c.len_utf8() };
        in_string ^= c == '"';
        plain.push_str(&rest[..length]);
        at += length;
    }
    Cow::Owned(plain)
}

/// The text with this hook, if it is not there.
fn with(text: &Text<'_>, hook: &Hook) -> Result<Option<String>, Wrong> {
    let (written, plain) = (text, &*text.plain);
    let style = Style::of(plain);
    let text = plain;
    let root = Object::root(text)?;
    let Some(all) = root.last(KEY) else {
        let value = serde_json::json!({ hook.event: [hook.group()] });
        return Ok(Some(root.list.append(written, &style.member(KEY, &value, 1), &style, 0)));
    };
    let all = Object::at(text, all, "'hooks'")?;
    let Some(event) = all.last(hook.event) else {
        let value = Value::Array(vec![hook.group()]);
        return Ok(Some(all.list.append(written, &style.member(hook.event, &value, 2), &style, 1)));
    };
    let groups = groups(text, event, hook.event)?;
    for group in &groups.items {
        // The same hook for other events of this name is another one.
        if handlers(text, group).is_some_and(|found| found.ours(hook)) && matcher(&text[group.clone()]) == hook.matcher
        {
            return Ok(None);
        }
    }
    Ok(Some(groups.append(written, &style.value(&hook.group(), 3), &style, 2)))
}

/// The text without one piece of ours: the largest that holds nothing else.
fn without_one(text: &Text<'_>, hooks: &[Hook]) -> Result<Option<String>, Wrong> {
    let (written, text) = (text, &*text.plain);
    let root = Object::root(text)?;
    let Some((at, all)) = root.position(KEY) else { return Ok(None) };
    let all = Object::at(text, all, "'hooks'")?;
    for hook in hooks {
        let Some((event_at, event)) = all.position(hook.event) else { continue };
        let groups = groups(text, event, hook.event)?;
        for (group_at, group) in groups.items.iter().enumerate() {
            let Some(found) = handlers(text, group) else { continue };
            let Some(handler_at) = found.commands.iter().position(|c| c.as_deref() == Some(&*hook.command())) else {
                continue;
            };
            return Ok(Some(if found.list.items.len() > 1 {
                found.list.without(written, handler_at)
            } else if groups.items.len() > 1 {
                groups.without(written, group_at)
            } else if all.list.items.len() > 1 {
                all.list.without(written, event_at)
            } else {
                root.list.without(written, at)
            }));
        }
    }
    Ok(None)
}

/// The handlers of one group.
struct Handlers {
    list: List,
    commands: Vec<Option<String>>,
}

impl Handlers {
    fn ours(&self, hook: &Hook) -> bool {
        self.commands.iter().any(|command| command.as_deref() == Some(&*hook.command()))
    }
}

/// None where the group is not formed like one: that is the agent's to judge, and surely not ours.
fn handlers(text: &str, group: &Range<usize>) -> Option<Handlers> {
    let group = Object::at(text, group.clone(), "").ok()?;
    let list = List::at(text, group.last("hooks")?)?;
    let command = |range: &Range<usize>| {
        let value: Value = serde_json::from_str(&text[range.clone()]).ok()?;
        Some(value.get("command")?.as_str()?.to_owned())
    };
    Some(Handlers { commands: list.items.iter().map(command).collect(), list })
}

fn matcher(group: &str) -> Option<&str> {
    // Ours needs no escapes, so that it can be borrowed where it is ours.
    #[derive(serde::Deserialize)]
    struct Group<'a> {
        #[serde(borrow, default)]
        matcher: Option<&'a str>,
    }
    match serde_json::from_str::<Group<'_>>(group) {
        Ok(group) => group.matcher,
        Err(_) => Some(""),
    }
}

fn groups(text: &str, event: Range<usize>, name: &str) -> Result<List, Wrong> {
    let line = line_of(text, event.start);
    List::at(text, event).ok_or_else(|| Wrong { line, message: format!("'hooks.{name}' must be a list") })
}

/// The places of an object's or list's elements in the text.
struct List {
    /// With its brackets.
    all: Range<usize>,
    /// The values.
    items: Vec<Range<usize>>,
}

impl List {
    fn at(text: &str, all: Range<usize>) -> Option<Self> {
        let items: Vec<&RawValue> = serde_json::from_str(&text[all.clone()]).ok()?;
        Some(Self { items: items.into_iter().map(|item| place(text, item)).collect(), all })
    }

    /// The text with one more element, at the end; `depth` is the list's own.
    fn append(&self, text: &Text<'_>, element: &str, style: &Style, depth: usize) -> String {
        let (before, line) = (style.line(depth), style.line(depth + 1));
        let written = text.written;
        match self.items.last() {
            Some(last) => {
                // A comment behind the last element, on its line, is about that one.
                let rest = &text.plain[last.end..];
                let line_end = last.end + rest.find(['\n', '\r', '}', ']']).unwrap_or(rest.len());
                let remark = written[last.end..line_end].trim_end();
                // Unless it goes on below.
                let remark = if without_comments(remark).trim().is_empty() { remark } else { "" };
                let end = last.end + remark.len();
                format!("{},{remark}{line}{element}{}", &written[..last.end], &written[end..])
            }
            None => {
                let inner = written[self.all.start + 1..self.all.end - 1].trim_end();
                format!(
                    "{}{inner}{line}{element}{before}{}",
                    &written[..self.all.start + 1],
                    &written[self.all.end - 1..]
                )
            }
        }
    }

    /// The text without one element: exactly what [`Self::append`] put in, where it is the last.
    fn without(&self, text: &Text<'_>, at: usize) -> String {
        let (written, plain) = (text.written, &*text.plain);
        let comma = |from: usize| plain[from..].find(',').map(|comma| from + comma);
        let (start, remarks, end) = match (at.checked_sub(1), self.items.get(at + 1)) {
            (Some(before), _) => {
                let from = self.items[before].end;
                let comma = comma(from).unwrap_or(from);
                let name = skip_blanks(plain, comma + 1);
                let remarks = [written[from..comma].trim_end(), written[comma + 1..name].trim_end()];
                (from, remarks, self.items[at].end)
            }
            (None, None) => {
                let (from, item, to) = (self.all.start + 1, &self.items[at], self.all.end - 1);
                let name = skip_blanks(plain, from);
                (from, [written[from..name].trim_end(), written[item.end..to].trim_end()], to)
            }
            (None, Some(_)) => {
                let end = self.items[at].end;
                let after = comma(end).map_or(end, |comma| comma + 1);
                (skip_blanks(plain, self.all.start + 1), ["", ""], skip_blanks(written, after))
            }
        };
        let (remarks, rest) = (remarks.concat(), &written[end..]);
        // Nothing may come to stand behind a comment that ends with its line.
        let open = remarks.contains("//") && !rest.trim_start_matches([' ', '\t']).starts_with(['\r', '\n']);
        format!("{}{remarks}{}{rest}", &written[..start], if open { "\n" } else { "" })
    }
}

/// An object's members in order.
struct Object {
    list: List,
    keys: Vec<String>,
}

impl Object {
    fn root(text: &str) -> Result<Self, Wrong> {
        let all: &RawValue = serde_json::from_str(text).map_err(|e| Wrong {
            line: e.line(),
            message: e.to_string().split(" at line ").next().unwrap_or("is no JSON").to_owned(),
        })?;
        Self::at(text, place(text, all), "the whole file")
    }

    fn at(text: &str, all: Range<usize>, what: &str) -> Result<Self, Wrong> {
        let line = line_of(text, all.start);
        let members: Members<'_> = serde_json::from_str(&text[all.clone()])
            .map_err(|_| Wrong { line, message: format!("{what} must be an object, in braces") })?;
        let (keys, items) = members.0.into_iter().map(|(key, value)| (key, place(text, value))).unzip();
        Ok(Self { list: List { all, items }, keys })
    }

    /// Of several with the same name the last counts, for the agents too.
    fn position(&self, key: &str) -> Option<(usize, Range<usize>)> {
        let at = self.keys.iter().rposition(|other| other == key)?;
        Some((at, self.list.items[at].clone()))
    }

    fn last(&self, key: &str) -> Option<Range<usize>> {
        self.position(key).map(|(_, range)| range)
    }
}

/// Keys and values as they stand there, all of them.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Where a value that was borrowed from the text stands in it.
fn place(text: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
    start..start + value.get().len()
}

fn skip_blanks(text: &str, from: usize) -> usize {
    text.len() - text[from..].trim_start_matches([' ', '\t', '\r', '\n']).len()
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// How the text is laid out.
struct Style {
    indent: String,
    newline: &'static str,
}

impl Style {
    fn of(text: &str) -> Self {
        let blanks = |line: &str| line[..line.len() - line.trim_start_matches([' ', '\t']).len()].to_owned();
        let first = text.lines().filter(|line| line.trim_start().starts_with('"')).map(blanks).next();
        Self {
            indent: first.filter(|indent| !indent.is_empty()).unwrap_or_else(|| "  ".to_owned()),
            newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
        }
    }

    fn line(&self, depth: usize) -> String {
        format!("{}{}", self.newline, self.indent.repeat(depth))
    }

    fn member(&self, key: &str, value: &Value, depth: usize) -> String {
        format!("{}: {}", Value::from(key), self.value(value, depth))
    }

    /// A value as it is written at this depth.
    fn value(&self, value: &Value, depth: usize) -> String {
        // Two blanks for each depth, in front of lines only: no string holds a line end as it is.
        let lines = format!("{value:#}");
        let mut lines = lines.lines();
        let mut text = lines.next().unwrap_or_default().to_owned();
        for line in lines {
            let rest = line.trim_start_matches(' ');
            text += &self.line(depth + (line.len() - rest.len()) / 2);
            text += rest;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::hooks::{How, how};

    fn hooks(agent: &str) -> &'static [Hook] {
        let Some(How::Json { hooks, .. }) = how(agent) else { panic!("{agent} has a JSON file") };
        hooks
    }

    fn install(text: &str, hooks: &[Hook]) -> Result<String, Wrong> {
        super::install(text, Dialect::Plain, hooks)
    }

    fn remove(text: &str, hooks: &[Hook]) -> Result<Option<String>, Wrong> {
        super::remove(text, Dialect::Plain, hooks)
    }

    fn installed(text: &str) -> String {
        install(text, hooks("claude")).unwrap()
    }

    #[test]
    fn comments_stay_where_the_agent_reads_them() {
        let own = r#"{"hooks": [{"type": "command", "command": "mine // \"/*"}]}"#;
        for text in [
            "// mine\n{\n  \"a\": 1, // one, and a }\n  /* two\n     lines */\n  \"b\": \"// no, /* no\" // last\n}\n// end\n".to_owned(),
            "{ // nothing yet\n}\n".to_owned(),
            "{\"a\": 1 /* ä */ }".to_owned(),
            "{\"a\": 1 /* } goes\n on */ }".to_owned(),
            format!("{{\"hooks\": {{\n  // one\n  \"AfterAgent\": [ // two\n {own} // three\n ] // four\n}} /* five */ }}\r\n"),
        ] {
            let with = super::install(&text, Dialect::Comments, hooks("gemini")).unwrap();
            let plain = Text::read(&with, Dialect::Comments);
            let value: Value = serde_json::from_str(&plain.plain).unwrap();
            assert!(value["hooks"]["Notification"][0]["matcher"] == "ToolPermission", "{with}");
            assert_eq!(plain.plain.len(), with.len());
            assert_eq!(super::install(&with, Dialect::Comments, hooks("gemini")).unwrap(), with);
            assert_eq!(super::remove(&with, Dialect::Comments, hooks("gemini")).unwrap(), Some(text));
        }
        // A comment stays with what it is about, and none is lost when what stands around it goes.
        let with = super::install("{\n  \"a\": 1 // one\n}", Dialect::Comments, hooks("gemini")).unwrap();
        assert!(with.starts_with("{\n  \"a\": 1, // one\n  \"hooks\": {\n"), "{with}");
        let ours = serde_json::to_string(&hooks("gemini")[0].group()).unwrap();
        for (text, left) in [
            (format!("{{\"hooks\": {{\"BeforeAgent\": [{own}, // why\n{ours}]}}}}"), format!("{own} // why\n]")),
            (
                format!("{{\"hooks\": {{\"BeforeAgent\": [/* why */ {ours}, /* a */ {own}]}}}}"),
                format!("[/* why */ /* a */ {own}]"),
            ),
            (format!("{{// why\n\"hooks\": {{\"BeforeAgent\": [{ours}]}}}}"), "{// why\n}".to_owned()),
        ] {
            let text = super::remove(&text, Dialect::Comments, hooks("gemini")).unwrap().unwrap();
            assert!(text.contains(&left), "{text}");
            serde_json::from_str::<Value>(&Text::read(&text, Dialect::Comments).plain).unwrap();
        }
        let wrong = super::install("{\n/* open\n}", Dialect::Comments, hooks("gemini")).unwrap_err();
        assert_eq!(wrong.line, 2);
    }

    #[test]
    fn a_new_file_is_plain_json_with_two_blanks() {
        let text = installed("");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text, format!("{value:#}\n"));
        let events: Vec<&String> = value["hooks"].as_object().unwrap().keys().collect();
        assert_eq!(events, ["UserPromptSubmit", "PostToolUse", "Notification", "Stop"]);
        assert_eq!(value["hooks"]["Notification"][0]["matcher"], "permission_prompt|elicitation_dialog");
        assert_eq!(value["hooks"]["Stop"][0]["hooks"][0]["type"], "command");
        assert!(value["hooks"]["Stop"][0].get("matcher").is_none());
        assert_eq!(remove(&text, hooks("claude")), Ok(None));
    }

    #[test]
    fn removing_restores_every_byte_however_it_was_laid_out() {
        let own = r#"{"type": "command", "command": "my-own \"hook\" \u00e9"}"#;
        for text in [
            "{\n  \"model\": \"opus\"\n}\n".to_owned(),
            "{\"b\":1,\"a\":[1.0, 1e400, 123456789012345678901234567890]}".to_owned(),
            "{\r\n\t\"model\": \"opus\",\r\n\t\"env\": {}\r\n}".to_owned(),
            format!(
                "{{\n    \"hooks\": {{\n        \"Stop\": [ {{ \"hooks\": [{own}] }} ]\n    }},\n    \"z\": null}}\n\n"
            ),
            format!("{{\"hooks\":{{\"Stop\":[{{\"matcher\":\"\",\"hooks\":[{own}]}}],\"PreToolUse\":[]}},\"x\":true}}"),
        ] {
            let with = installed(&text);
            assert_ne!(with, text);
            serde_json::from_str::<Value>(&with.replace("1e400", "1")).unwrap();
            assert_eq!(installed(&with), with, "a second time changes nothing");
            assert_eq!(remove(&with, hooks("claude")).unwrap().as_deref(), Some(&*text));
            assert_eq!(remove(&text, hooks("claude")).unwrap().as_deref(), Some(&*text), "nothing of ours is in it");
        }
    }

    #[test]
    fn the_users_own_layout_is_followed() {
        let text = installed("{\n\t\"model\": \"opus\"\n}\n");
        assert!(
            text.starts_with("{\n\t\"model\": \"opus\",\n\t\"hooks\": {\n\t\t\"UserPromptSubmit\": [\n\t\t\t{\n"),
            "{text}"
        );
        assert!(text.ends_with("\n\t\t]\n\t}\n}\n"), "{text}");
        assert!(!text.contains("  "), "{text}");
    }

    #[test]
    fn what_the_user_put_beside_and_behind_ours_stays() {
        let mut value: Value = serde_json::from_str(&installed("{}")).unwrap();
        let own = serde_json::json!({ "type": "command", "command": "mine" });
        let events = value["hooks"].as_object_mut().unwrap();
        events["Stop"][0]["hooks"].as_array_mut().unwrap().push(own.clone());
        events["PostToolUse"].as_array_mut().unwrap().push(serde_json::json!({ "matcher": "Bash", "hooks": [own] }));
        value["model"] = "opus".into();
        let text = format!("{value:#}");
        assert_eq!(installed(&text), text);
        let left: Value = serde_json::from_str(&remove(&text, hooks("claude")).unwrap().unwrap()).unwrap();
        let expected = serde_json::json!({
            "hooks": {
                "PostToolUse": [{ "matcher": "Bash", "hooks": [own] }],
                "Stop": [{ "hooks": [own] }],
            },
            "model": "opus",
        });
        assert_eq!(left, expected);
    }

    #[test]
    fn a_hook_for_other_events_of_the_same_name_is_not_ours_yet() {
        // Two agents in one directory, as `sandbox.agent_config_dir` without `{agent}` has it.
        let claude = installed("");
        let both = install(&claude, hooks("gemini")).unwrap();
        let value: Value = serde_json::from_str(&both).unwrap();
        assert_eq!(value["hooks"]["Notification"].as_array().unwrap().len(), 2);
        assert_eq!(installed(&both), both);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let wrong = |text: &str| {
            let wrong = install(text, hooks("claude")).unwrap_err();
            assert_eq!(remove(text, hooks("claude")).unwrap_err(), wrong);
            (wrong.line, wrong.message)
        };
        assert_eq!(wrong("{\n  \"a\": 1\n  \"b\": 2\n}").0, 3);
        assert_eq!(wrong("// a remark\n{}").0, 1);
        assert_eq!(wrong("\n[]"), (2, "the whole file must be an object, in braces".to_owned()));
        assert_eq!(wrong("{\n\"hooks\":\n[]}"), (3, "'hooks' must be an object, in braces".to_owned()));
        assert_eq!(wrong("{\"hooks\": {\n\"Stop\": {}}}"), (2, "'hooks.Stop' must be a list".to_owned()));
    }
}
