//! A process that can be told from a later one with the same number: number, start time and boot.

use std::fs;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: u32,
    /// Boot id, `/`, start in clock ticks since boot; compared only for equality.
    pub start: String,
}

impl ProcessIdentity {
    /// This process.
    pub fn own() -> Self {
        let pid = std::process::id();
        Self { pid, start: start_of(pid).unwrap_or_default() }
    }

    /// A process by number, if it is there.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start: start_of(pid)? })
    }
}

/// Whether that very process still lives. A zombie does not.
pub fn alive(process: &ProcessIdentity) -> bool {
    start_of(process.pid).is_some_and(|start| start == process.start)
}

fn start_of(pid: u32) -> Option<String> {
    let boot = boot()?;
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses and may itself contain any byte.
    let after_name = stat.iter().rposition(|b| *b == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    Some(format!("{boot}/{}", fields.nth(18)?))
}

/// Which boot this is. Does not change while a process lives.
fn boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned());
    BOOT.get_or_init(read).as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p58_a_reused_number_is_another_process() {
        let own = ProcessIdentity::own();
        assert!(alive(&own));
        assert!(!alive(&ProcessIdentity { start: "another boot/1".into(), ..own.clone() }));
        assert_eq!(ProcessIdentity::of(own.pid), Some(own));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read x"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let identity = ProcessIdentity::of(child.id()).unwrap();
        assert!(alive(&identity));
        child.kill().unwrap();
        // Not reaped yet: wait for the state without reaping.
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        waitid(Id::Pid(nix::unistd::Pid::from_raw(child.id() as i32)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
            .unwrap();
        assert!(!alive(&identity));
        child.wait().unwrap();
    }
}
