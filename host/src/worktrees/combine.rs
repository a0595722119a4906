//! A merge, computed: the commit that a branch is to become. No checkout is touched, so nothing has to be undone where it
//! conflicts, and nobody who looks at one sees half of it.

use std::fs;
use std::path::Path;

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::changes::{Way, Work};
use crate::error::hinted;
use crate::git::Repository;
use crate::text;

/// What holds for a rebase, whatever the user's own configuration says: one branch moves, in a checkout without files.
const REBASE: [&str; 6] = [
    "core.sparseCheckout=true",
    "core.sparseCheckoutCone=false",
    "rebase.backend=merge",
    "rebase.updateRefs=false",
    "rebase.autoStash=false",
    "rebase.rebaseMerges=false",
];

impl Work<'_> {
    /// The commit that brings `theirs` into `ours`, both commits; nothing where it is there already.
    pub(crate) fn combined(&self, ours: &str, theirs: &str, way: Way, message: &str) -> Result<Option<String>> {
        let base = self.text("merge-base", &[ours, theirs]).unwrap_or_default();
        if base == theirs {
            return Ok(None);
        }
        if base == ours && way != Way::Squash {
            return Ok(Some(theirs.to_owned()));
        }
        if way == Way::Rebase {
            return Err(hinted("the branch to merge into has just changed", "try again"));
        }
        let tried = self.git("merge-tree")?.args(["--write-tree", "--name-only", "-z", ours, theirs]).output()?;
        if !tried.status.success() {
            return Err(conflict("merge", &text::block(&tried.stderr_text()), conflicting(&tried.stdout)));
        }
        let tree = tried.stdout.split(|b| *b == 0).next().unwrap_or_default();
        let tree = String::from_utf8_lossy(tree).trim().to_owned();
        let now = self.text("rev-parse", &["--verify", "--quiet", &format!("{ours}^{{tree}}")])?;
        if way == Way::Squash && now == tree {
            return Ok(None);
        }
        let mut parents = vec!["-p", ours];
        if way == Way::Merge {
            parents.extend(["-p", theirs]);
        }
        let made = self.committing("commit-tree")?.arg(&tree).args(parents).args(["-m", message]).run()?;
        Ok(Some(String::from_utf8_lossy(&made).trim().to_owned()))
    }

    /// The commit that `tip` becomes when its commits are put on top of `onto`. Computed in a private worktree of its own
    /// below `private`, which holds no files but those that conflict.
    pub(crate) fn rebased(&self, tip: &str, onto: &str, private: &Path) -> Result<String> {
        let failed = || "the rebase could not be prepared";
        let tree = private.join("rebase");
        let begin = || -> Result<Repository> {
            let add = ["add", "--quiet", "--detach", "--no-checkout", "--"];
            self.in_turn("worktree", |git| git.args(add).arg(&tree).arg(tip))?;
            let repository = Repository::discover(&tree)?;
            let info = repository.admin_dir.join("info");
            fs::create_dir_all(&info)?;
            fs::write(info.join("sparse-checkout"), "/.workmux-checks-nothing-out\n")?;
            Ok(repository)
        };
        let outcome = begin().wrap_err_with(failed).and_then(|repository| {
            let outcome = Work::new(&repository, self.behalf).and_then(|there| there.rebase_here(onto));
            let _there = fs::remove_dir_all(&repository.admin_dir);
            outcome
        });
        let _with_its_parent = fs::remove_dir_all(&tree);
        outcome
    }

    fn rebase_here(&self, onto: &str) -> Result<String> {
        let quiet = |command: crate::git::GitCommand| REBASE.iter().fold(command, |command, s| command.setting(*s));
        quiet(self.git("read-tree")?).args(["-m", "-u", "HEAD"]).run()?;
        let rebase = quiet(self.committing("rebase")?).args(["--quiet", "--no-autosquash", "--end-of-options", onto]);
        let output = rebase.output()?;
        if !output.status.success() {
            return Err(conflict("rebase", &text::block(&output.stderr_text()), self.conflicts()));
        }
        self.commit("HEAD")?.ok_or_else(|| Report::msg("git left no commit"))
    }

    fn conflicts(&self) -> Vec<String> {
        let listed = self.git("diff").and_then(|git| git.args(["--name-only", "--diff-filter=U", "-z"]).run());
        let listed = listed.unwrap_or_default();
        listed.split(|b| *b == 0).filter(|p| !p.is_empty()).map(|p| text::line(&String::from_utf8_lossy(p))).collect()
    }

    /// The subjects of what `branch` has and `target` has not, oldest first.
    pub(crate) fn subjects(&self, branch: &str, target: &str) -> Result<Vec<String>> {
        let range = format!("refs/heads/{target}..refs/heads/{branch}");
        let all = self.text("log", &["--reverse", "--no-show-signature", "--format=%s", "-n", "200", &range, "--"])?;
        Ok(all.lines().map(text::line).collect())
    }
}

/// The files that `merge-tree` names.
fn conflicting(said: &[u8]) -> Vec<String> {
    let files = said.split(|b| *b == 0).skip(1).take_while(|path| !path.is_empty());
    files.map(|path| text::line(&String::from_utf8_lossy(path))).collect()
}

fn conflict(what: &str, said: &str, files: Vec<String>) -> Report {
    if files.is_empty() {
        let said = if said.is_empty() { "git does not say why".to_owned() } else { said.to_owned() };
        return Report::msg(said).wrap_err(format!("the {what} failed; nothing was changed"));
    }
    let shown = files.iter().take(8).map(|file| format!("'{file}'")).collect::<Vec<_>>().join(", ");
    let more = files.len().saturating_sub(8);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    hinted(
        format!("the {what} conflicts in {shown}{more}; nothing was changed"),
        "in the worktree: git merge the other branch, solve the conflicts, commit, then merge again",
    )
}
