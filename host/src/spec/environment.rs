//! The environment of the guest's command: an allow-list in both directions (P69), values exact (P30).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use workmux_plugin_api::Word;

/// Reads the host's environment.
pub type HostVariables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// One variable of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Word,
    /// Its value must not be shown.
    pub secret: bool,
}

/// What the RPC service adds.
pub struct Rpc<'a> {
    /// The token.
    pub token: &'a str,
    /// Host and port, where they are known to the host; otherwise the first process's relay sets them.
    pub address: Option<(String, u16)>,
}

/// What the environment is made of.
pub struct GuestEnvironment<'a> {
    /// From the backend: `HOME`, `PATH` and the like.
    pub backend: &'a [(String, Word)],
    /// Put first on the guest's `PATH`; absent where the guest program is not mounted.
    pub bin: Option<&'a Path>,
    /// The agent's own variables.
    pub agent: &'a BTreeMap<String, Word>,
    /// `sandbox.env`.
    pub set: &'a BTreeMap<String, String>,
    /// `sandbox.env_passthrough`.
    pub pass: &'a [String],
    /// The checkout's top level.
    pub worktree: &'a Path,
    /// `user.name`.
    pub name: Option<&'a str>,
    /// `user.email`.
    pub email: Option<&'a str>,
    /// Present for agents.
    pub rpc: Option<Rpc<'a>>,
}

/// Passed from the host as they are.
const TERMINAL: [&str; 2] = ["TERM", "COLORTERM"];

impl GuestEnvironment<'_> {
    /// All variables, one for each name, sorted.
    pub fn variables(&self, host: HostVariables) -> Vec<Variable> {
        let mut all: BTreeMap<String, (Word, bool)> = BTreeMap::new();
        let mut put = |name: &str, value: Word, secret: bool| drop(all.insert(name.to_owned(), (value, secret)));
        for name in TERMINAL {
            if let Some(value) = host(name) {
                put(name, value.into(), false);
            }
        }
        for (name, value) in self.backend {
            match self.bin {
                Some(bin) if name == "PATH" => put(name, prepended(bin, value.as_os_str()).into(), false),
                _ => put(name, value.clone(), false),
            }
        }
        for (name, value) in self.agent {
            put(name, value.clone(), true);
        }
        for (name, value) in self.set {
            put(name, value.as_str().into(), true);
        }
        for name in self.pass {
            if let Some(value) = host(name) {
                put(name, value.into(), true);
            }
        }
        // Last, so that no configuration can replace them.
        for (name, value) in self.git() {
            put(&name, value.into(), false);
        }
        put("WM_SANDBOX_GUEST", "1".into(), false);
        if crate::mutant::off("p69_variables") {
            // In an order in which a configuration replaces them.
            self.set.iter().for_each(|(name, value)| put(name, value.as_str().into(), true));
        } else if let Some(rpc) = &self.rpc {
            put("WM_RPC_TOKEN", rpc.token.into(), true);
            if let Some((host, port)) = &rpc.address {
                put("WM_RPC_HOST", host.as_str().into(), false);
                put("WM_RPC_PORT", port.to_string().into(), false);
            }
        }
        all.into_iter().map(|(name, (value, secret))| Variable { name, value, secret }).collect()
    }

    fn git(&self) -> Vec<(String, String)> {
        let mut settings = vec![("safe.directory", self.worktree.to_string_lossy().into_owned())];
        settings.extend(self.name.map(|n| ("user.name", n.to_owned())));
        settings.extend(self.email.map(|e| ("user.email", e.to_owned())));
        let mut variables = vec![("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string())];
        for (i, (key, value)) in settings.into_iter().enumerate() {
            variables.push((format!("GIT_CONFIG_KEY_{i}"), key.to_owned()));
            variables.push((format!("GIT_CONFIG_VALUE_{i}"), value));
        }
        variables
    }
}

fn prepended(bin: &Path, path: &OsStr) -> OsString {
    if std::env::split_paths(path).any(|entry| entry == bin) {
        return path.to_owned();
    }
    let mut value = bin.as_os_str().to_owned();
    if !path.as_bytes().is_empty() {
        value.push(":");
        value.push(path);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pass: &[String], set: &BTreeMap<String, String>) -> Vec<Variable> {
        let agent = BTreeMap::new();
        let host = |name: &str| match name {
            "TERM" => Some("xterm".into()),
            "WANTED" => Some("a  b\n$(c) \"d\" '=".into()),
            "SSH_AUTH_SOCK" | "GITHUB_TOKEN" | "LD_PRELOAD" | "DOCKER_HOST" | "WM_RPC_TOKEN" | "GIT_DIR" => {
                Some("sentinel".into())
            }
            _ => None,
        };
        GuestEnvironment {
            backend: &[("PATH".into(), "/usr/bin".into()), ("HOME".into(), "/home/u".into())],
            bin: Some(Path::new("/run/workmux/bin")),
            agent: &agent,
            set,
            pass,
            worktree: Path::new("/w t"),
            name: Some("A U Thor"),
            email: None,
            rpc: Some(Rpc { token: "secret-token", address: None }),
        }
        .variables(&host)
    }

    #[test]
    fn p30_values_are_exact() {
        let all = variables(&["WANTED".into(), "ABSENT".into()], &BTreeMap::from([("SET".into(), "x='y'\n".into())]));
        let value = |name: &str| all.iter().find(|v| v.name == name).map(|v| v.value.as_bytes().to_vec());
        assert_eq!(value("WANTED").unwrap(), b"a  b\n$(c) \"d\" '=");
        assert_eq!(value("SET").unwrap(), b"x='y'\n");
        assert_eq!(value("ABSENT"), None);
        assert_eq!(value("PATH").unwrap(), b"/run/workmux/bin:/usr/bin");
        assert_eq!(value("GIT_CONFIG_VALUE_0").unwrap(), b"/w t");
        assert_eq!(value("GIT_CONFIG_COUNT").unwrap(), b"2");
    }

    #[test]
    fn p69_nothing_else_of_the_host_gets_in_and_nothing_replaces_ours() {
        let set = BTreeMap::from([
            ("WM_RPC_TOKEN".to_owned(), "forged".to_owned()),
            ("WM_SANDBOX_GUEST".to_owned(), "0".to_owned()),
        ]);
        let all = variables(&[], &set);
        assert!(all.iter().all(|v| v.value.as_bytes() != b"sentinel"), "{all:?}");
        let token = all.iter().find(|v| v.name == "WM_RPC_TOKEN").unwrap();
        assert_eq!((token.value.as_bytes(), token.secret), (&b"secret-token"[..], true));
        assert!(all.iter().any(|v| v.name == "WM_SANDBOX_GUEST" && v.value.as_bytes() == b"1"));
    }
}
