//! Backends' own tables, judged by their schemas.

use serde_json::json;

use super::*;
use crate::config::backend_table::{BackendTable, merge_backend_table};

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "free": {"type": "string", "x-project": "yes"},
        "never": {"type": "string"},
        "odd": {"type": "string", "x-project": "sometimes"},
        "start": {"type": "string", "x-project": "ask"},
        "cpus": {"type": "integer", "minimum": 1, "x-project": "lower"},
        "disk": {"type": "string", "x-unit": "size", "x-project": "lower", "default": "100GiB"},
        "memory": {"type": ["string", "integer"], "x-unit": "size", "x-project": "lower"},
        "masks": {"type": "array", "items": {"type": "string"}, "x-project": "add"},
        "devices": {"type": "array", "items": {"type": "string"}, "x-project": "subset"},
        "isolation": {"enum": ["project", "shared"], "default": "project", "x-project": "only project"},
        "nested": {"type": "object", "properties": {"on": {"type": "boolean", "x-project": "only true"}}},
        "whole": {"type": "object", "x-project": "ask", "properties": {"a": {"type": "string"}}},
    }})
}

fn judge(user: &str, project: &str, answer: Answer) -> (Setting, Result<BackendTable, String>) {
    let setting = Setting::new(user, project);
    let loaded = setting.load();
    let table = merge_backend_table("acme", &schema(), &loaded, &mut Always(answer, 0));
    let table = table.map_err(|problems| problems.iter().map(|p| p.to_string() + "\n").collect());
    (setting, table)
}

#[test]
fn p27_a_backends_rules_hold_before_its_code_runs() {
    let user = r#"
sandbox:
  acme: {never: own, odd: own, start: own, cpus: 2, memory: 4G, masks: [a], devices: [/dev/x], isolation: project,
    nested: {on: true}}
"#;
    let loose = r#"
sandbox:
  acme:
    never: evil
    odd: evil
    start: evil
    cpus: 64
    disk: 200GiB
    memory: 4.5GiB
    devices: [/dev/kvm]
    isolation: shared
    nested: {on: false}
    whole: {a: b}
"#;
    let (setting, table) = judge(user, loose, Answer::Nobody);
    let table = table.unwrap();
    assert_eq!(table.project, json!({}));
    assert_eq!(table.merged, table.user);
    let lines: Vec<String> = table.refusals.iter().map(ToString::to_string).collect();
    let warnings = table.warnings.iter().map(ToString::to_string);
    let said = lines.into_iter().chain(warnings).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(said.replace(setting.base().to_str().unwrap(), ""));
}

#[test]
fn p27_a_project_may_tighten_a_backends_table() {
    let user = "sandbox: {acme: {cpus: 4, memory: 16G, masks: [a], devices: [/dev/x, /dev/y], isolation: shared}}\n";
    let project = r#"
sandbox:
  acme: {free: yes, cpus: 2, memory: 900M, disk: 1GiB, masks: [b, a], devices: [/dev/y], isolation: project,
    nested: {on: true}, start: new}
"#;
    let (_, table) = judge(user, project, Answer::Yes);
    let table = table.unwrap();
    assert_eq!(table.refusals, []);
    insta::assert_json_snapshot!(json!({"project": table.project, "merged": table.merged}));
    assert_eq!(table.place("memory").unwrap().line, 3);
    assert!(table.place("nested.on").unwrap().file.ends_with(".workmux.yaml"));
}

#[test]
fn p27_without_a_value_of_the_users_a_project_may_limit() {
    let (_, table) = judge("", "sandbox: {acme: {cpus: 64, devices: [/dev/x], masks: [m]}}\n", Answer::Nobody);
    let table = table.unwrap();
    assert_eq!(table.merged, json!({"cpus": 64, "masks": ["m"]}));
    assert_eq!(table.refusals.iter().map(|r| r.key.as_str()).collect::<Vec<_>>(), ["sandbox.acme.devices"]);
}

#[test]
fn wrong_types_are_errors_with_their_line_and_unknown_keys_are_not() {
    let user =
        "sandbox:\n  acme:\n    cpus: many\n    memory: 4 apples\n    masks:\n      - a\n      - [b]\n    memroy: 1\n";
    let (setting, table) = judge(user, "sandbox: {acme: {isolation: other, never: [not, checked]}}\n", Answer::Nobody);
    insta::assert_snapshot!(table.unwrap_err().replace(setting.base().to_str().unwrap(), ""));
    let (setting, table) =
        judge("sandbox: {acme: {memroy: 1, nested: {off: 1}}}\n", "sandbox: {acme: {cpus: }}\n", Answer::Nobody);
    let table = table.unwrap();
    assert_eq!(table.merged, json!({}));
    let said: Vec<String> = table.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n").replace(setting.base().to_str().unwrap(), ""));
}

#[test]
fn a_backend_without_a_table_gets_an_empty_one() {
    let (_, table) = judge("", "", Answer::Nobody);
    assert_eq!(table.unwrap().merged, json!({}));
}
