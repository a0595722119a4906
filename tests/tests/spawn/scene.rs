//! A user who wants every agent in a sandbox, and agents that do as they are told: an agent's prompt is its script.

#![expect(clippy::print_stderr, reason = "why a test failed is in what its agents printed")]

use std::path::PathBuf;

use workmux_tests::World;

/// Where the worktree of this handle lies.
pub(crate) fn tree(world: &World, handle: &str) -> PathBuf {
    world.home().join("project__worktrees").join(handle)
}

/// The branches, sorted.
pub(crate) fn branches(world: &World) -> Vec<String> {
    let listed = world.git(&world.main(), &["branch", "--format=%(refname:short)"]).ok().stdout;
    listed.lines().map(str::to_owned).collect()
}

/// The subjects of a branch's commits, newest first, without those of merges.
pub(crate) fn subjects(world: &World, branch: &str) -> Vec<String> {
    let listed = world.git(&world.main(), &["log", "--no-merges", "--format=%s", branch, "--"]).ok().stdout;
    listed.lines().map(str::to_owned).collect()
}

/// The worktrees that are known, by their records.
pub(crate) fn records(world: &World) -> Vec<PathBuf> {
    let found = std::fs::read_dir(world.state().join("worktrees")).into_iter().flatten().flatten();
    found.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Tells what a world's agents printed and what the host noted of them, where the test that holds it fails.
pub(crate) struct Witness<'w>(pub(crate) &'w World);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let logs = records(self.0).into_iter().map(|record| record.join("terminal/log"));
        for file in logs.chain(["workmux.log", "journal.jsonl"].map(|name| self.0.state().join(name))) {
            let text = std::fs::read(&file).unwrap_or_default();
            eprintln!("--- {}\n{}", file.display(), String::from_utf8_lossy(&text));
        }
    }
}
