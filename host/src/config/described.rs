//! What a backend can be told, in words: the schema of its table for people. The schema comes from a plugin's manifest:
//! whatever it holds, what is shown of it is clean and bounded.

use std::fmt::Write as _;

use serde_json::Value;

use super::rules::{Rule, Unit};
use super::schema;
use crate::text;

/// Keys shown; more help nobody.
const MAX_KEYS: usize = 200;
/// Mappings within mappings.
const MAX_DEPTH: usize = 4;
/// Values named of those that are allowed.
const MAX_VALUES: usize = 20;

/// Every key of the table `sandbox.<name>`: what it takes, what holds without it, what a project may do to it, and its
/// description.
pub fn described(name: &str, schema: &Value) -> String {
    let mut keys = Vec::new();
    collect(schema, "", 0, &mut keys);
    if keys.is_empty() {
        return format!("It has no settings of its own: nothing belongs into 'sandbox.{}'.\n", text::line(name));
    }
    let mut shown = format!("Settings, in the table 'sandbox.{}' of your configuration:\n", text::line(name));
    for (path, schema) in keys.iter().take(MAX_KEYS) {
        let facts: Vec<String> =
            [Some(kind(schema, 0)), default(schema), project(schema)].into_iter().flatten().collect();
        let about = schema.get("description").and_then(Value::as_str).map(text::line).filter(|about| !about.is_empty());
        // Writing to a string cannot fail.
        let _ok = writeln!(shown, "  {path}: {}", text::line(&facts.join("; ")));
        if let Some(about) = about {
            let _ok = writeln!(shown, "      {about}");
        }
    }
    if keys.len() > MAX_KEYS {
        let _ok = writeln!(shown, "  … and {} more", keys.len() - MAX_KEYS);
    }
    shown
}

/// The keys of a mapping and of the mappings in it, by path.
fn collect<'a>(schema: &'a Value, above: &str, depth: usize, keys: &mut Vec<(String, &'a Value)>) {
    for (name, inner) in schema::properties(schema).into_iter().flatten() {
        let path = format!("{above}{}", text::line(name));
        if depth + 1 < MAX_DEPTH && schema::properties(inner).is_some_and(|inner| !inner.is_empty()) {
            collect(inner, &format!("{path}."), depth + 1, keys);
        } else {
            keys.push((path, inner));
        }
    }
}

/// What a value must look like.
fn kind(schema: &Value, depth: usize) -> String {
    if depth >= MAX_DEPTH {
        return "anything".to_owned();
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = allowed.iter().take(MAX_VALUES).map(schema::shown).collect();
        return values.join(" or ") + if allowed.len() > MAX_VALUES { " or …" } else { "" };
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let kinds: Vec<String> = any.iter().take(MAX_DEPTH).map(|one| kind(one, depth + 1)).collect();
        return kinds.join(" or ");
    }
    if schema::unit(schema) == Unit::Size {
        return "an amount such as '512M' or '8G'".to_owned();
    }
    let types = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().take(MAX_VALUES).filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut said: Vec<String> = types.iter().map(|name| text::line(schema::spoken(name))).collect();
    if types == ["array"]
        && let Some(items) = schema.get("items")
    {
        said = vec![format!("a list, each {}", kind(items, depth + 1))];
    }
    let mut said = if said.is_empty() { "anything".to_owned() } else { said.join(" or ") };
    for (word, bound) in [("at least", "minimum"), ("at most", "maximum")] {
        if let Some(number) = schema.get(bound).and_then(Value::as_f64) {
            let _ok = write!(said, ", {word} {number}");
        }
    }
    said
}

fn default(schema: &Value) -> Option<String> {
    schema.get("default").map(|value| format!("default {}", text::line(&schema::shown(value))))
}

/// What a project may do to it; nothing where that is nothing.
fn project(schema: &Value) -> Option<String> {
    let may = match schema::rule(schema).ok()? {
        Rule::No => return None,
        Rule::Ask => "may set it once you agreed".to_owned(),
        Rule::Yes => "may set it".to_owned(),
        Rule::Lower => "may lower it".to_owned(),
        Rule::Add => "may add to it".to_owned(),
        Rule::Subset => "may leave out some of it".to_owned(),
        Rule::Only(value) => format!("may set it to '{}' only", text::line(value)),
    };
    Some(format!("a project {may}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_key_is_told_with_type_default_and_rule() {
        let schema = json!({ "properties": {
            "runtime": { "enum": ["a", "b"], "description": "The engine.\nSecond line." },
            "memory": { "type": ["string", "integer"], "x-unit": "size", "default": "4G", "x-project": "lower" },
            "cpus": { "type": "number", "minimum": 0.5, "maximum": 64, "default": 4 },
            "devices": { "type": "array", "items": { "type": "string" }, "x-project": "add" },
            "root": { "type": "boolean", "default": false, "x-project": "only false" },
            "net": { "type": "object", "properties": { "mode": { "type": "string", "x-project": "nonsense" } } },
            "free": {}
        }});
        let shown = described("acme", &schema);
        for line in [
            "Settings, in the table 'sandbox.acme' of your configuration:",
            "  runtime: 'a' or 'b'",
            "      The engine. Second line.",
            "  memory: an amount such as '512M' or '8G'; default '4G'; a project may lower it",
            "  cpus: a number, at least 0.5, at most 64; default 4",
            "  devices: a list, each a string; a project may add to it",
            "  root: true or false; default false; a project may set it to 'false' only",
            "  net.mode: a string",
            "  free: anything",
        ] {
            assert!(shown.lines().any(|one| one == line), "{line}\n{shown}");
        }
    }

    #[test]
    fn whatever_a_schema_holds_little_and_clean_text_comes_of_it() {
        for empty in [json!(null), json!([]), json!({ "properties": {} }), json!({ "properties": 3 })] {
            assert!(described("acme", &empty).contains("no settings of its own"), "{empty}");
        }
        let (mut lists, mut maps) = (json!({ "type": "array" }), json!({ "type": "object" }));
        for _ in 0..100 {
            lists = json!({ "type": "array", "items": lists });
            maps = json!({ "type": "object", "properties": { "in": maps } });
        }
        let mut many = serde_json::Map::new();
        for i in 0..1000 {
            many.insert(format!("k{i}"), json!({ "enum": vec!["v"; 1000], "default": "x".repeat(10_000) }));
        }
        many.insert("\x1b[2J\nevil".into(), json!({ "type": "\x1b[1m", "description": "\x07bell\nSettings, in" }));
        let shown = described("acme", &json!({ "properties": { "a": lists, "b": { "properties": many }, "c": maps } }));
        assert!(!shown.contains(['\x1b', '\x07']) && shown.contains("and ") && shown.contains(" more"), "{shown}");
        assert!(shown.len() < 300_000 && shown.lines().count() <= 2 * MAX_KEYS + 2, "{}", shown.len());
    }
}
