//! What a container says of itself: whose it is, so that leftovers can be told from what somebody else made. No secrets.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use workmux_plugin_api::SandboxSpec;

/// Every container of ours has it.
pub(crate) const MANAGED: &str = "workmux.managed=1";
/// The run that made it.
pub(crate) const RUN: &str = "workmux.run";

/// The machine that made it.
pub(crate) const HOST: &str = "workmux.host";

/// The user that made it: several may share one engine.
pub(crate) const USER: &str = "workmux.user";

/// Whoever runs this program.
pub(crate) fn user() -> String {
    nix::unistd::geteuid().to_string()
}

/// All of one container.
pub(crate) fn of(spec: &SandboxSpec) -> Vec<String> {
    vec![
        MANAGED.to_owned(),
        format!("{RUN}={}", spec.run),
        format!("{HOST}={}", host()),
        format!("{USER}={}", user()),
        format!("workmux.worktree={}", worktree(&spec.worktree)),
        format!("workmux.pid={}", std::process::id()),
        format!("workmux.start={}", start()),
    ]
}

/// This machine, without saying which one it is.
pub(crate) fn host() -> String {
    short(&[machine().as_bytes()])
}

/// A worktree of this machine.
fn worktree(path: &Path) -> String {
    short(&[machine().as_bytes(), path.as_os_str().as_bytes()])
}

fn machine() -> String {
    fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned()
}

/// The first 16 hex digits of the SHA-256.
fn short(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// When this process started, as the system says it; compared for equality only.
fn start() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may hold anything; what follows it are numbers.
    let ticks = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)).unwrap_or_default();
    format!("{}/{ticks}", boot.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_plain_and_tell_worktrees_apart() {
        let spec = SandboxSpec { run: "ab".into(), worktree: "/secret place/x".into(), ..SandboxSpec::default() };
        let labels = of(&spec);
        assert!(labels.contains(&"workmux.run=ab".to_owned()));
        assert!(labels.iter().all(|label| !label.contains("secret") && !label.contains(' ')), "{labels:?}");
        assert_ne!(worktree(Path::new("/a")), worktree(Path::new("/b")));
        assert_eq!(start(), start());
        assert!(start().rsplit_once('/').is_some_and(|(boot, ticks)| boot.len() == 36 && ticks.parse::<u64>().is_ok()));
    }
}
