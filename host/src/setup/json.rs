//! Puts hooks into a JSON text and takes them out again, touching no other byte of it.
//!
//! The text is the user's: it is not read into values and written anew, which would lose how it is laid out, and numbers
//! that do not fit. `serde_json` says where each value stands, and pieces are cut and put in there.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::hooks::Hook;

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
pub(super) fn install(text: &str, hooks: &[Hook]) -> Result<String, Wrong> {
    let mut text = if text.trim().is_empty() { "{}\n".to_owned() } else { text.to_owned() };
    for hook in hooks {
        if let Some(more) = with(&text, hook)? {
            text = more;
        }
    }
    Ok(text)
}

/// The text without these hooks, and without what is empty for lack of them; nothing where nothing else was in it.
pub(super) fn remove(text: &str, hooks: &[Hook]) -> Result<Option<String>, Wrong> {
    if text.trim().is_empty() {
        return Ok(Some(text.to_owned()));
    }
    let mut left = text.to_owned();
    while let Some(less) = without_one(&left, hooks)? {
        left = less;
    }
    Ok((left == text || left.trim() != "{}").then_some(left))
}

/// The text with this hook, if it is not there.
fn with(text: &str, hook: &Hook) -> Result<Option<String>, Wrong> {
    let style = Style::of(text);
    let root = Object::root(text)?;
    let Some(all) = root.last(KEY) else {
        let value = serde_json::json!({ hook.event: [hook.group()] });
        return Ok(Some(root.list.append(text, &style.member(KEY, &value, 1), &style, 0)));
    };
    let all = Object::at(text, all, "'hooks'")?;
    let Some(event) = all.last(hook.event) else {
        let value = Value::Array(vec![hook.group()]);
        return Ok(Some(all.list.append(text, &style.member(hook.event, &value, 2), &style, 1)));
    };
    let groups = groups(text, event, hook.event)?;
    for group in &groups.items {
        // The same hook for other events of this name is another one.
        if handlers(text, group).is_some_and(|found| found.ours(hook)) && matcher(&text[group.clone()]) == hook.matcher
        {
            return Ok(None);
        }
    }
    Ok(Some(groups.append(text, &style.value(&hook.group(), 3), &style, 2)))
}

/// The text without one piece of ours: the largest that holds nothing else.
fn without_one(text: &str, hooks: &[Hook]) -> Result<Option<String>, Wrong> {
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
                found.list.without(text, handler_at)
            } else if groups.items.len() > 1 {
                groups.without(text, group_at)
            } else if all.list.items.len() > 1 {
                all.list.without(text, event_at)
            } else {
                root.list.without(text, at)
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
    fn append(&self, text: &str, element: &str, style: &Style, depth: usize) -> String {
        let (before, line) = (style.line(depth), style.line(depth + 1));
        match self.items.last() {
            Some(last) => format!("{},{line}{element}{}", &text[..last.end], &text[last.end..]),
            None => {
                format!("{}{line}{element}{before}{}", &text[..self.all.start + 1], &text[self.all.end - 1..])
            }
        }
    }

    /// The text without one element: exactly what [`Self::append`] put in, where it is the last.
    fn without(&self, text: &str, at: usize) -> String {
        let cut = match (at.checked_sub(1), self.items.get(at + 1)) {
            (Some(before), _) => self.items[before].end..self.items[at].end,
            (None, None) => self.all.start + 1..self.all.end - 1,
            (None, Some(_)) => {
                let end = self.items[at].end;
                let comma = text[end..].find(',').map_or(end, |comma| end + comma + 1);
                skip_blanks(text, self.all.start + 1)..skip_blanks(text, comma)
            }
        };
        format!("{}{}", &text[..cut.start], &text[cut.end..])
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

    fn installed(text: &str) -> String {
        install(text, hooks("claude")).unwrap()
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
