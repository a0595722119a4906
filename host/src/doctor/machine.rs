//! What the host itself needs of this machine, whatever the backend: git, a place for its state, `/proc`, the guest
//! program; and what it can use besides. Changes nothing.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use color_eyre::eyre::Report;
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, eaccess};
use serde::Serialize;

use super::finding::Finding;
use crate::git;
use crate::launch::survey;
use crate::multiplexer::Location;
use crate::surroundings::Surroundings;
use crate::text::{line, quote};
use crate::tool::{self, ToolError};

/// Tools that only say their version answer at once, or hang.
const DEADLINE: Duration = Duration::from_secs(5);
/// Private git directories and records are small; less than this is a disk that is full.
const LEAST_SPACE: u64 = 64 * 1024 * 1024;

/// The machine in a few words. Stable: scripts read it.
#[derive(Debug, Serialize)]
pub(super) struct System {
    /// `Linux 6.1.0`
    pub(super) kernel: String,
    /// `x86_64`
    pub(super) machine: String,
    /// What it calls itself in `/etc/os-release`.
    pub(super) distribution: Option<String>,
}

impl System {
    /// This one.
    pub(super) fn here() -> Self {
        let release = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|p| std::fs::read_to_string(p).ok());
        let distribution = release.as_deref().and_then(pretty_name);
        match nix::sys::utsname::uname() {
            Ok(name) => {
                let text = |part: &std::ffi::OsStr| line(&part.to_string_lossy());
                let kernel = format!("{} {}", text(name.sysname()), text(name.release()));
                Self { kernel, machine: text(name.machine()), distribution }
            }
            Err(_) => Self {
                kernel: std::env::consts::OS.to_owned(),
                machine: std::env::consts::ARCH.to_owned(),
                distribution,
            },
        }
    }
}

/// The name for people in the text of an `os-release` file.
fn pretty_name(text: &str) -> Option<String> {
    let of = |key: &str| {
        let value = text.lines().find_map(|l| l.trim().strip_prefix(key)?.strip_prefix('='))?;
        let value = line(value.trim_matches(['"', '\'']));
        (!value.is_empty()).then_some(value)
    };
    of("PRETTY_NAME").or_else(|| of("NAME"))
}

/// What needs to know nothing of the user.
pub(super) fn machine() -> Vec<Finding> {
    vec![git(), proc(Path::new("/proc"))]
}

/// What depends on where the program is and for whom it runs.
pub(super) fn installation(surroundings: &Surroundings) -> Vec<Finding> {
    let mut all = vec![state(&surroundings.state), guest(surroundings), tmux(surroundings)];
    if surroundings.uid == 0 {
        let text = "root; no agent runs as root, so the answers below are not those of an ordinary user";
        all.push(Finding::remark("user", text).hint("start it as the user who works here"));
    }
    all
}

fn git() -> Finding {
    const SUBJECT: &str = "git";
    let install = "install it with this system's package manager, for example: apt-get install git";
    match git::version(DEADLINE) {
        Ok(version) if version.is_enough => {
            Finding::good(SUBJECT, format!("{} in {}", version.text, quote(version.program.as_os_str())))
        }
        Ok(version) => {
            let (major, minor) = git::OLDEST;
            let program = quote(version.program.as_os_str());
            let text = format!("{program} is {}; {major}.{minor} or newer is needed", version.text);
            Finding::bad(SUBJECT, text, "install a newer git, and let it be the first on PATH")
        }
        Err(e @ git::GitError::Tool(ToolError::Missing { .. })) => Finding::bad(SUBJECT, e.to_string(), install),
        Err(e) => Finding::bad(SUBJECT, e.to_string(), "try it by hand: git --version"),
    }
}

fn proc(path: &Path) -> Finding {
    match statfs(path) {
        Ok(found) if found.filesystem_type() == PROC_SUPER_MAGIC => Finding::good("/proc", "mounted"),
        _ => Finding::bad("/proc", "is not mounted, and processes are recognised by it", "mount -t proc proc /proc"),
    }
}

/// Whether records and private git directories can be written, also where nothing of ours is there yet.
fn state(dir: &Path) -> Finding {
    const SUBJECT: &str = "state directory";
    let elsewhere = "make it writable for you, or name another place: export XDG_STATE_HOME=/a/directory/of/yours";
    let shown = quote(dir.as_os_str());
    let there = dir.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    let writable = eaccess(there, AccessFlags::W_OK | AccessFlags::X_OK);
    if let Err(e) = if there.is_dir() { writable } else { Err(nix::Error::ENOTDIR) } {
        let text = format!("{shown} cannot be written");
        return Finding::bad(SUBJECT, text, elsewhere).because([format!("{}: {}", quote(there.as_os_str()), e.desc())]);
    }
    let Ok(system) = statvfs(there) else { return Finding::good(SUBJECT, format!("{shown}, writable")) };
    // Types differ between systems.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let (free, files) = (
        (system.blocks_available() as u64).saturating_mul(system.fragment_size() as u64),
        system.files() == 0 || system.files_available() > 0,
    );
    let mib = free / 1024 / 1024;
    if free < LEAST_SPACE || !files {
        let what = if files { format!("{mib} MiB free") } else { "no room for another file".to_owned() };
        let text = format!("the disk of {shown} is full: {what}");
        return Finding::bad(SUBJECT, text, "make room there, or set XDG_STATE_HOME to a directory on another disk");
    }
    let size = if mib >= 10 * 1024 { format!("{} GiB", mib / 1024) } else { format!("{mib} MiB") };
    Finding::good(SUBJECT, format!("{shown}, writable, {size} free"))
}

fn guest(surroundings: &Surroundings) -> Finding {
    const SUBJECT: &str = "guest program";
    match survey::guest_program(surroundings) {
        Ok(path) => Finding::good(SUBJECT, quote(path.as_os_str())),
        Err(report) => Finding::failure(SUBJECT, &report),
    }
}

/// Only decoration: nothing here stops a sandbox.
fn tmux(surroundings: &Surroundings) -> Finding {
    const SUBJECT: &str = "tmux";
    let place = Location::from_environment(|name| std::env::var_os(name));
    let mut command = Command::new(SUBJECT);
    command.arg("-V").env_clear().env("PATH", surroundings.path_variable()).current_dir("/");
    match (tool::run(&mut command, b"", DEADLINE), place) {
        (Ok(output), place) if output.status.success() => {
            let said = line(&String::from_utf8_lossy(&output.stdout));
            let version = said.strip_prefix("tmux ").unwrap_or(&said);
            match place {
                Ok(_) => Finding::good(SUBJECT, format!("{version}, and this is one of its panes")),
                Err(why) => Finding::remark(SUBJECT, format!("{version}; status is shown nowhere: {why}")),
            }
        }
        (Err(ToolError::Missing { .. }), Err(_)) => {
            Finding::remark(SUBJECT, "not installed; only needed to show an agent's status")
        }
        (Err(e), _) => remark_of(&Report::new(e)),
        (Ok(output), _) => Finding::remark(SUBJECT, format!("does not work: {}", output.stderr_text())),
    }
}

fn remark_of(report: &Report) -> Finding {
    Finding { ok: None, hint: None, ..Finding::failure("tmux", report) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_distribution_is_what_it_calls_itself() {
        assert_eq!(pretty_name("ID=x\nPRETTY_NAME=\"X 1 (one)\"\n").as_deref(), Some("X 1 (one)"));
        assert_eq!(pretty_name("NAME='X'\n").as_deref(), Some("X"));
        assert_eq!(pretty_name("PRETTY_NAME=\"\x1b[2J\"\nVERSION=1\n"), None);
    }

    #[test]
    fn only_a_proc_is_one() {
        assert!(!proc(Path::new("/proc")).is_bad());
        for other in ["/", "/nonexistent"] {
            assert!(proc(Path::new(other)).is_bad());
        }
    }

    #[test]
    fn a_state_directory_may_be_missing_but_not_impossible() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        assert_eq!(state(&dir).ok, Some(true), "{:?}", state(&dir));
        assert!(!temp.path().join("a").exists(), "nothing was made");
        std::fs::write(temp.path().join("a"), "a file").unwrap();
        let found = state(&dir);
        assert!(found.is_bad() && found.causes[0].contains("Not a directory"), "{found:?}");
        // Root may write everywhere but where nobody can.
        let closed = temp.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
        assert_eq!(state(&closed.join("x")).is_bad(), !nix::unistd::geteuid().is_root());
        assert!(state(Path::new("/proc/1/x")).is_bad() || nix::unistd::geteuid().is_root());
    }
}
