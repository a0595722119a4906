//! What a value must look like, as functions for the table of keys. Meaning that needs more than the value itself
//! (does the path exist, may it be mounted) is checked where it is used.

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer};

use super::node::{Node, Tree, Wrong};
use super::types::{Layout, Pane, Window};

/// Checks one value.
pub(super) type Check = fn(&Node) -> Result<(), Wrong>;

/// One value of this type.
pub(super) fn one<T: DeserializeOwned>(node: &Node) -> Result<(), Wrong> {
    serde_json::from_value::<T>(node.value()).map(drop).map_err(|e| Wrong::new(node.line, reword(&e)))
}

/// The complaint in the words of our other complaints.
fn reword(error: &serde_json::Error) -> String {
    let said = error.to_string().replace('`', "'");
    match said.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected ")) {
        Some((found, wanted)) => format!("must be {wanted}, and is {found}"),
        None => said,
    }
}

/// A list of them; a complaint names the element's line.
pub(super) fn each<T: DeserializeOwned>(node: &Node) -> Result<(), Wrong> {
    let Tree::List(list) = &node.tree else {
        return Err(Wrong::new(node.line, format!("must be a list, and is {}", node.kind())));
    };
    list.iter().try_for_each(one::<T>)
}

/// A mapping from names to values; a complaint names the entry's line.
pub(super) fn map<K: DeserializeOwned, V: DeserializeOwned>(node: &Node) -> Result<(), Wrong> {
    let Tree::Map(map) = &node.tree else {
        return Err(Wrong::new(node.line, format!("must be a mapping, and is {}", node.kind())));
    };
    for (key, value) in map {
        one::<K>(&Node { line: value.line, tree: Tree::Text(key.clone()) })?;
        one::<V>(value)?;
    }
    Ok(())
}

/// Anything: keys that other commands read.
pub(super) fn anything(_: &Node) -> Result<(), Wrong> {
    Ok(())
}

/// A list of panes that fit together.
pub(super) fn panes(node: &Node) -> Result<(), Wrong> {
    each::<Pane>(node)?;
    let panes: Vec<Pane> = serde_json::from_value(node.value()).map_err(|e| Wrong::new(node.line, reword(&e)))?;
    let line_of = |index: usize| match &node.tree {
        Tree::List(list) => list[index].line,
        _ => node.line,
    };
    for (index, pane) in panes.iter().enumerate() {
        let complaint = match pane {
            Pane { percentage: Some(0 | 101..), .. } => "'percentage' must be between 1 and 100",
            Pane { percentage: Some(_), size: Some(_), .. } => "'percentage' and 'size' exclude each other",
            Pane { split: Some(_), .. } | Pane { size: Some(_), .. } | Pane { percentage: Some(_), .. }
                if index == 0 =>
            {
                "the first pane divides nothing: no 'split', 'size' or 'percentage'"
            }
            _ => continue,
        };
        return Err(Wrong::new(line_of(index), complaint));
    }
    match panes.iter().enumerate().filter(|(_, pane)| pane.zoom).nth(1) {
        Some((index, _)) => Err(Wrong::new(line_of(index), "only one pane can have 'zoom'")),
        None => Ok(()),
    }
}

/// Named sets of panes.
pub(super) fn layouts(node: &Node) -> Result<(), Wrong> {
    map::<String, Layout>(node)?;
    let Tree::Map(map) = &node.tree else { return Ok(()) };
    map.iter().filter_map(|(_, layout)| layout.get("panes")).try_for_each(panes)
}

/// Windows with their panes.
pub(super) fn windows(node: &Node) -> Result<(), Wrong> {
    each::<Window>(node)?;
    let Tree::List(list) = &node.tree else { return Ok(()) };
    list.iter().filter_map(|window| window.get("panes")).filter(|node| node.tree != Tree::Null).try_for_each(panes)
}

/// Declares a string that must satisfy a condition.
macro_rules! text_that {
    ($($(#[$doc:meta])* $name:ident: $condition:expr, $wanted:literal;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let condition: fn(&str) -> bool = $condition;
                if condition(&text) { Ok(Self) } else { Err(de::Error::custom(concat!("must be ", $wanted))) }
            }
        }
    )*};
}

text_that! {
    /// Text that can be an argument.
    Text: |text| !text.contains('\0'), "text without a zero byte";
    /// Text that says something.
    Filled: |text| !text.trim().is_empty() && !text.contains('\0'), "text that is not empty";
    /// A name git could know.
    Ref: |text| !text.is_empty() && !text.starts_with('-') && !text.contains(|c: char| c.is_control() || c == ' '),
        "the name of a branch";
    /// A backend, which is also part of a file name.
    Backend: is_backend, "the name of a backend: small letters, digits, '-' and '_'";
    /// A variable for a guest.
    EnvName: |text| (is_env_name(text) && !text.starts_with("WM_")) || crate::mutant::off("p30_names"),
        "the name of a variable: letters, digits and '_', not beginning with a digit or with 'WM_'";
    /// A host command a guest may call.
    HostCommand: is_host_command,
        "the name of a program: up to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit";
    /// A path below the main checkout.
    Inside: is_inside, "a path inside the main checkout: relative, without '..'";
    /// A value on a command line that must not look like a flag.
    Value: |text| !text.starts_with('-') && !text.is_empty() && !text.contains('\0'), "text that does not begin with '-'";
    /// A host name or address.
    HostName: |text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b)),
        "a host name or an address";
    /// Where worktrees go.
    WorktreeDir: is_worktree_dir, "a path in which '{project}' is the only placeholder";
    /// Where agents keep their settings in sandboxes.
    AgentDir: |text| is_absolute(text) && only_placeholder(text, "{agent}"),
        "an absolute path, or one that begins with '~/', in which '{agent}' is the only placeholder";
}

/// A number of connections.
pub(super) struct Connections;

impl<'de> Deserialize<'de> for Connections {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1..=1024 => Ok(Self),
            _ => Err(de::Error::custom("must be between 1 and 1024")),
        }
    }
}

pub(super) fn is_env_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_backend(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn is_host_command(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_inside(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['/', '~'])
        && !text.contains('\0')
        && text.split('/').all(|part| part != "..")
}

pub(super) fn is_absolute(text: &str) -> bool {
    (text.starts_with('/') || text == "~" || text.starts_with("~/")) && !text.contains('\0')
}

fn is_worktree_dir(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0') && only_placeholder(text, "{project}")
}

fn only_placeholder(text: &str, placeholder: &str) -> bool {
    !text.replace(placeholder, "").contains(['{', '}'])
}
