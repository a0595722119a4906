//! What the tests about worktrees share: where things come to lie, what is known of an agent, and that nothing is left.

use std::path::PathBuf;

use serde_json::Value;
use workmux_tests::{Run, Sandbox, World, wait_until};

/// A commit of one file, as an agent makes it.
pub(crate) fn commit(name: &str) -> String {
    format!("echo {name} > {name}; git add {name}; git commit --quiet -m {name}")
}

/// A world with a stand-in for claude, and sandboxes of the kind that starts fastest.
pub(crate) fn world() -> World {
    World::with_agent(Sandbox::Bubblewrap)
}

/// What tests ask a world about its worktrees.
pub(crate) trait Worktrees {
    /// Where a worktree comes to lie.
    fn tree(&self, handle: &str) -> PathBuf;
    /// All branches.
    fn branches(&self) -> Vec<String>;
    /// The subjects of a branch, the newest first.
    fn log(&self, branch: &str) -> String;
    /// Waits until a branch has these: what is committed in a sandbox arrives a moment later.
    fn wait_for_log(&self, branch: &str, subjects: &str);
    /// The directories below the state directory that hold what is known of worktrees.
    fn records(&self) -> Vec<PathBuf>;
    /// What `status --json` says of a worktree.
    fn agent_of(&self, handle: &str) -> Value;
    /// All that agents in the background have printed.
    fn printed(&self) -> String;
    /// Waits until the agent of a worktree says this of itself.
    fn wait_for_status(&self, handle: &str, status: &str);
    /// `workmux add` with a prompt, in the background.
    fn add(&self, words: &[&str]) -> Run;
    /// There is nothing but the main checkout, and no trace of anything else.
    fn assert_nothing_made(&self);
}

impl Worktrees for World {
    fn tree(&self, handle: &str) -> PathBuf {
        self.home().join("project__worktrees").join(handle)
    }

    fn branches(&self) -> Vec<String> {
        let all = self.git(&self.main(), &["branch", "--format=%(refname:short)"]).ok().stdout;
        all.lines().map(str::to_owned).collect()
    }

    fn log(&self, branch: &str) -> String {
        self.git(&self.main(), &["log", "--format=%s", branch, "--"]).ok().stdout.trim_end().replace('\n', " ")
    }

    #[track_caller]
    fn wait_for_log(&self, branch: &str, subjects: &str) {
        wait_until(&format!("'{subjects}' on '{branch}'"), || self.log(branch) == subjects);
    }

    fn records(&self) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.state().join("worktrees")).into_iter().flatten().flatten();
        all.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    fn agent_of(&self, handle: &str) -> Value {
        let said = self.workmux(&["status", "--json", handle]).run().ok().stdout;
        let mut all: Vec<Value> = serde_json::from_str(&said).expect("JSON");
        all.pop().unwrap_or_default()
    }

    fn printed(&self) -> String {
        let logs = self.records().into_iter().map(|record| record.join("terminal/log"));
        logs.filter_map(|log| std::fs::read(log).ok()).map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
    }

    #[track_caller]
    fn wait_for_status(&self, handle: &str, status: &str) {
        wait_until(&format!("'{handle}' to be {status}"), || {
            let agent = self.agent_of(handle);
            let ended = !agent["exit_code"].is_null() && agent["status"] != status;
            assert!(!ended, "it ended before it was {status}: {agent}\n{}", self.printed());
            agent["status"] == status
        });
    }

    fn add(&self, words: &[&str]) -> Run {
        self.workmux(&["add"]).args(words)
    }

    #[track_caller]
    fn assert_nothing_made(&self) {
        assert_eq!(self.branches(), ["main"]);
        let trees = self.git(&self.main(), &["worktree", "list", "--porcelain"]).ok().stdout;
        assert_eq!(trees.matches("worktree ").count(), 1, "{trees}");
        let base = self.home().join("project__worktrees");
        assert!(base.symlink_metadata().is_err(), "{} is there", base.display());
        assert!(self.records().is_empty(), "{:?}", self.records());
        let config = self.read(self.git_dir().join("config"));
        assert!(!config.contains("workmux") && !config.contains("[branch"), "{config}");
        self.assert_clean();
    }
}
