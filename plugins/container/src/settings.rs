//! The table `sandbox.container`. The host has applied what a project may set before this code sees it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use workmux_plugin_api::{Demands, Error, ErrorKind, Limit, Limits, Refusal, Result, Settings};

/// The table, read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) runtime: Option<Runtime>,
    pub(crate) memory: Option<Size>,
    pub(crate) cpus: Option<f64>,
    pub(crate) excluded_files: Vec<String>,
    pub(crate) devices: Vec<Device>,
    pub(crate) group_add: Vec<Group>,
    pub(crate) oci_runtime: Option<String>,
    pub(crate) security_opt: Vec<String>,
    pub(crate) cap_add: Vec<String>,
    pub(crate) allow_root: bool,
    pub(crate) rpc: Rpc,
    pub(crate) repository: Option<String>,
    /// Seconds.
    pub(crate) pull_timeout: Option<u64>,
    pub(crate) build_args: BTreeMap<String, String>,
}

/// How containers reach the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rpc {
    #[default]
    Auto,
    Sockets,
    Tcp,
}

/// A configured engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Runtime {
    Docker,
    Podman,
}

/// An amount of bytes: a number, or text such as `8G`, which counts in steps of 1024.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Size {
    Bytes(u64),
    Text(String),
}

impl Size {
    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(*bytes),
            Self::Text(text) => parse_size::Config::new().with_binary().parse_size(text).ok(),
        }
    }
}

/// A group by name or number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Group {
    Number(u32),
    Name(String),
}

/// A device of the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Device {
    Text(String),
    Parts {
        host_path: String,
        #[serde(default)]
        guest_path: Option<String>,
        #[serde(default)]
        permissions: Option<String>,
    },
}

impl Device {
    /// As engines take it: `HOST:GUEST:PERMISSIONS`.
    pub(crate) fn argument(&self) -> Result<String, &'static str> {
        let (host, guest, permissions) = match self {
            Self::Text(text) => {
                let mut parts = text.splitn(3, ':');
                let host = parts.next().unwrap_or_default();
                match (parts.next(), parts.next()) {
                    (Some(second), None) if is_permissions(second) => (host, host, second),
                    (guest, permissions) => (host, guest.unwrap_or(host), permissions.unwrap_or("rwm")),
                }
            }
            Self::Parts { host_path, guest_path, permissions } => {
                let guest = guest_path.as_deref().unwrap_or(host_path);
                (host_path.as_str(), guest, permissions.as_deref().unwrap_or("rwm"))
            }
        };
        let plain =
            |path: &str| path.starts_with('/') && !path.contains([':', ',']) && !path.contains(char::is_whitespace);
        match (plain(host) && plain(guest), is_permissions(permissions)) {
            (false, _) => Err("must name devices by absolute paths without spaces, ':' and ','"),
            (_, false) => Err("permissions are made of 'r', 'w' and 'm'"),
            _ => Ok(format!("{host}:{guest}:{permissions}")),
        }
    }
}

fn is_permissions(text: &str) -> bool {
    !text.is_empty() && text.len() <= 3 && text.chars().all(|c| "rwm".contains(c))
}

/// The verb `settings`: every key that cannot be used is a refusal of its own.
pub(crate) fn answer(merged: Value) -> Settings {
    let mut refusals = Vec::new();
    let mut refuse = |key: &str, reason: &str| refusals.push(Refusal { key: key.into(), reason: reason.into() });
    match &merged {
        Value::Object(keys) => {
            for (key, value) in keys {
                if let Err(reason) = judge(key, value) {
                    refuse(key, &reason);
                }
            }
        }
        Value::Null => {}
        _ => refuse("", "must be a table"),
    }
    let table = if refusals.is_empty() { read(&merged).unwrap_or_default() } else { Table::default() };
    Settings { value: merged, demands: demands(&table), refusals }
}

/// Whether one key can be used.
fn judge(key: &str, value: &Value) -> Result<(), String> {
    fn as_a<T: DeserializeOwned>(value: &Value) -> Option<T> {
        T::deserialize(value).ok()
    }
    let must = |right: bool, what: &str| if right { Ok(()) } else { Err(format!("must be {what}")) };
    match key {
        "runtime" if value == "apple-container" => {
            Err("Apple's 'container' cannot keep git's files apart from the sandbox yet; use 'docker' or 'podman'"
                .into())
        }
        "runtime" => must(as_a::<Runtime>(value).is_some(), "'docker' or 'podman'"),
        "memory" => must(as_a::<Size>(value).and_then(|s| s.bytes()).is_some_and(|b| b > 0), "an amount such as '8G'"),
        "cpus" => must(as_a::<f64>(value).is_some_and(|n| (0.01..=4096.0).contains(&n)), "a number such as 2 or 1.5"),
        "excluded_files" => must(as_a::<Vec<String>>(value).is_some(), "a list of files below the worktree's root"),
        "devices" => {
            let Some(devices) = as_a::<Vec<Device>>(value) else {
                return Err("must be a list of paths, or of tables with host_path, guest_path and permissions".into());
            };
            devices.iter().try_for_each(|device| device.argument().map(drop).map_err(str::to_owned))
        }
        "group_add" => {
            let plain = |group: &Group| match group {
                Group::Number(_) => true,
                Group::Name(name) => {
                    !name.is_empty()
                        && !name.starts_with('-')
                        && !name.contains([',', ':'])
                        && !name.contains(char::is_whitespace)
                }
            };
            must(as_a::<Vec<Group>>(value).is_some_and(|g| g.iter().all(plain)), "a list of groups, by name or number")
        }
        "oci_runtime" => must(as_a::<String>(value).is_some_and(|t| is_word(&t)), "the name or path of a runtime"),
        "security_opt" => {
            let Some(options) = as_a::<Vec<String>>(value) else { return Err("must be a list of options".into()) };
            match options.iter().find(|option| weakens(option)) {
                Some(option) => Err(format!("'{option}' would take the sandbox's protection away")),
                None => must(options.iter().all(|o| is_word(o)), "a list of options such as 'seccomp=FILE'"),
            }
        }
        "cap_add" => {
            let Some(names) = as_a::<Vec<String>>(value) else { return Err("must be a list of capabilities".into()) };
            let all = |name: &String| {
                let name = name.to_ascii_uppercase();
                ["ALL", "SYS_ADMIN", "CAP_SYS_ADMIN"].contains(&name.as_str())
            };
            match names.iter().find(|name| all(name)) {
                Some(name) => Err(format!("'{name}' would give the machine away")),
                None => Ok(()),
            }
        }
        "allow_root" => must(value.is_boolean(), "true or false"),
        "rpc" => must(as_a::<Rpc>(value).is_some(), "'auto', 'sockets' or 'tcp'"),
        "repository" => {
            let name = as_a::<String>(value);
            let plain = |name: &String| {
                let bad = |c: char| c.is_whitespace() || c.is_control() || c == '@' || c.is_ascii_uppercase();
                let tagged = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
                name.contains('/')
                    && !name.starts_with(['-', '/'])
                    && !name.ends_with('/')
                    && !name.contains(bad)
                    && !tagged
                    && !name.contains("//")
            };
            must(name.as_ref().is_some_and(plain), "a repository without tag, such as 'registry.example/team/sandbox'")
        }
        "build_args" => {
            let plain =
                |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let named = as_a::<BTreeMap<String, String>>(value).is_some_and(|args| args.keys().all(plain));
            must(named, "a table of names and texts, such as {AGENT_VERSION: '1.2'}")
        }
        "pull_timeout" => must(as_a::<u64>(value).is_some_and(|n| (1..=86_400).contains(&n)), "a number of seconds"),
        _ => Err("is not a key of this table: see 'workmux plugin info container'".into()),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_control)
}

/// Options that would undo what the host counts on.
fn weakens(option: &str) -> bool {
    let option = option.to_ascii_lowercase().replace(':', "=");
    option.starts_with("no-new-privileges") || option == "systempaths=unconfined" || option.starts_with("unmask")
}

fn demands(table: &Table) -> Demands {
    let required = |value| Limit { value, required: true };
    Demands {
        limits: Limits {
            memory: table.memory.as_ref().and_then(Size::bytes).map(required),
            // In range: judged.
            millicpus: table.cpus.map(|cpus| required((cpus * 1000.0).round() as u64)),
            processes: None,
        },
        masks: table.excluded_files.clone(),
        ..Demands::default()
    }
}

/// The settings as they come back with each request; null (a crash, no table) is the default.
pub(crate) fn read(value: &Value) -> Result<Table> {
    if value.is_null() {
        return Ok(Table::default());
    }
    Table::deserialize(value).map_err(|e| {
        Error::new(ErrorKind::InvalidSettings, "the table 'sandbox.container' cannot be read").cause(e.to_string())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(table: Value) -> Vec<String> {
        answer(table).refusals.into_iter().map(|r| format!("{}: {}", r.key, r.reason)).collect()
    }

    #[test]
    fn a_good_table_is_read_whole() {
        let table = json!({
            "runtime": "podman", "memory": "8G", "cpus": 1.5, "excluded_files": [".env"], "oci_runtime": "runsc",
            "devices": ["/dev/kvm", "/dev/x:rw", "/dev/x:/dev/y:r", {"host_path": "/dev/dri", "permissions": "rw"}],
            "group_add": ["render", 44], "security_opt": ["seccomp=/x.json"], "cap_add": ["NET_RAW"],
        });
        let settings = answer(table.clone());
        assert_eq!(settings.refusals, []);
        let limits = settings.demands.limits;
        assert_eq!(limits.memory, Some(Limit { value: 8 << 30, required: true }));
        assert_eq!(limits.millicpus, Some(Limit { value: 1500, required: true }));
        assert_eq!(settings.demands.masks, [".env"]);
        let devices: Vec<_> = read(&table).unwrap().devices.iter().map(|d| d.argument().unwrap()).collect();
        assert_eq!(devices, ["/dev/kvm:/dev/kvm:rwm", "/dev/x:/dev/x:rw", "/dev/x:/dev/y:r", "/dev/dri:/dev/dri:rw"]);
        for (text, bytes) in [("512m", 512 << 20), ("1GiB", 1 << 30), ("2g", 2 << 30), ("1048576", 1 << 20)] {
            assert_eq!(Size::Text(text.into()).bytes(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn each_bad_key_is_refused_by_name() {
        for (table, part) in [
            (json!({"runtime": "containerd"}), "runtime: must be 'docker' or 'podman'"),
            (json!({"runtime": "apple-container"}), "Apple"),
            (json!({"memory": "lots"}), "memory: must be an amount"),
            (json!({"memory": 0}), "memory: must be an amount"),
            (json!({"cpus": "many"}), "cpus: must be a number"),
            (json!({"cpus": 0}), "cpus: must be a number"),
            (json!({"devices": ["dev/x"]}), "absolute paths"),
            (json!({"devices": ["/dev/x:/dev/y:x"]}), "permissions"),
            (json!({"group_add": ["a b"]}), "group_add: must be"),
            (json!({"security_opt": ["no-new-privileges:false"]}), "protection"),
            (json!({"security_opt": ["systempaths=unconfined"]}), "protection"),
            (json!({"oci_runtime": "--privileged"}), "oci_runtime: must be"),
            (json!({"rpc": "udp"}), "rpc: must be 'auto', 'sockets' or 'tcp'"),
            (json!({"repository": "--x"}), "repository: must be"),
            (json!({"repository": "h:1/x:tag"}), "repository: must be"),
            (json!({"repository": "http://h/x"}), "repository: must be"),
            (json!({"build_args": {"": "x"}}), "build_args: must be"),
            (json!({"repository": "h/x@sha256:1"}), "repository: must be"),
            (json!({"build_args": {"A=B": "x"}}), "build_args: must be"),
            (json!({"pull_timeout": 0}), "pull_timeout: must be"),
            (json!({"privileged": true}), "is not a key of this table"),
            (json!(["memory"]), "must be a table"),
        ] {
            let refusals = refused(table.clone());
            assert!(refusals.len() == 1 && refusals[0].contains(part), "{table}: {refusals:?}");
        }
    }

    #[test]
    fn p68_capabilities_that_give_the_machine_away_are_refused() {
        for name in ["ALL", "SYS_ADMIN", "cap_sys_admin"] {
            assert!(refused(json!({"cap_add": [name]}))[0].contains("give the machine away"), "{name}");
        }
    }

    #[test]
    fn p65_what_a_project_may_set_only_tightens() {
        let manifest = workmux_plugin_api::Manifest::parse(include_str!("../backend.toml")).unwrap();
        let properties = manifest.config["properties"].as_object().unwrap();
        let table = serde_json::to_value(Table::default()).unwrap();
        let mut keys: Vec<_> = table.as_object().unwrap().keys().collect();
        let mut known: Vec<_> = properties.keys().collect();
        keys.sort();
        known.sort();
        assert_eq!(keys, known, "schema and table know the same keys");
        for (key, schema) in properties {
            let rule = match key.as_str() {
                "memory" | "cpus" => "lower",
                "excluded_files" => "add",
                _ => "no",
            };
            assert_eq!(schema["x-project"], rule, "{key}");
        }
    }
}
