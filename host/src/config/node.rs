//! A YAML file as a tree that knows its lines, read within bounds.
//!
//! Everything a project file says is hostile: size, depth, node count and alias expansion are limited here, and
//! nothing here knows what a key means.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::Options;
use serde_saphyr::{Error, Spanned};

use crate::text;

/// Largest file that is read.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 50_000;
const MAX_ALIASES: usize = 1000;

/// A value and the line it stands on; for the value of a mapping, the line of its key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Counted from 1.
    pub(super) line: u64,
    /// The value.
    pub(super) tree: Tree,
}

/// What YAML can say.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    /// Also what an empty value is.
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Something wrong at a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wrong {
    /// Counted from 1; 0 = no particular line.
    pub(super) line: u64,
    /// What.
    pub(super) message: String,
}

impl Wrong {
    /// A message for one line.
    pub(super) fn new(line: u64, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// Reads one document.
pub(super) fn parse(bytes: &[u8]) -> Result<Node, Wrong> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count() as u64 + 1;
        Wrong::new(line, "is not UTF-8")
    })?;
    serde_saphyr::from_str_with_options(text, options()).map_err(|e| explain(&e))
}

fn options() -> Options {
    let common = serde_saphyr::options! {
        with_snippet: false,
        emit_comments: false,
        // As serde_yaml reads them: only true and false are booleans, 0755 and 1_000 are text.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    if crate::mutant::off("p29_budget") {
        return common;
    }
    let mut bounded = common;
    bounded.budget = serde_saphyr::budget! {
        max_depth: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
        max_documents: 1,
        max_events: MAX_NODES * 4,
        max_nodes: MAX_NODES,
        max_aliases: MAX_ALIASES,
        max_anchors: MAX_ALIASES,
        max_merge_keys: MAX_ALIASES,
        max_recorded_anchor_events: MAX_NODES,
        max_recorded_anchor_bytes: 4 * MAX_BYTES,
        max_total_scalar_bytes: 2 * MAX_BYTES,
    };
    bounded.alias_limits = serde_saphyr::alias_limits! {
        max_total_replayed_events: MAX_NODES,
        max_replay_stack_depth: MAX_DEPTH,
        max_alias_expansions_per_anchor: MAX_ALIASES,
    };
    bounded
}

/// The parser's errors in our words; their advice is for programmers.
fn explain(error: &Error) -> Wrong {
    let error = error.without_snippet();
    let line = error.location().map_or(0, |location| location.line());
    let said = error.to_string();
    let message = match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("'{}' is set twice", text::line(key)),
        Error::DuplicateMappingKey { key: None, .. } => "a key is set twice".to_owned(),
        _ if ["budget breached", "limit exceeded", "alias replay", "alias expansion"]
            .iter()
            .any(|p| said.contains(p)) =>
        {
            if said.contains("Documents") {
                "holds more than one document".to_owned()
            } else {
                "is nested too deeply or expands to too much".to_owned()
            }
        }
        _ => text::line(said.split(" at line ").next().unwrap_or(&said)),
    };
    Wrong { line, message }
}

impl Node {
    /// The same without lines.
    pub(super) fn value(&self) -> Value {
        match &self.tree {
            Tree::Null => Value::Null,
            Tree::Bool(b) => Value::Bool(*b),
            Tree::Number(n) => Value::Number(n.clone()),
            Tree::Text(text) => Value::String(text.clone()),
            Tree::List(list) => list.iter().map(Node::value).collect(),
            Tree::Map(map) => map.iter().map(|(key, node)| (key.clone(), node.value())).collect::<Map<_, _>>().into(),
        }
    }

    /// A value that stands in no file, or whose line no longer matters.
    pub(super) fn from_value(value: &Value, line: u64) -> Self {
        let tree = match value {
            Value::Null => Tree::Null,
            Value::Bool(b) => Tree::Bool(*b),
            Value::Number(n) => Tree::Number(n.clone()),
            Value::String(text) => Tree::Text(text.clone()),
            Value::Array(list) => Tree::List(list.iter().map(|value| Self::from_value(value, line)).collect()),
            Value::Object(map) => {
                Tree::Map(map.iter().map(|(key, value)| (key.clone(), Self::from_value(value, line))).collect())
            }
        };
        Self { line, tree }
    }

    /// What kind of value this is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.tree {
            Tree::Null => "nothing",
            Tree::Bool(_) => "true or false",
            Tree::Number(_) => "a number",
            Tree::Text(_) => "a string",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a mapping",
        }
    }

    /// The value of a mapping's key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.tree {
            Tree::Map(map) => map.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), tree: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        Number::from_f64(value).map(Tree::Number).ok_or_else(|| E::custom("not a number that can be used"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let node: Node = entries.next_value()?;
            map.push((key.value, Node { line: key.referenced.line(), ..node }));
        }
        Ok(Tree::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_lines() {
        let node = parse(b"# top\na: 1\n\nb:\n  - x\n  - y: yes\nc: &n {d: 0755}\ne: *n\n").unwrap();
        assert_eq!(node.get("a").unwrap().line, 2);
        assert_eq!(node.get("b").unwrap().line, 4);
        let Tree::List(list) = &node.get("b").unwrap().tree else { panic!() };
        assert_eq!((list[0].line, list[1].line), (5, 6));
        assert_eq!(
            node.value(),
            serde_json::json!({"a": 1, "b": ["x", {"y": "yes"}], "c": {"d": "0755"}, "e": {"d": "0755"}})
        );
    }

    #[test]
    fn an_empty_file_is_nothing() {
        for empty in ["", "# only a comment\n", "---\n"] {
            assert_eq!(parse(empty.as_bytes()).unwrap().tree, Tree::Null);
        }
    }

    /// Name, file, line of the complaint, part of the complaint.
    fn corpus() -> Vec<(&'static str, Vec<u8>, u64, &'static str)> {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..5 {
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(","));
        }
        let long = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(900_000), vec!["*a"; 40].join(","));
        let deep: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        let wide: String = (0..60_000).map(|n| format!("k{n}: 1\n")).collect();
        vec![
            ("alias bomb", bomb.into_bytes(), 5, "expands to too much"),
            ("long alias", long.into_bytes(), 2, "expands to too much"),
            ("deep flow", "[".repeat(500_000).into_bytes(), 1, "nested too deeply"),
            ("deep dashes", "- ".repeat(500_000).into_bytes(), 1, "nested too deeply"),
            ("deep block", deep.into_bytes(), 33, "nested too deeply"),
            ("wide", wide.into_bytes(), 25_000, "expands to too much"),
            ("endless alias", b"a: &a [*a]\n".to_vec(), 1, ""),
            ("unknown alias", b"a: *b\n".to_vec(), 1, "unknown anchor"),
            ("twice", b"a: 1\nb: 2\na: 3\n".to_vec(), 3, "'a' is set twice"),
            ("two documents", b"a: 1\n---\nb: 2\n".to_vec(), 2, "more than one document"),
            ("list as key", b"x: 1\n? [a, b]\n: 1\n".to_vec(), 2, ""),
            ("tab", b"a:\n\tb: 1\n".to_vec(), 2, "tab"),
            ("open list", b"a: [1\nb: 2\n".to_vec(), 2, ""),
            ("open quote", b"a: \"x\n\n".to_vec(), 1, "quote"),
            ("NUL", b"a: \0\n".to_vec(), 1, ""),
            ("not UTF-8", b"a: 1\nb: \xff\n".to_vec(), 2, "not UTF-8"),
            ("infinity", b"a: .inf\n".to_vec(), 1, ""),
            ("colons", ":".repeat(1_000_000).into_bytes(), 1, ""),
            ("control in a key", b"\"a\\e[31m\": 1\n\"a\\e[31m\": 1\n".to_vec(), 2, "'a' is set twice"),
        ]
    }

    #[test]
    fn p29_bad_files_are_refused_with_their_line() {
        for (name, bytes, line, part) in corpus() {
            let wrong = parse(&bytes).err().unwrap_or_else(|| panic!("{name} was accepted"));
            assert_eq!(wrong.line, line, "{name}: {}", wrong.message);
            assert!(wrong.message.contains(part), "{name}: {}", wrong.message);
            assert!(!wrong.message.chars().any(char::is_control), "{name}: {}", wrong.message);
        }
    }
}
