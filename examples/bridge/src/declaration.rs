//! What a program declares about itself, its answer to `describe`, and what follows: nothing is assumed of it, and
//! what is demanded and was not declared is refused before it is asked.

use std::path::Path;

use serde::{Deserialize, Serialize};
use workmux_plugin_api::manifest::Protocol;
use workmux_plugin_api::{Error, Features, Isolation, LimitKind, Network, PROTOCOL, Policy, Result};

/// What every program answers.
const REQUIRED: [&str; 3] = ["describe", "prepare", "exec"];
/// What it may answer besides.
const OPTIONAL: [&str; 6] = ["settings", "check", "rpc_route", "explain", "verify", "release"];

/// The answer to `describe`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Declaration {
    /// Whose types it speaks.
    protocol: Protocol,
    /// How strong its boundary is.
    pub(crate) isolation: Isolation,
    /// What it can enforce.
    features: Features,
    /// The optional verbs it answers.
    #[serde(default)]
    verbs: Vec<String>,
}

impl Declaration {
    pub(crate) fn knows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// Whether a program that declares this can be used at all: our own manifest promises a boundary.
    pub(crate) fn acceptable(&self, program: &Path) -> Result<()> {
        let refuse = |what: String| Err(Error::refused(format!("'{}' cannot be used: {what}", program.display())));
        if !PROTOCOL.serves(self.protocol) {
            return refuse(format!("it speaks protocol {}, this backend {PROTOCOL}", self.protocol));
        }
        if self.isolation == Isolation::None || !self.features.mounts {
            return refuse("it declares no boundary (isolation other than 'none', and mounts)".into());
        }
        match self.verbs.iter().find(|verb| !REQUIRED.iter().chain(&OPTIONAL).any(|known| known == verb)) {
            Some(verb) => refuse(format!("it declares the verb '{verb}', and there is none of that name")),
            None => Ok(()),
        }
    }

    /// Whether the program declared all that is demanded.
    pub(crate) fn meets(&self, program: &Path, policy: &Policy) -> Result<()> {
        let Features { masks, networks, limits, .. } = &self.features;
        let required = |limit: Option<workmux_plugin_api::Limit>| limit.is_some_and(|limit| limit.required);
        let demands = [
            (
                !networks.contains(&policy.network),
                match policy.network {
                    Network::None => "a sandbox without network",
                    _ => "a sandbox with network",
                },
            ),
            (!policy.masks.is_empty() && !masks, "hidden files"),
            (required(policy.limits.memory) && !limits.contains(&LimitKind::Memory), "a memory limit"),
            (required(policy.limits.millicpus) && !limits.contains(&LimitKind::Cpus), "a processor limit"),
            (required(policy.limits.processes) && !limits.contains(&LimitKind::Processes), "a process limit"),
        ];
        let unmet: Vec<&str> = demands.iter().filter_map(|(unmet, what)| unmet.then_some(*what)).collect();
        if unmet.is_empty() {
            return Ok(());
        }
        let message = format!("'{}' does not declare that it provides {}", program.display(), unmet.join(", "));
        Err(Error::refused(message).hint("take these demands out of your configuration, or use another backend"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use workmux_plugin_api::{Limit, Limits, Mask, MaskKind};

    use super::*;

    fn declared(changes: &Value) -> Declaration {
        let mut all = json!({"protocol": "0.1", "isolation": "process", "features": {"mounts": true}});
        for (key, value) in changes.as_object().unwrap() {
            all[key] = value.clone();
        }
        Declaration::deserialize(all).unwrap()
    }

    #[test]
    fn a_program_without_a_boundary_or_with_another_protocol_is_not_used() {
        let program = Path::new("/p");
        declared(&json!({"verbs": ["check", "exec"]})).acceptable(program).unwrap();
        for (changes, why) in [
            (json!({"protocol": "0.9"}), "protocol 0.9"),
            (json!({"isolation": "none"}), "no boundary"),
            (json!({"features": {}}), "no boundary"),
            (json!({"verbs": ["relaese"]}), "'relaese'"),
        ] {
            let error = declared(&changes).acceptable(program).unwrap_err();
            assert!(error.message.starts_with("'/p' ") && error.message.contains(why), "{error}");
        }
    }

    #[test]
    fn what_was_not_declared_is_refused_by_name() {
        let limit = |required| Some(Limit { value: 1, required });
        let policy = |required| Policy {
            network: Network::None,
            masks: vec![Mask { target: "/w/.env".into(), kind: MaskKind::File }],
            limits: Limits { memory: limit(required), millicpus: limit(required), processes: limit(required) },
        };
        let message = |declared: &Declaration, policy| declared.meets(Path::new("/p"), &policy).unwrap_err().message;
        let nothing = message(&declared(&json!({})), policy(true));
        for what in ["without network", "hidden files", "a memory limit", "a processor limit", "a process limit"] {
            assert!(nothing.contains(what), "{what}: {nothing}");
        }
        assert!(message(&declared(&json!({})), Policy::default()).ends_with("a sandbox with network"));
        let features = json!({"mounts": true, "masks": true, "networks": ["none"]});
        let some = declared(&json!({"features": features}));
        some.meets(Path::new("/p"), &policy(false)).unwrap();
        assert!(message(&some, policy(true)).ends_with("a memory limit, a processor limit, a process limit"));
    }
}
