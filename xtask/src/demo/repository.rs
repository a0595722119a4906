//! The demo's home directory: a repository with a linked worktree, a key worth stealing, a tmux server.
//!
//! All of it belongs to the ordinary user and lies in a folder that goes away with the demo.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::finish;
use crate::Result;
use crate::account::Account;
use crate::process::{self, Finished};

const AGENT: &str = include_str!("agent.sh");
const README: &str = "# A project\n";
const CONFIG: &str = "sandbox:\n  enabled: true\n  backend: bubblewrap\n";

/// A home with a repository in it.
pub(super) struct Repository {
    account: Account,
    home: PathBuf,
    secret: PathBuf,
    /// The tmux server's process id.
    server: String,
    pane: String,
}

/// What stands in the key.
pub(super) fn secret(nonce: &str) -> String {
    format!("secret-{nonce}")
}

impl Repository {
    /// Makes everything below `folder`.
    pub(super) fn make(account: &Account, folder: &Path, nonce: &str) -> Result<Self> {
        let home = account.folder(&folder.join("home"))?;
        let secret_file = home.join(".ssh/id_demo");
        let (server, pane) = (String::new(), String::new());
        let mut this = Self { account: account.clone(), secret: secret_file, home, server, pane };
        for name in ["run", ".ssh", ".config", ".config/workmux", "project", "project/src"] {
            account.folder(&this.home.join(name))?;
        }
        this.write(&this.secret, &secret(nonce))?;
        this.write(&this.home.join(".config/workmux/config.yaml"), CONFIG)?;
        this.write(&this.main().join("README.md"), README)?;
        this.write(&this.main().join("agent.sh"), AGENT)?;
        this.git(&["init", "--quiet", "--initial-branch=main"])?;
        this.git(&["config", "user.name", "Demo"])?;
        this.git(&["config", "user.email", "demo@example.invalid"])?;
        this.git(&["add", "README.md", "agent.sh"])?;
        this.git(&["commit", "--quiet", "--message=first"])?;
        let worktree = this.worktree();
        this.git(&["worktree", "add", "--quiet", "-b", "agent", &worktree.to_string_lossy()])?;
        process::output(&mut this.tmux(&["new-session", "-d", "-x", "80", "-y", "24", "sleep 1000"]))?;
        let facts = process::output(&mut this.tmux(&["list-panes", "-a", "-F", "#{pid} #{pane_id}"]))?;
        let (server, pane) = facts.trim().split_once(' ').ok_or("tmux shows no pane")?;
        (this.server, this.pane) = (server.to_owned(), pane.to_owned());
        Ok(this)
    }

    fn main(&self) -> PathBuf {
        self.home.join("project")
    }

    fn worktree(&self) -> PathBuf {
        self.home.join("project__worktrees/agent")
    }

    fn socket(&self) -> PathBuf {
        self.home.join("run/tmux")
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        let owner = |()| match self.account.borrowed {
            true => std::os::unix::fs::chown(path, Some(self.account.uid), Some(self.account.gid)),
            false => Ok(()),
        };
        fs::write(path, text).and_then(owner).map_err(|e| format!("could not write '{}': {e}", path.display()))
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.account.command(program, &self.home);
        command.env("XDG_RUNTIME_DIR", self.home.join("run"));
        command
    }

    fn tmux(&self, words: &[&str]) -> Command {
        let mut tmux = self.command("tmux");
        tmux.arg("-uS").arg(self.socket()).args(["-f", "/dev/null"]).args(words);
        tmux
    }

    /// Host git in the main checkout.
    pub(super) fn git(&self, words: &[&str]) -> Result<String> {
        process::output(self.command("git").arg("-C").arg(self.main()).args(words))
    }

    /// Host git in the agent's worktree.
    pub(super) fn worktree_git(&self, words: &[&str]) -> Result<String> {
        process::output(self.command("git").arg("-C").arg(self.worktree()).args(words))
    }

    /// Runs the agent as a user would, in a window of the tmux server.
    pub(super) fn run_agent(&self, program: &Path, nonce: &str) -> Result<Finished> {
        let mut command = self.command(program);
        command.current_dir(self.worktree());
        command.env("TMUX", format!("{},{},0", self.socket().display(), self.server)).env("TMUX_PANE", &self.pane);
        command.args(["sandbox", "agent", "--", "sh", "agent.sh", nonce]).arg(&self.secret).arg(self.main());
        finish(&mut command)
    }

    /// The status icon of the agent's window.
    pub(super) fn window_status(&self) -> Result<String> {
        let words = ["show-options", "-wqv", "-t", &self.pane, "@workmux_status"];
        Ok(process::output(&mut self.tmux(&words))?.trim().to_owned())
    }

    /// Whether the file that the agent overwrote was the real one.
    pub(super) fn readme_changed(&self) -> Result<bool> {
        Ok(fs::read_to_string(self.main().join("README.md")).map_err(|e| e.to_string())? != README)
    }

    /// Whether a file of the agent's lies where none should.
    pub(super) fn planted(&self) -> bool {
        self.home.join("planted").exists() || self.main().join("planted").exists()
    }

    /// Whether the real git directory has the agent's hook.
    pub(super) fn has_hook(&self) -> bool {
        self.main().join(".git/hooks/pre-commit").exists()
    }

    /// Every file of the real git directory.
    pub(super) fn snapshot(&self) -> Result<Snapshot> {
        let (git, mut files) = (self.main().join(".git"), BTreeMap::new());
        collect(&git, &git, &mut files).map_err(|e| format!("could not read '{}': {e}", git.display()))?;
        Ok(Snapshot(files))
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        process::succeeds(&mut self.tmux(&["kill-server"]));
    }
}

/// The files of a git directory and what stands in them.
pub(super) struct Snapshot(BTreeMap<PathBuf, Vec<u8>>);

impl Snapshot {
    /// Files that differ and that a commit on the branch 'agent' does not change.
    pub(super) fn changed_since(&self, before: &Self) -> Vec<String> {
        const EXPECTED: [&str; 7] = [
            "objects",
            "refs/heads/agent",
            "logs/refs/heads/agent",
            "worktrees/agent/index",
            "worktrees/agent/HEAD",
            "worktrees/agent/logs",
            "worktrees/agent/COMMIT_EDITMSG",
        ];
        let names = self.0.keys().chain(before.0.keys().filter(|k| !self.0.contains_key(*k)));
        let differ = names.filter(|name| self.0.get(*name) != before.0.get(*name));
        let unexpected = differ.filter(|name| !EXPECTED.iter().any(|e| name.starts_with(e)));
        unexpected.map(|name| name.display().to_string()).collect()
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let content = if meta.is_file() { fs::read(&path)? } else { b"not a plain file".to_vec() };
        files.insert(path.strip_prefix(root).unwrap_or(&path).to_owned(), content);
    }
    Ok(())
}
