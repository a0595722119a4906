//! The flags that change `lima.yaml` before it is written: Lima splices them into yq expressions, of which only plain
//! assignments are understood here.

use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::flags::{Flag, Takes, Words};

/// Flags of every command that edits.
pub(crate) const EDIT: [Flag; 16] = [
    Flag("cpus", None, Takes::Count),
    Flag("memory", None, Takes::Number),
    Flag("mount", None, Takes::List),
    Flag("mount-only", None, Takes::List),
    Flag("mount-none", None, Takes::Switch),
    Flag("mount-type", None, Takes::Text),
    Flag("mount-writable", None, Takes::Switch),
    Flag("ssh-port", None, Takes::Count),
    Flag("port-forward", None, Takes::List),
    Flag("plain", None, Takes::Switch),
    Flag("set", None, Takes::Text),
    Flag("disk", None, Takes::Number),
    Flag("vm-type", None, Takes::Text),
    Flag("arch", None, Takes::Text),
    Flag("containerd", None, Takes::Text),
    Flag("param", None, Takes::List),
];

/// Applies the flags; whether there was anything to change.
pub(crate) fn apply(tree: &mut Value, words: &Words) -> Result<bool> {
    let before = tree.clone();
    let count = |name: &str| words.text(name).and_then(|n| n.parse::<u64>().ok());
    if let Some(n) = count("cpus") {
        put(tree, "cpus", json!(n));
    }
    if let Some(n) = count("ssh-port") {
        put(tree, "ssh.localPort", json!(n));
    }
    for name in ["memory", "disk"] {
        if let Some(n) = words.text(name) {
            put(tree, name, json!(format!("{n}GiB")));
        }
    }
    for (name, key) in [("mount-type", "mountType"), ("vm-type", "vmType"), ("arch", "arch")] {
        if let Some(value) = words.text(name) {
            put(tree, key, json!(value));
        }
    }
    if words.has("plain") {
        put(tree, "plain", json!(words.on("plain")));
    }
    if words.on("mount-none") || words.has("mount-only") {
        put(tree, "mounts", json!([]));
    }
    let mut mounts = taken(tree, "mounts");
    for mount in words.list("mount").into_iter().chain(words.list("mount-only")) {
        let location = mount.strip_suffix(":w").unwrap_or(mount);
        if !mounts.iter().any(|m| m["location"] == location) {
            mounts.push(json!({"location": location, "writable": mount.ends_with(":w")}));
        }
    }
    if words.has("mount-writable") {
        for mount in mounts.iter_mut().filter_map(Value::as_object_mut) {
            mount.insert("writable".into(), json!(words.on("mount-writable")));
        }
    }
    put_back(tree, "mounts", mounts);
    let mut forwards = taken(tree, "portForwards");
    for forward in words.list("port-forward") {
        let (host, guest) =
            forward.split_once(':').ok_or(Failure::new(format!("invalid port forward \"{forward}\"")))?;
        forwards.push(json!({"hostPort": host, "guestPort": guest, "static": true}));
    }
    put_back(tree, "portForwards", forwards);
    for param in words.list("param") {
        let (key, value) = param.split_once('=').ok_or(Failure::new(format!("invalid param \"{param}\"")))?;
        put(tree, &format!("param.{key}"), json!(value));
    }
    if let Some(mode) = words.text("containerd") {
        let on = |word: &str| mode.split('+').any(|m| m == word);
        put(tree, "containerd", json!({"user": on("user"), "system": on("system")}));
    }
    if let Some(expression) = words.text("set") {
        for assignment in expression.split(" | ") {
            assign(tree, assignment)?;
        }
    }
    Ok(*tree != before)
}

/// A list of the tree, out of it; [`put_back`] ends that.
fn taken(tree: &mut Value, key: &str) -> Vec<Value> {
    match tree.get_mut(key).map(Value::take) {
        Some(Value::Array(list)) => list,
        _ => vec![],
    }
}

fn put_back(tree: &mut Value, key: &str, list: Vec<Value>) {
    if !list.is_empty() || tree.get(key).is_some() {
        put(tree, key, json!(list));
    }
}

/// Puts a value at `a.b`, whatever stood there.
fn put(tree: &mut Value, path: &str, value: Value) {
    let mut at = tree;
    for key in path.split('.') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[key];
    }
    *at = value;
}

/// `.a.b = JSON`.
fn assign(tree: &mut Value, text: &str) -> Result {
    let foreign = || Failure::new(format!("fake-limactl understands only `.key = value` of yq, not: {text}"));
    let (path, value) = text.split_once('=').ok_or_else(foreign)?;
    let path = path.trim().strip_prefix('.').ok_or_else(foreign)?;
    let value: Value = serde_json::from_str(value.trim()).map_err(|_| foreign())?;
    if path.split('.').any(|key| key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) {
        return Err(foreign());
    }
    put(tree, path, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::flags::read;

    fn edited(words: &[&str]) -> Result<Value> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        let mut tree = json!({"mounts": [{"location": "/a"}]});
        apply(&mut tree, &read(&words, &EDIT, true)?)?;
        Ok(tree)
    }

    #[test]
    fn flags_change_the_tree() {
        let tree = edited(&["--cpus=2", "--memory=1.5", "--mount=/b:w", "--set", ".ssh.localPort = 1 | .plain = true"])
            .unwrap();
        let expected = json!({
            "mounts": [{"location": "/a"}, {"location": "/b", "writable": true}],
            "cpus": 2, "memory": "1.5GiB", "ssh": {"localPort": 1}, "plain": true
        });
        assert_eq!(tree, expected);
        assert_eq!(edited(&["--mount-none"]).unwrap()["mounts"], json!([]));
    }

    #[test]
    fn what_is_not_understood_of_yq_is_refused() {
        assert!(edited(&["--set", "del(.mounts)"]).is_err());
        assert!(edited(&["--set", ".mounts += [1]"]).is_err());
    }
}
