//! Values that may be written shorter than they are: a path for a mount, a name for a domain, a string for an agent.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::checks::{is_absolute, is_env_name};
use super::types::{AgentEntry, Domain, EnvValue, ExtraMount};

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a path, or a mapping of 'host_path', 'guest_path' and 'writable'")]
pub(super) enum MountForm {
    Short(String),
    Full(FullMount),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FullMount {
    host_path: String,
    guest_path: Option<String>,
    #[serde(default)]
    writable: bool,
}

impl TryFrom<MountForm> for ExtraMount {
    type Error = String;

    fn try_from(form: MountForm) -> Result<Self, String> {
        let mount = match form {
            MountForm::Short(host_path) => Self { host_path, guest_path: None, writable: false },
            MountForm::Full(FullMount { host_path, guest_path, writable }) => Self { host_path, guest_path, writable },
        };
        if !is_absolute(&mount.host_path) {
            return Err("the host path must be absolute, or begin with '~/'".to_owned());
        }
        if mount.guest_path.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains('\0')) {
            return Err("the guest path must be absolute".to_owned());
        }
        Ok(mount)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a name, or a mapping of 'host' and 'allow_private_ips'")]
pub(super) enum DomainForm {
    Short(String),
    Full(FullDomain),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FullDomain {
    host: String,
    #[serde(default)]
    allow_private_ips: bool,
}

impl TryFrom<DomainForm> for Domain {
    type Error = String;

    fn try_from(form: DomainForm) -> Result<Self, String> {
        let (host, allow_private_ips) = match form {
            DomainForm::Short(host) => (host, false),
            DomainForm::Full(FullDomain { host, allow_private_ips }) => (host, allow_private_ips),
        };
        if !is_domain(&host) {
            return Err("must be a host name, or '*.' and a suffix: no address, no dot at the end".to_owned());
        }
        if allow_private_ips && host.starts_with("*.") {
            return Err("'allow_private_ips' needs an exact host name".to_owned());
        }
        Ok(Self { host: host.to_ascii_lowercase(), allow_private_ips })
    }
}

fn is_domain(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits is read as an address by some resolvers, whatever stands before it.
    let numeric = |label: &str| match label.strip_prefix("0x").or_else(|| label.strip_prefix("0X")) {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    };
    name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(numeric)
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a command, or a mapping of 'command', 'type', 'args' and 'env'")]
pub(super) enum AgentForm {
    Short(String),
    Full(FullAgent),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FullAgent {
    command: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, EnvValue>,
}

impl TryFrom<AgentForm> for AgentEntry {
    type Error = String;

    fn try_from(form: AgentForm) -> Result<Self, String> {
        let entry = match form {
            AgentForm::Short(command) => Self { command: Some(command), ..Self::default() },
            AgentForm::Full(FullAgent { command, kind, args, env }) => Self { command, kind, args, env },
        };
        let from = |value: &EnvValue| match value {
            EnvValue::Text(_) => true,
            EnvValue::FromEnv { from_env } => is_env_name(from_env),
        };
        match entry.env.iter().find(|(name, value)| !is_env_name(name) || !from(value)) {
            Some((name, _)) => Err(format!("'{}' does not name a variable", crate::text::line(name))),
            None => Ok(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p70_only_names_are_domains() {
        for good in ["github.com", "*.github.com", "a-b.example", "LOCALHOST", "x.0x1g"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "*.",
            "*",
            "a.",
            "a..b",
            "1.2.3.4",
            "*.1",
            "[::1]",
            "::1",
            "0x7f.1",
            "a.0x7f",
            "2130706433",
            "a@b.c",
            "a b",
            "a/b",
            "http://a.b",
            "-a.b",
            "a-.b",
            "*.*.a",
            "a\0.b",
            "ä.de",
            "a:443",
        ] {
            assert!(!is_domain(bad), "{bad}");
        }
    }

    #[test]
    fn short_and_long_forms_mean_the_same() {
        let mount: ExtraMount = serde_json::from_str(r#""~/data""#).unwrap();
        let long: ExtraMount = serde_json::from_str(r#"{"host_path": "~/data"}"#).unwrap();
        assert_eq!(mount, long);
        assert_eq!(mount.guest("/home/u".as_ref()).to_str(), Some("/home/u/data"));
        let domain: Domain = serde_json::from_str(r#""GitHub.com""#).unwrap();
        assert_eq!(domain, serde_json::from_str(r#"{"host": "github.com"}"#).unwrap());
        let agent: AgentEntry = serde_json::from_str(r#""codex --fast""#).unwrap();
        assert_eq!(agent, serde_json::from_str(r#"{"command": "codex --fast"}"#).unwrap());
    }

    #[test]
    fn complaints_say_what_is_wanted() {
        let complaint = |json| serde_json::from_str::<ExtraMount>(json).unwrap_err().to_string();
        assert!(complaint(r#"{"host": "/x"}"#).contains("'host_path'"));
        assert!(complaint(r#""data""#).contains("absolute"));
        assert!(complaint(r#"{"host_path": "/x", "guest_path": "y"}"#).contains("guest path"));
        let complaint = |json| serde_json::from_str::<AgentEntry>(json).unwrap_err().to_string();
        assert!(complaint(r#"{"env": {"A B": "x"}}"#).contains("'A B'"));
        assert!(complaint(r#"{"env": {"A": {"from_env": "-"}}}"#).contains("'A'"));
    }
}
