//! What runs leave behind: processes, mounts, sockets, records. After a run there must be nothing.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::sandbox::Sandbox;
use crate::wait::{PATIENCE, wait_for};
use crate::world::World;

/// A process that is not taken for a later one of the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number on this machine.
    pub pid: Pid,
    /// Its words, separated by spaces.
    pub words: String,
    parent: Pid,
    start: String,
}

impl Process {
    /// The process of this number, unless it is gone or a zombie.
    pub fn find(pid: Pid) -> Option<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let stat = fs::read(folder.join("stat")).ok()?;
        // The name stands in parentheses and may hold any byte.
        let after_name = stat.iter().rposition(|b| *b == b')')? + 1;
        let mut fields = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let parent = Pid::from_raw(fields.next()?.parse().ok()?);
        let start = fields.nth(17)?.to_owned();
        let words = text(&folder.join("cmdline")).trim_end_matches('\0').replace('\0', " ");
        Some(Self { pid, words, parent, start })
    }

    /// Whether that very process still runs.
    pub fn lives(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.start == self.start)
    }

    fn file(&self, name: &str) -> String {
        text(&Path::new("/proc").join(self.pid.to_string()).join(name))
    }
}

/// Every process of this machine that we can see.
pub fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc can be listed").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Process::find(Pid::from_raw(pid)))
        .collect()
}

/// All that a process started, directly or not, and itself.
pub fn family(of: Pid) -> Vec<Process> {
    let all = processes();
    let mut family: Vec<Process> = all.iter().filter(|p| p.pid == of).cloned().collect();
    let mut at = 0;
    while at < family.len() {
        let parent = family[at].pid;
        family.extend(all.iter().filter(|p| p.parent == parent).cloned());
        at += 1;
    }
    family
}

impl World {
    /// What runs of this world left on the machine, in words.
    pub fn residue(&self) -> Vec<String> {
        let home = self.home().to_str().expect("UTF-8");
        let mut found = Vec::new();
        for process in processes() {
            let name = process.file("comm");
            // The server of a test's tmux names its socket, which lies in the world.
            if name.starts_with("tmux") || process.pid == Pid::this() {
                continue;
            }
            if self.sandbox() == Sandbox::Lima && is_machine(&name, &process.words) {
                continue;
            }
            // The second name is what it has where it started itself.
            let ours = matches!(name.trim_end(), "workmux" | "exe") && process.file("environ").contains(home);
            if ours || process.words.contains(home) || process.file("mountinfo").contains(home) {
                found.push(format!("process {}: {}", process.pid, process.words));
            }
        }
        let left = inside(self.state().join("runs")).chain(self.git_directories());
        found.extend(left.map(|path| format!("file {}", path.display())));
        let sockets = self.program("find").arg(self.home()).args(["-type", "s", "!", "-name", "tmux"]).run();
        let machines = self.lima_home();
        let sockets = sockets.stdout.lines().filter(|path| !Path::new(path).starts_with(&machines));
        found.extend(sockets.map(|path| format!("socket {path}")));
        for machine in self.machines() {
            let given = self.state().join("backends/lima/machines").join(machine).join("host/runs");
            found.extend(inside(given).map(|path| format!("file {}", path.display())));
        }
        if self.sandbox().is_container() {
            let list = self.engine(&["ps", "--all", "--quiet", "--no-trunc", "--filter", "label=workmux.managed=1"]);
            for id in list.stdout.split_whitespace() {
                let container = self.engine(&["container", "inspect", id]);
                if container.stdout.contains(home) {
                    found.push(format!("container {id}"));
                }
            }
        }
        if text(Path::new("/proc/self/mountinfo")).contains(home) {
            found.push("a mount".to_owned());
        }
        found
    }

    /// The private git directories that are there. That of a repository, in which they lie, stays and is none.
    pub fn git_directories(&self) -> Vec<PathBuf> {
        let git = self.state().join("git");
        let open = git.join("open");
        let ours = inside(git).filter(|path| *path != open);
        ours.chain(inside(open.clone()).flat_map(inside)).collect()
    }

    /// The first process of the sandbox that runs. An engine's is no child of ours.
    ///
    /// # Panics
    /// When there is none.
    pub fn first_process(&self) -> Process {
        let home = self.home().to_str().expect("UTF-8");
        // What lays a sandbox out in a machine names it too.
        let first = |p: &Process| p.words.contains("workmux init") && !p.words.contains("workmux unshare");
        let inside = |p: &Process| first(p) && p.file("mountinfo").contains(home);
        wait_for("a first process", || processes().into_iter().find(inside))
    }

    /// Nothing is left of any run.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn assert_clean(&self) {
        let left = self.residue();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }

    /// Waits until nothing is left of any run: for runs whose supervisor was killed and could not wait itself.
    ///
    /// # Panics
    /// When something stays.
    pub fn wait_until_clean(&self) {
        let mut left = Vec::new();
        let clean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("nothing to be left", || {
                left = self.residue();
                left.is_empty().then_some(())
            });
        }));
        assert!(clean.is_ok(), "left behind after {} s: {left:#?}", PATIENCE.as_secs());
    }
}

/// Whether a process belongs to a machine, which outlives runs, and not to a sandbox in it.
fn is_machine(name: &str, words: &str) -> bool {
    match name.trim_end() {
        "limactl" | "bwrap" | "sshd" | "sshd-session" => true,
        "bash" => words.contains("fake-boot"),
        // In the place of a server for ssh, where a test wants none.
        "sleep" => words == "sleep infinity",
        // The connection that all commands share; a command's own client says what it runs.
        "ssh" => !words.contains("unshare"),
        _ => false,
    }
}

/// What a directory holds; nothing where it is not there.
fn inside(dir: PathBuf) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// A file's text; empty when it is gone or not for us.
fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
