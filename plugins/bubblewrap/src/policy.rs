//! What this backend can enforce, and the refusal of what it cannot.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use workmux_plugin_api::{Error, Features, Limit, LimitKind, Limits, Network, Result, User, Word};

use crate::Tools;
use crate::settings::Table;

/// A limit on the guest's processes, set by `prlimit` inside: there it counts the sandbox's own user namespace only.
/// Set outside it would count all processes of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Processes {
    prlimit: PathBuf,
    value: u64,
}

impl Processes {
    /// What stands before a command of the guest.
    pub(crate) fn prefix(&self) -> Vec<Word> {
        vec![self.prlimit.clone().into(), format!("--nproc={}", self.value).into(), "--".into()]
    }
}

/// What holds on this machine for this user.
pub(crate) fn features(uid: u32) -> Features {
    Features {
        mounts: true,
        masks: true,
        networks: vec![Network::Allow, Network::None],
        limits: if counts_processes(uid) { vec![LimitKind::Processes] } else { Vec::new() },
    }
}

/// The kernel does not hold its root to the limit, and counts per user namespace since 5.14.
fn counts_processes(uid: u32) -> bool {
    let release = nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned());
    uid != 0 && release.is_ok_and(|r| kernel_version(&r) >= (5, 14))
}

fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Refuses a guest that would be the machine's root.
pub(crate) fn check_user(user: User, table: &Table) -> Result<()> {
    if user.uid != 0 || table.allow_root {
        return Ok(());
    }
    Err(Error::refused("the worktree belongs to root, and a guest of 'bubblewrap' would be this machine's root").hint(
        "give the worktree to an ordinary user: chown -R USER WORKTREE, choose a container backend, or set \
         'sandbox.bubblewrap.allow_root: true' in your own configuration",
    ))
}

/// The limit to set. Limits that cannot be held are refused where they are required, else left out.
pub(crate) fn limits(limits: &Limits, user: User, tools: &Tools) -> Result<Option<Processes>> {
    let required = |limit: Option<Limit>| limit.is_some_and(|l| l.required);
    for (limit, what, key) in [(limits.memory, "memory", "memory"), (limits.millicpus, "processors", "cpus")] {
        if required(limit) {
            return Err(Error::refused(format!("'bubblewrap' cannot limit {what}: it uses no control groups"))
                .hint(format!("choose a container backend, or remove the limit '{key}'")));
        }
    }
    let Some(limit) = limits.processes else { return Ok(None) };
    let problem = match &tools.prlimit {
        _ if !counts_processes(user.uid) => {
            Error::refused("'bubblewrap' cannot limit processes here: it takes Linux 5.14 and a user other than root")
                .hint("choose a container backend, or remove the limit 'processes'")
        }
        Some(prlimit) if prlimit.starts_with("/usr") || prlimit.starts_with("/bin") => {
            return Ok(Some(Processes { prlimit: prlimit.clone(), value: limit.value.max(1) }));
        }
        _ => Error::refused("'bubblewrap' cannot limit processes: 'prlimit' is not installed below '/usr'")
            .hint("install util-linux, or remove the limit 'processes'"),
    };
    if limit.required { Err(problem) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use workmux_plugin_api::ErrorKind;

    use super::*;

    const ANN: User = User { uid: 1000, gid: 1000 };

    fn tools() -> Tools {
        Tools { prlimit: Some("/usr/bin/prlimit".into()), ..Tools::default() }
    }

    fn limit(value: u64, required: bool) -> Option<Limit> {
        Some(Limit { value, required })
    }

    #[test]
    fn p65_a_required_limit_is_set_or_the_start_refused() {
        for wanted in [
            Limits { memory: limit(1, true), ..Limits::default() },
            Limits { millicpus: limit(1, true), ..Limits::default() },
        ] {
            let error = limits(&wanted, ANN, &tools()).unwrap_err();
            assert!(error.kind == ErrorKind::Refused && error.hint.unwrap().contains("container"), "{}", error.message);
        }
        let wanted = Limits { processes: limit(64, true), ..Limits::default() };
        let set = limits(&wanted, ANN, &tools()).unwrap().unwrap();
        assert_eq!(set.prefix(), ["/usr/bin/prlimit", "--nproc=64", "--"].map(Word::from));
        for (user, tools) in [
            (User::default(), tools()),
            (ANN, Tools::default()),
            (ANN, Tools { prlimit: Some("/home/ann/bin/prlimit".into()), ..Tools::default() }),
        ] {
            assert_eq!(limits(&wanted, user, &tools).unwrap_err().kind, ErrorKind::Refused);
        }
    }

    #[test]
    fn a_default_limit_is_set_where_it_can_be() {
        let wanted = Limits { memory: limit(1, false), millicpus: limit(1, false), processes: limit(0, false) };
        assert_eq!(limits(&wanted, ANN, &tools()).unwrap().unwrap().value, 1);
        assert_eq!(limits(&wanted, ANN, &Tools::default()).unwrap(), None);
        assert_eq!(limits(&wanted, User::default(), &tools()).unwrap(), None);
        assert_eq!(limits(&Limits::default(), ANN, &tools()).unwrap(), None);
    }

    #[test]
    fn what_is_reported_is_what_holds() {
        assert_eq!(features(0).limits, []);
        assert_eq!(features(1000).limits, [LimitKind::Processes]);
        assert_eq!(kernel_version("6.1.0-13-amd64"), (6, 1));
        assert_eq!(kernel_version("5.4"), (5, 4));
        assert_eq!(kernel_version(""), (0, 0));
    }
}
