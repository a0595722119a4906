//! What a container may use up, as far as the engine really enforces it.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use workmux_plugin_api::{Error, Limit, Limits, Result};

use crate::engine::Engine;

/// The limits that are set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Set {
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Thousandths of a processor.
    pub(crate) millicpus: Option<u64>,
    pub(crate) processes: Option<u64>,
}

/// The control groups that an ordinary user's engine can use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delegated {
    memory: bool,
    cpu: bool,
    pids: bool,
}

impl Delegated {
    const ALL: Self = Self { memory: true, cpu: true, pids: true };

    /// What this engine can enforce for this user. Engines ignore the rest, some without a word.
    pub(crate) fn of(engine: Engine) -> Self {
        if engine.is_rootless() { Self::to_user(Path::new("/"), nix::unistd::getuid().as_raw()) } else { Self::ALL }
    }

    /// For people: which limits hold.
    pub(crate) fn shown(self) -> String {
        let all = [(self.memory, "memory"), (self.cpu, "processors"), (self.pids, "processes")];
        let names: Vec<_> = all.iter().filter(|(can, _)| *can).map(|(_, name)| *name).collect();
        if names.is_empty() { "none can be enforced for this user".into() } else { names.join(", ") }
    }

    /// What the system's manager delegated to this user: version 2 of control groups only.
    fn to_user(root: &Path, uid: u32) -> Self {
        let place = format!("sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers");
        let there = fs::read_to_string(root.join(place)).unwrap_or_default();
        let has = |name| there.split_whitespace().any(|controller| controller == name);
        Self { memory: has("memory"), cpu: has("cpu"), pids: has("pids") }
    }
}

/// Decides. What is required and cannot be enforced is refused; a default that cannot is left out.
pub(crate) fn decide(wanted: &Limits, engine: Engine, can: Delegated) -> Result<Set> {
    let decide = |limit: Option<Limit>, can: bool, what: &str, key: &str| {
        match limit {
        Some(limit) if can => Ok(Some(limit.value)),
        Some(limit) if limit.required => Err(Error::refused(format!(
            "'{}' of an ordinary user cannot limit {what} on this machine: its control groups are not the user's",
            engine.name()
        ))
        .hint(format!(
            "use 'docker', or a system with version 2 of control groups and systemd (loginctl enable-linger); or remove {key}"
        ))),
        _ => Ok(None),
    }
    };
    Ok(Set {
        memory: decide(wanted.memory, can.memory, "memory", "'sandbox.container.memory'")?,
        millicpus: decide(wanted.millicpus, can.cpu, "processors", "'sandbox.container.cpus'")?,
        processes: decide(wanted.processes, can.pids, "processes", "that limit")?,
    })
}

#[cfg(test)]
mod tests {
    use workmux_plugin_api::ErrorKind;

    use super::*;

    #[test]
    fn p65_a_required_limit_is_enforced_or_refused() {
        let limit = |value, required| Some(Limit { value, required });
        let wanted = Limits { memory: limit(1 << 30, true), millicpus: None, processes: limit(1024, false) };
        let all = decide(&wanted, Engine::Docker, Delegated::ALL).unwrap();
        assert_eq!(all, Set { memory: Some(1 << 30), millicpus: None, processes: Some(1024) });
        let error = decide(&wanted, Engine::Podman, Delegated { memory: false, ..Delegated::ALL }).unwrap_err();
        assert!(error.kind == ErrorKind::Refused && error.message.contains("memory"), "{error}");
        let defaults = Limits { processes: limit(1024, false), ..Limits::default() };
        assert_eq!(decide(&defaults, Engine::Podman, Delegated::default()).unwrap(), Set::default());
        let cpus = Limits { millicpus: limit(500, true), ..Limits::default() };
        assert!(decide(&cpus, Engine::Podman, Delegated::default()).is_err());
    }

    #[test]
    fn what_is_delegated_is_read_from_the_users_own_group() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Delegated::to_user(root.path(), 1000), Delegated::default());
        let dir = root.path().join("sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cgroup.controllers"), "cpuset memory pids\n").unwrap();
        assert_eq!(Delegated::to_user(root.path(), 1000), Delegated { memory: true, cpu: false, pids: true });
    }
}
