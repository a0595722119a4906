//! The table `sandbox.bubblewrap`. The host has applied what a project may set before this code sees it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workmux_plugin_api::{Error, ErrorKind, Refusal, Result, Settings};

/// The table, read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Table {
    /// A guest may run as root where root owns the worktree.
    pub(crate) allow_root: bool,
    /// What the policy `allow` means.
    pub(crate) network: Reach,
}

/// Where a guest with a network is connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reach {
    /// To a network of its own, led outside by pasta.
    #[default]
    Private,
    /// To the host's own.
    Host,
}

/// The verb `settings`: every key that cannot be used is a refusal of its own.
pub(crate) fn answer(merged: Value) -> Settings {
    let mut refusals = Vec::new();
    if let Value::Object(keys) = &merged {
        for (key, value) in keys {
            let reason = match key.as_str() {
                "allow_root" if !value.is_boolean() => "must be true or false".to_owned(),
                "network" if !matches!(value.as_str(), Some("private" | "host")) => {
                    "must be 'private' or 'host'".to_owned()
                }
                "allow_root" | "network" => continue,
                _ => "is not a key of this table: it has 'allow_root' and 'network'".to_owned(),
            };
            refusals.push(Refusal { key: key.clone(), reason });
        }
    } else if !merged.is_null() {
        refusals.push(Refusal { key: String::new(), reason: "must be a table".into() });
    }
    Settings { value: merged, refusals, ..Settings::default() }
}

/// The settings as they come back with each request; null (a crash, no table) is the default.
pub(crate) fn read(value: &Value) -> Result<Table> {
    if value.is_null() {
        return Ok(Table::default());
    }
    Table::deserialize(value).map_err(|e| {
        Error::new(ErrorKind::InvalidSettings, "the table 'sandbox.bubblewrap' cannot be read").cause(e.to_string())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn good_tables_are_read_and_bad_keys_named() {
        assert_eq!(read(&Value::Null).unwrap(), Table::default());
        let table = json!({"allow_root": true, "network": "host"});
        assert_eq!(read(&table).unwrap(), Table { allow_root: true, network: Reach::Host });
        assert_eq!(answer(table).refusals, []);
        let keys = |v| answer(v).refusals.into_iter().map(|r| r.key).collect::<Vec<_>>();
        assert_eq!(keys(json!({"allow_root": "yes", "network": "none", "x": 1})), ["allow_root", "network", "x"]);
        assert_eq!(keys(json!([])), [""]);
        assert!(read(&json!({"network": "none"})).is_err());
    }

    /// The schema that the host applies to projects must know the same keys.
    #[test]
    fn p65_a_project_can_neither_allow_root_nor_the_hosts_network() {
        let manifest = workmux_plugin_api::Manifest::parse(include_str!("../backend.toml")).unwrap();
        let rule = |key: &str| manifest.config["properties"][key]["x-project"].as_str().map(str::to_owned);
        assert_eq!(rule("allow_root").as_deref(), Some("no"));
        assert_eq!(rule("network").as_deref(), Some("only private"));
        assert_eq!(manifest.config["properties"].as_object().unwrap().len(), 2);
    }
}
