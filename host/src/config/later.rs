//! Keys that are read and not served yet, one row each. A row goes when its feature comes, and with it the remark in
//! the texts of `init`.
//!
//! A key that restricts the guest and would be ignored refuses the start; a convenience that is missing is said once.

use super::types::{Config, NetworkPolicy, Toolchain};

/// A key that is set and not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    /// Its path.
    pub key: &'static str,
    /// Whether starting without it would give a guest more than the user wants.
    pub restricting: bool,
    /// What to tell the user.
    pub message: String,
}

struct Row {
    key: &'static str,
    restricting: bool,
    set: fn(&Config) -> bool,
    what: &'static str,
}

static ROWS: &[Row] = &[
    Row {
        key: "sandbox.network.policy",
        restricting: true,
        // Without a list nothing is allowed: that is no network at all, which is served.
        set: |config| {
            let network = &config.sandbox.network;
            network.policy == NetworkPolicy::Deny && !network.allowed_domains.is_empty()
        },
        what: "a guest's network cannot be limited to a list yet; without 'allowed_domains' it has none at all",
    },
    Row {
        key: "sandbox.toolchain",
        restricting: false,
        set: |config| matches!(config.sandbox.toolchain, Toolchain::Devbox | Toolchain::Flake),
        what: "commands are not wrapped in the project's toolchain yet",
    },
    Row {
        key: "sandbox.host_commands",
        restricting: false,
        set: |config| !config.sandbox.host_commands.is_empty(),
        what: "a guest cannot call host commands yet",
    },
    Row {
        key: "sandbox.dangerously_allow_unsandboxed_host_exec",
        restricting: false,
        set: |config| config.sandbox.dangerously_allow_unsandboxed_host_exec,
        what: "a guest cannot call host commands yet",
    },
];

/// What `config` sets and this version does not serve.
pub fn unserved(config: &Config) -> Vec<Unserved> {
    let set = ROWS.iter().filter(|row| (row.set)(config));
    let says = |row: &Row| format!("'{}' is set, but {}", row.key, row.what);
    set.map(|row| Unserved { key: row.key, restricting: row.restricting, message: says(row) }).collect()
}

/// Whether a key, or something it can be set to, is not served.
#[cfg(test)]
pub(super) fn knows(path: &str) -> bool {
    ROWS.iter().any(|row| row.key == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_missing_until_it_is_set() {
        let mut config = Config::default();
        assert_eq!(unserved(&config), []);
        config.sandbox.network.policy = NetworkPolicy::Deny;
        assert_eq!(unserved(&config), []);
        let domain = r#"{"host": "example.org", "allow_private_ips": false}"#;
        config.sandbox.network.allowed_domains.push(serde_json::from_str(domain).unwrap());
        config.sandbox.host_commands.push("just".to_owned());
        let found: Vec<_> = unserved(&config).iter().map(|row| (row.key, row.restricting)).collect();
        assert_eq!(found, [("sandbox.network.policy", true), ("sandbox.host_commands", false)]);
        for row in ROWS {
            assert!(super::super::keys::find(row.key).is_some(), "{}", row.key);
        }
    }
}
