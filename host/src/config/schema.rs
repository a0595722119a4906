//! The part of JSON Schema a backend's table is checked by before any of the backend's code runs: `type`, `enum`,
//! `minimum`, `maximum`, `items`, `properties`, `additionalProperties`, `anyOf`, and our `x-unit: size`.
//!
//! Other words of JSON Schema are ignored; the backend checks meaning itself. A schema comes from a plugin's manifest:
//! whatever it holds, nothing here panics, and an unknown `x-project` means `no`.

use serde_json::{Map, Value};

use super::node::{Node, Tree, Wrong};
use super::rules::{Rule, Unit, size};

/// How the schema of a key says its values compare.
pub(super) fn unit(schema: &Value) -> Unit {
    if schema.get("x-unit").is_some_and(|unit| unit == "size") { Unit::Size } else { Unit::Number }
}

/// What a project may do to a key, or the text that is no rule.
pub(super) fn rule(schema: &Value) -> Result<Rule<'_>, String> {
    match schema.get("x-project") {
        None => Ok(Rule::No),
        Some(said) => said.as_str().and_then(Rule::parse).ok_or_else(|| said.to_string()),
    }
}

/// The properties of a mapping's schema.
pub(super) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

/// The schema of one key of a mapping: its own, else the one for all others.
pub(super) fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let own = properties(schema).and_then(|properties| properties.get(name));
    own.or_else(|| schema.get("additionalProperties").filter(|other| other.is_object() || **other == true))
}

/// Checks a value and everything in it.
pub(super) fn check(node: &Node, schema: &Value) -> Result<(), Wrong> {
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let mut wrongs = any.iter().map(|one| check(node, one).err());
        if wrongs.clone().all(|wrong| wrong.is_some()) {
            let first = wrongs.next().flatten();
            return Err(first.unwrap_or_else(|| Wrong::new(node.line, "cannot have any value")));
        }
    }
    let wrong = |message: String| Err(Wrong::new(node.line, message));
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|name| is_a(node, name)) {
        let wanted: Vec<&str> = types.iter().map(|name| spoken(name)).collect();
        return wrong(format!("must be {}, and is {}", wanted.join(" or "), node.kind()));
    }
    let value = node.value();
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(&value)
    {
        let allowed: Vec<String> = allowed.iter().map(shown).collect();
        return wrong(format!("must be one of {}", allowed.join(", ")));
    }
    if unit(schema) == Unit::Size && size(&value).is_none() {
        return wrong("must be an amount such as '512M' or '8G'".to_owned());
    }
    if let Some(number) = value.as_f64() {
        let bound = |name| schema.get(name).and_then(Value::as_f64);
        if let Some(least) = bound("minimum").filter(|least| number < *least) {
            return wrong(format!("must be at least {least}"));
        }
        if let Some(most) = bound("maximum").filter(|most| number > *most) {
            return wrong(format!("must be at most {most}"));
        }
    }
    match &node.tree {
        Tree::List(list) => match schema.get("items") {
            Some(items) => list.iter().try_for_each(|item| check(item, items)),
            None => Ok(()),
        },
        Tree::Map(map) => map.iter().try_for_each(|(name, inner)| match property(schema, name) {
            Some(schema) => check(inner, schema),
            None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                Err(Wrong::new(inner.line, format!("has no key '{}'", crate::text::line(name))))
            }
            None => Ok(()),
        }),
        _ => Ok(()),
    }
}

fn is_a(node: &Node, name: &str) -> bool {
    match (&node.tree, name) {
        (Tree::Null, "null") | (Tree::Bool(_), "boolean") | (Tree::Number(_), "number") => true,
        (Tree::Number(number), "integer") => number.is_i64() || number.is_u64(),
        (Tree::Text(_), "string") | (Tree::List(_), "array") | (Tree::Map(_), "object") => true,
        _ => false,
    }
}

pub(super) fn spoken(name: &str) -> &str {
    match name {
        "null" => "nothing",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a string",
        "array" => "a list",
        "object" => "a mapping",
        other => other,
    }
}

pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| format!("'{}'", crate::text::line(text)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::node::parse;
    use super::*;

    #[test]
    fn values_are_checked_with_their_line() {
        let schema = json!({"type": "object", "properties": {
            "cpus": {"type": "integer", "minimum": 1, "maximum": 8},
            "memory": {"type": ["string", "integer"], "x-unit": "size"},
            "mode": {"enum": ["a", "b"]},
            "devices": {"type": "array", "items": {"anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"host_path": {"type": "string"}}, "additionalProperties": false},
            ]}},
        }});
        for (text, line, part) in [
            ("cpus: 2\nmemory: 8G\nmode: a\ndevices: [/dev/x, {host_path: /dev/y}]\nother: 1\n", 0, ""),
            ("x: 1\ncpus: many\n", 2, "must be a whole number, and is a string"),
            ("cpus: 1.5\n", 1, "must be a whole number"),
            ("cpus: 0\n", 1, "at least 1"),
            ("cpus: 9\n", 1, "at most 8"),
            ("memory: lots\n", 1, "'8G'"),
            ("memory: true\n", 1, "must be a string or a whole number"),
            ("mode: c\n", 1, "one of 'a', 'b'"),
            ("devices:\n  - /dev/x\n  - 7\n", 3, "must be a string"),
            ("devices:\n  - host: /dev/x\n", 2, ""),
        ] {
            let found = check(&parse(text.as_bytes()).unwrap(), &schema);
            match found {
                Ok(()) => assert_eq!(line, 0, "{text} was accepted"),
                Err(wrong) => {
                    assert_eq!(wrong.line, line, "{text}: {}", wrong.message);
                    assert!(wrong.message.contains(part), "{text}: {}", wrong.message);
                }
            }
        }
    }

    #[test]
    fn a_senseless_schema_does_no_harm() {
        let node = parse(b"a: [1, {b: c}]\n").unwrap();
        for schema in [
            json!(null),
            json!(7),
            json!({"type": 7}),
            json!({"type": ["what"]}),
            json!({"enum": 1}),
            json!({"anyOf": []}),
            json!({"properties": 1}),
            json!({"properties": {"a": 7}}),
            json!({"items": "x", "minimum": "y"}),
        ] {
            let _whatever = check(&node, &schema);
            assert!(rule(&schema).is_ok());
        }
        assert!(rule(&json!({"x-project": "everything"})).is_err());
        assert!(rule(&json!({"x-project": 1})).is_err());
    }
}
