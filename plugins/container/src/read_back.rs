//! What the engine made, compared with what was asked for (P67): an engine that ignores a word without saying so, or a
//! configuration of its own that adds something, must not go unnoticed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use workmux_plugin_api::{Access, Context, Error, Mount, Network, Result};

use crate::release::ask;
use crate::sandbox::Sandbox;

/// Asks the engine and compares. A container that is gone already cannot be compared, and need not be.
pub(crate) async fn verify(cx: &Context, sandbox: &Sandbox, name: &str) -> Result<()> {
    let output = match ask(cx, sandbox.engine, &["container", "inspect", name]).await {
        Ok(output) => output,
        Err(e) if e.causes.iter().any(|cause| cause.to_ascii_lowercase().contains("no such")) => return Ok(()),
        Err(e) => return Err(e),
    };
    let made: Vec<Made> = serde_json::from_str(&output.stdout).map_err(|e| {
        Error::internal(format!("'{}' answered something unreadable", sandbox.engine.name())).cause(e.to_string())
    })?;
    let differences = made.first().map(|made| compare(sandbox, made)).unwrap_or_default();
    if differences.is_empty() {
        return Ok(());
    }
    let error = Error::refused(format!("'{}' did not make the container that was asked for", sandbox.engine.name()));
    let hint = "look into the engine's own configuration (containers.conf, daemon.json), or use another backend";
    Err(differences.into_iter().fold(error.hint(hint), Error::cause))
}

/// The parts of `inspect` that count; the two engines agree on these names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Made {
    mounts: Option<Vec<MadeMount>>,
    host_config: HostConfig,
    config: MadeConfig,
    effective_caps: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MadeMount {
    #[serde(rename = "Type")]
    kind: String,
    source: String,
    destination: String,
    #[serde(rename = "RW")]
    writable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
    pid_mode: String,
    ipc_mode: String,
    #[serde(rename = "UTSMode")]
    uts_mode: String,
    privileged: bool,
    cap_add: Option<Vec<String>>,
    cap_drop: Option<Vec<String>>,
    security_opt: Option<Vec<String>>,
    devices: Option<Vec<serde_json::Value>>,
    memory: i64,
    nano_cpus: i64,
    pids_limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MadeConfig {
    user: String,
}

/// Everything that differs, in words.
fn compare(sandbox: &Sandbox, made: &Made) -> Vec<String> {
    let mut differences = mounts(&sandbox.mounts, made.mounts.as_deref().unwrap_or_default());
    let host = &made.host_config;
    let mut unless = |right: bool, what: &str| {
        if !right {
            differences.push(what.to_owned());
        }
    };
    let mode = host.network_mode.as_str();
    let shared = |mode: &str| mode == "host" || mode.starts_with("container:") || mode.starts_with("ns:");
    unless(if sandbox.network == Network::None { mode == "none" } else { !shared(mode) }, "it has another network");
    for (mode, what) in [
        (&host.pid_mode, "it sees other processes"),
        (&host.ipc_mode, "it shares memory with others"),
        (&host.uts_mode, "it shares the machine's name"),
    ] {
        unless(!shared(mode), what);
    }
    unless(!host.privileged, "it is privileged");
    let none = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    unless(none(&host.cap_add) && none(&made.effective_caps), "it has capabilities");
    unless(!none(&host.cap_drop), "its capabilities were not dropped");
    let options = host.security_opt.as_deref().unwrap_or_default();
    unless(options.iter().any(|option| option.starts_with("no-new-privileges")), "it may gain privileges");
    let user = format!("{}:{}", sandbox.user.uid, sandbox.user.gid);
    unless(made.config.user == user, "it runs as another user");
    unless(host.devices.as_ref().map_or(0, Vec::len) <= sandbox.devices.len(), "it has further devices");
    let limits = &sandbox.limits;
    let equal = |wanted: Option<u64>, unit: u64, is: i64| {
        wanted.is_none_or(|wanted| i64::try_from(wanted.saturating_mul(unit)).is_ok_and(|wanted| wanted == is))
    };
    unless(equal(limits.memory, 1, host.memory), "its memory is not limited");
    unless(equal(limits.millicpus, 1_000_000, host.nano_cpus), "its processors are not limited");
    unless(equal(limits.processes, 1, host.pids_limit.unwrap_or(0)), "its processes are not limited");
    differences
}

/// Host paths in the guest: none more, none less, none with another access.
fn mounts(wanted: &[Mount], made: &[MadeMount]) -> Vec<String> {
    let wanted: BTreeSet<_> =
        wanted.iter().map(|m| (resolved(&m.source), m.target.clone(), m.access == Access::ReadWrite)).collect();
    let made: BTreeSet<_> = made
        .iter()
        .filter(|m| m.kind == "bind")
        .map(|m| (resolved(Path::new(&m.source)), PathBuf::from(&m.destination), m.writable))
        .collect();
    let shown = |(source, target, writable): &(PathBuf, PathBuf, bool)| {
        let access = if *writable { "writable" } else { "read-only" };
        format!("'{}' at '{}', {access}", source.display(), target.display())
    };
    let missing = wanted.difference(&made).map(|mount| format!("not mounted: {}", shown(mount)));
    let added = made.difference(&wanted).map(|mount| format!("mounted as well: {}", shown(mount)));
    missing.chain(added).take(4).collect()
}

/// Engines may say where a link leads.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use workmux_plugin_api::User;

    use super::*;
    use crate::limits::Set;

    fn sandbox() -> Sandbox {
        Sandbox {
            user: User { uid: 1000, gid: 1000 },
            limits: Set { memory: Some(1 << 30), millicpus: Some(1500), processes: Some(64) },
            mounts: vec![Mount::read_write("/nowhere/wt", "/nowhere/wt"), Mount::read_only("/nowhere/x", "/x")],
            ..Sandbox::default()
        }
    }

    fn made() -> Value {
        json!({
            "Mounts": [
                {"Type": "bind", "Source": "/nowhere/wt", "Destination": "/nowhere/wt", "RW": true},
                {"Type": "bind", "Source": "/nowhere/x", "Destination": "/x", "RW": false},
                {"Type": "volume", "Source": "/var/lib/x", "Destination": "/data", "RW": true},
            ],
            "HostConfig": {
                "NetworkMode": "bridge", "PidMode": "", "IpcMode": "private", "UTSMode": "", "Privileged": false,
                "CapAdd": null, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "Devices": [],
                "Memory": 1 << 30, "NanoCpus": 1_500_000_000, "PidsLimit": 64,
            },
            "Config": {"User": "1000:1000"},
        })
    }

    fn differences(made: Value) -> Vec<String> {
        compare(&sandbox(), &serde_json::from_value(made).unwrap())
    }

    #[test]
    fn p67_what_was_asked_for_is_no_difference() {
        assert_eq!(differences(made()), [] as [&str; 0]);
    }

    #[test]
    fn p67_each_difference_is_noticed() {
        let cases: [(&str, Value, &str); 14] = [
            ("/Mounts/0/RW", json!(false), "not mounted: '/nowhere/wt'"),
            ("/Mounts/1/RW", json!(true), "not mounted: '/nowhere/x' at '/x', read-only"),
            ("/Mounts/1/Destination", json!("/y"), "not mounted: '/nowhere/x'"),
            ("/Mounts/2/Type", json!("bind"), "mounted as well: '/var/lib/x'"),
            ("/HostConfig/NetworkMode", json!("host"), "network"),
            ("/HostConfig/PidMode", json!("host"), "processes"),
            ("/HostConfig/IpcMode", json!("host"), "memory"),
            ("/HostConfig/Privileged", json!(true), "privileged"),
            ("/HostConfig/CapAdd", json!(["NET_ADMIN"]), "capabilities"),
            ("/HostConfig/CapDrop", json!([]), "dropped"),
            ("/HostConfig/SecurityOpt", json!([]), "privileges"),
            ("/HostConfig/Memory", json!(0), "memory is not limited"),
            ("/HostConfig/PidsLimit", json!(0), "processes are not limited"),
            ("/Config/User", json!(""), "another user"),
        ];
        for (place, value, part) in cases {
            let mut made = made();
            *made.pointer_mut(place).unwrap() = value;
            let found = differences(made);
            assert!(found.iter().any(|difference| difference.contains(part)), "{place}: {found:?}");
        }
    }

    #[test]
    fn p78_a_senseless_answer_is_an_error_and_no_panic() {
        for text in ["", "null", "{}", "[{\"Mounts\": 7}]"] {
            assert!(serde_json::from_str::<Vec<Made>>(text).is_err(), "{text}");
        }
        for text in ["[{}]", "[[]]", "[{\"HostConfig\": {}, \"Mounts\": null}]"] {
            let empty: Vec<Made> = serde_json::from_str(text).unwrap();
            assert!(!compare(&sandbox(), &empty[0]).is_empty(), "{text}");
        }
    }
}
