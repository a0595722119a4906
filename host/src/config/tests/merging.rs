//! How the user's and the project's files become one.

use serde_json::json;

use super::*;
use crate::config::types::EnvValue;

#[test]
fn the_project_comes_over_the_user_within_its_limits() {
    let setting = Setting::new(
        r#"
agent: mine
agents:
  mine: codex --fast
  other: {command: ./run, type: claude, args: [-v], env: {KEY: {from_env: HOST_KEY}}}
main_branch: trunk
worktree_naming: basename
layouts:
  review: {panes: [{command: less}]}
  both: {panes: [{command: <agent>}]}
windows: [{name: one}]
files: {copy: [.env], symlink: [node_modules]}
status_icons: {working: W}
sandbox:
  enabled: true
  target: all
  image: base:1
  env: {PLAIN: "a'b\"c$(d)\ne=f"}
  extra_mounts: [/data, {host_path: ~/x, guest_path: /x, writable: true}]
  network: {max_connections: 64}
  acme: {cpus: 4}
"#,
        r#"
agent: other
main_branch: main
panes: [{command: make}, {command: <agent>, split: vertical}]
layouts:
  both: {panes: [{command: make}]}
files: {copy: ["<global>", .env.local]}
status_icons: {waiting: Q}
sandbox:
  network: {max_connections: 8}
  acme: {cpus: 2}
"#,
    );
    let loaded = setting.load();
    insta::assert_json_snapshot!(effective(&loaded));
    assert_eq!(setting.said(&loaded), "");
    let config = loaded.config(&["sandbox"]).unwrap();
    assert_eq!(config.agents["other"].env["KEY"], EnvValue::FromEnv { from_env: "HOST_KEY".to_owned() });
}

#[test]
fn p30_values_of_variables_are_exact_and_names_are_checked() {
    let setting = Setting::new(r#"sandbox: {env: {A_1: "'\"$(x)\n\ty=z", _: ""}}"#, "");
    let config = setting.load().config(&["sandbox.env"]).unwrap().clone();
    assert_eq!(config.sandbox.env["A_1"], "'\"$(x)\n\ty=z");
    assert_eq!(config.sandbox.env["_"], "");
    for bad in ["1A", "A-B", "A B", "''", "A=B", "Ä", "WM_RPC_TOKEN", "\"A\\n\""] {
        let setting = Setting::new(&format!("x: 1\nsandbox:\n  env:\n    {bad}: x\n"), "");
        let said = setting.load().config(&["sandbox.env"]).unwrap_err().to_string();
        assert!(said.contains("config.yaml:4: 'sandbox.env': must be the name of a variable"), "{bad}: {said}");
        let setting = Setting::new(&format!("sandbox:\n  env_passthrough:\n    - GOOD\n    - {bad}\n"), "");
        let said = setting.load().config(&["sandbox"]).unwrap_err().to_string();
        assert!(said.contains("config.yaml:4: 'sandbox.env_passthrough': "), "{bad}: {said}");
    }
    let setting = Setting::new(r#"sandbox: {env: {A: "x\0y"}}"#, "");
    assert!(setting.load().config(&["sandbox"]).is_err());
}

#[test]
fn flags_come_over_everything() {
    let setting = Setting::new("sandbox: {backend: one}\n", "sandbox: {enabled: true}\nagent: codex\n");
    let mut sources = setting.sources();
    sources.command_line.insert("sandbox.backend".to_owned(), json!("two"));
    sources.command_line.insert("agent".to_owned(), json!("gemini"));
    let loaded = load(&sources).unwrap();
    let config = loaded.config(&["sandbox", "agent"]).unwrap();
    assert_eq!((config.sandbox.backend.as_deref(), config.agent()), (Some("two"), "gemini"));
    assert!(config.sandbox.enabled);
}

#[test]
fn a_mistake_stops_only_what_needs_the_key() {
    let setting = Setting::new(
        r#"
sandbox:
  enabled: sometimes
  network: {allowed_domains: [good.example, 10.0.0.1]}
  extra_mounts:
    - /ok
    - not/absolute
panes:
  - {command: x}
  - {percentage: 40, size: 3}
status_icons: on
main_branch: -D
"#,
        "",
    );
    let loaded = setting.load();
    loaded.config(&[]).unwrap();
    loaded.config(&["worktree_dir", "agent"]).unwrap();
    let said = loaded.config(&["sandbox", "panes", "status_icons.done", "main_branch"]).unwrap_err().to_string();
    insta::assert_snapshot!(said.replace(setting.base().to_str().unwrap(), ""));
    assert!(loaded.config(&["sandbox.network"]).is_err());
    assert!(loaded.config(&["sandbox.image"]).is_ok());
}

#[test]
fn unknown_keys_are_said_with_what_was_probably_meant() {
    let setting = Setting::new(
        r#"
agnet: claude
backend: acme
theme: dark
sandbox:
  enabeld: true
  imgae: x
  network: {polcy: deny}
  acne: {cpus: 1}
  acme:
"#,
        "\"evil\\e[2J\\u202e\": 1\nfiles: {copyy: []}\nsandbox: {netwrok: {policy: deny}}\n",
    );
    let loaded = setting.load();
    let foreign = loaded.foreign_tables(&["acme"]).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(
        format!("{}\n{foreign}", setting.said(&loaded)).replace(setting.base().to_str().unwrap(), "")
    );
}
