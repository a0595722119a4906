//! What is done to the repository: making and removing worktrees and branches, looking for work that would be lost,
//! moving changes over, merging. Each is git's own command, through the one hardened way to run it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use color_eyre::eyre::{Report, Result, WrapErr as _};

use crate::error::hinted;
use crate::git::{GitCommand, GitError, Repository};
use crate::text;

/// Directories in each other; below that everything counts as one file.
const DEEPEST: usize = 64;

/// On whose behalf git works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behalf {
    /// The user typed it: the user's own configuration counts.
    User,
    /// A guest asked for it: nothing configured runs on what the guest made (P19, P20).
    Guest,
}

/// One checkout to work in.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    repository: &'a Repository,
    behalf: Behalf,
    tame: Vec<String>,
}

/// How a branch is brought into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `git merge`.
    Merge,
    /// Rebased first, then forwarded.
    Rebase,
    /// As one commit.
    Squash,
}

impl<'a> Work<'a> {
    /// Work in this checkout.
    pub(crate) fn new(repository: &'a Repository, behalf: Behalf) -> Result<Self> {
        let tame = match behalf {
            Behalf::Guest if !crate::mutant::off("p19_tame") => repository.tame()?,
            _ => Vec::new(),
        };
        Ok(Self { repository, behalf, tame })
    }

    fn git(&self, verb: &str) -> Result<GitCommand, GitError> {
        let command = self.repository.git(verb)?;
        Ok(match self.behalf {
            Behalf::User => command.user_config(),
            Behalf::Guest => self.tame.iter().fold(command, |command, setting| command.setting(setting)),
        })
    }

    /// As [`Self::git`], for what makes commits.
    fn committing(&self, verb: &str) -> Result<GitCommand, GitError> {
        let identity = self.repository.identity();
        let mut command = self.git(verb)?;
        for (names, value) in [
            (["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"], identity.name),
            (["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"], identity.email),
        ] {
            if let Some(value) = value {
                command = names.into_iter().fold(command, |command, name| command.env(name, &value));
            }
        }
        Ok(command)
    }

    fn text(&self, verb: &str, words: &[&str]) -> Result<String, GitError> {
        Ok(String::from_utf8_lossy(&self.git(verb)?.args(words).run()?).trim_end().to_owned())
    }

    /// Holds back everybody else of ours who changes worktrees or branches: git reads the records of all worktrees then,
    /// and fails at one that is half made.
    fn alone(&self) -> Option<File> {
        // Without the lock the worst that comes is such a failure.
        let all = File::open(&self.repository.common_dir).ok()?;
        all.lock().ok().map(|()| all)
    }

    /// Makes a worktree at `path` with a new branch at `base`. The error says where the branch exists already.
    pub(crate) fn add(&self, path: &Path, branch: &str, base: &str) -> Result<(), Added> {
        let _alone = self.alone();
        let command = self.git("worktree").map_err(Added::Failed)?;
        let command = command.args(["add", "--quiet", "--no-track", "-b", branch]).arg("--").arg(path).arg(base);
        match command.run() {
            Ok(_) => Ok(()),
            Err(GitError::Failed { detail, .. })
                if detail.contains("a branch named") && detail.contains("already exists") =>
            {
                Err(Added::BranchExists)
            }
            Err(GitError::Failed { detail, .. })
                if detail.contains("cannot lock ref") && detail.contains("cannot create") =>
            {
                Err(Added::InTheWay)
            }
            Err(e) => Err(Added::Failed(e)),
        }
    }

    /// Makes a worktree at `path` for a branch that exists.
    pub(crate) fn add_existing(&self, path: &Path, branch: &str) -> Result<(), GitError> {
        let _alone = self.alone();
        self.git("worktree")?.args(["add", "--quiet", "--"]).arg(path).arg(branch).run().map(drop)
    }

    /// Removes a worktree, with whatever is in it.
    pub(crate) fn remove_worktree(&self, path: &Path) -> Result<(), GitError> {
        let _alone = self.alone();
        // Twice: even if it is locked.
        self.git("worktree")?.args(["remove", "--force", "--force", "--"]).arg(path).run().map(drop)
    }

    /// Forgets worktrees whose directories are gone.
    pub(crate) fn prune_worktrees(&self) -> Result<(), GitError> {
        let _alone = self.alone();
        self.git("worktree")?.arg("prune").run().map(drop)
    }

    /// Removes a branch, merged or not.
    pub(crate) fn delete_branch(&self, branch: &str) -> Result<(), GitError> {
        let _alone = self.alone();
        self.git("branch")?.args(["--delete", "--force", "--quiet", "--", branch]).run().map(drop)
    }

    /// The commit of a name; nothing where there is none.
    pub(crate) fn commit(&self, name: &str) -> Result<Option<String>, GitError> {
        let words = ["--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")];
        let output = self.git("rev-parse")?.args(words).output()?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    }

    /// The commit of a branch.
    pub(crate) fn branch(&self, branch: &str) -> Result<Option<String>, GitError> {
        self.commit(&format!("refs/heads/{branch}"))
    }

    /// What is not committed here: paths, as git shows them. Submodules are never looked into.
    pub(crate) fn uncommitted(&self, untracked: bool) -> Result<Vec<String>, GitError> {
        let listed = if untracked { "--untracked-files=normal" } else { "--untracked-files=no" };
        let shown = self.git("status")?.args(["--porcelain", "-z", "--ignore-submodules=all", listed]).run()?;
        Ok(shown
            .split(|b| *b == 0)
            .filter(|entry| entry.len() > 3)
            .map(|entry| text::line(&String::from_utf8_lossy(&entry[3..])))
            .collect())
    }

    /// How many commits `branch` has that `other` has not.
    pub(crate) fn ahead(&self, branch: &str, other: &str) -> Result<usize, GitError> {
        let range = format!("refs/heads/{other}..refs/heads/{branch}");
        Ok(self.text("rev-list", &["--count", &range, "--"])?.parse().unwrap_or(usize::MAX))
    }

    /// Files of this checkout of `target` that git does not know, and that bringing `branch` in would overwrite or remove:
    /// ignored ones are worth nothing to git.
    pub(crate) fn in_the_way(&self, branch: &str, target: &str) -> Result<Vec<String>, GitError> {
        let (ours, theirs) = (format!("refs/heads/{target}"), format!("refs/heads/{branch}"));
        let listed = |filter: &str, range: &[&str]| -> Result<BTreeSet<Vec<u8>>, GitError> {
            let words = ["--name-only", "--no-renames", "--ignore-submodules=none", "-z", filter];
            let output = self.git("diff")?.args(words).args(range).arg("--").run()?;
            Ok(output.split(|b| *b == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect())
        };
        let new = listed("--diff-filter=A", &[&ours, &theirs])?;
        let changed = listed("--diff-filter=AMT", &[&format!("{ours}...{theirs}")])?;
        let goes = listed("--diff-filter=D", &[&ours, &theirs])?;
        let root = &self.repository.worktree;
        let mut found = BTreeSet::new();
        for path in new.intersection(&changed) {
            let path = Path::new(OsStr::from_bytes(path));
            let mut parts: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
            parts.reverse();
            for part in parts {
                let Ok(there) = fs::symlink_metadata(root.join(part)) else { break };
                let known = goes.contains(part.as_os_str().as_bytes());
                if there.is_dir() && part != path {
                    continue;
                }
                if there.is_dir() {
                    unknown(root, part, &goes, &mut found, 0);
                } else if !known {
                    found.insert(text::line(&part.to_string_lossy()));
                }
                break;
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Branches whose upstream is gone.
    pub(crate) fn gone(&self) -> Result<Vec<String>, GitError> {
        let format = "--format=%(upstream:track) %(refname)";
        let all = self.text("for-each-ref", &[format, "refs/heads"])?;
        Ok(all.lines().filter_map(|line| line.strip_prefix("[gone] refs/heads/").map(str::to_owned)).collect())
    }

    /// The main branch: as configured, what the first remote's HEAD says, or the usual names.
    pub(crate) fn main_branch(&self, configured: Option<&str>) -> Result<Option<String>> {
        if let Some(configured) = configured {
            return Ok(Some(configured.to_owned()));
        }
        if let Ok(head) = self.text("symbolic-ref", &["--quiet", "--short", "refs/remotes/origin/HEAD"])
            && let Some(branch) = head.strip_prefix("origin/")
        {
            return Ok(Some(branch.to_owned()));
        }
        for usual in ["main", "master"] {
            if self.branch(usual)?.is_some() {
                return Ok(Some(usual.to_owned()));
            }
        }
        Ok(None)
    }

    /// Sets aside what is not committed; nothing where there is nothing. The answer is the commit that holds it.
    pub(crate) fn set_aside(&self, untracked: bool) -> Result<Option<String>> {
        let before = self.commit("refs/stash")?;
        let words = ["push", "--quiet", "--message", "workmux: changes on their way to a new worktree"];
        self.committing("stash")?.args(words).args(untracked.then_some("--include-untracked")).run()?;
        let after = self.commit("refs/stash")?;
        Ok(after.filter(|after| Some(after) != before.as_ref()))
    }

    /// Brings here what was set aside in another checkout, or back.
    pub(crate) fn bring(&self, stash: &str) -> Result<(), GitError> {
        let with_index = self.committing("stash")?.args(["apply", "--quiet", "--index", stash]).run();
        match with_index {
            Ok(_) => Ok(()),
            Err(_) => self.committing("stash")?.args(["apply", "--quiet", stash]).run().map(drop),
        }
    }

    /// Forgets what was set aside, if it is still the newest.
    pub(crate) fn forget(&self, stash: &str) -> Result<()> {
        if self.commit("refs/stash")?.as_deref() == Some(stash) {
            self.git("stash")?.args(["drop", "--quiet"]).run()?;
        }
        Ok(())
    }

    /// Puts this checkout's branch on top of `onto`; where that conflicts, everything is as before.
    pub(crate) fn rebase(&self, onto: &str) -> Result<()> {
        let _alone = self.alone();
        let output = self
            .committing("rebase")?
            .args(["--quiet", "--end-of-options"])
            .arg(format!("refs/heads/{onto}"))
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let conflicts = self.conflicts();
        let _nothing_begun = self.git("rebase")?.arg("--abort").output();
        Err(conflict("rebase", &text::block(&output.stderr_text()), conflicts))
    }

    /// Brings `branch` into this checkout's branch; where that conflicts, everything is as before.
    pub(crate) fn merge(&self, branch: &str, way: Way, message: &str) -> Result<()> {
        let full = format!("refs/heads/{branch}");
        if way != Way::Rebase {
            // Whoever looks at the checkout meanwhile, such as a sandbox on it, sees no half of a merge.
            let words = ["--write-tree", "--name-only", "-z", "HEAD", &full];
            let tried = self.git("merge-tree")?.args(words).output()?;
            if tried.status.code() == Some(1) {
                return Err(conflict("merge", "", conflicting(&tried.stdout)));
            }
        }
        let command = self.committing("merge")?.args(["--quiet", "--no-edit"]);
        let command = match way {
            Way::Merge => command.args(["-m", message]),
            Way::Rebase => command.arg("--ff-only"),
            Way::Squash => command.arg("--squash"),
        };
        let output = command.arg("--end-of-options").arg(&full).output()?;
        if !output.status.success() {
            let conflicts = self.conflicts();
            let abort: &[&str] = if way == Way::Squash { &["--merge"] } else { &["--abort"] };
            let verb = if way == Way::Squash { "reset" } else { "merge" };
            let _nothing_begun = self.git(verb)?.args(abort).output();
            return Err(conflict(
                "merge",
                &text::block(&[output.stderr_text(), String::from_utf8_lossy(&output.stdout).into_owned()].join("\n")),
                conflicts,
            ));
        }
        if way == Way::Squash && !self.staged()? {
            return Ok(());
        }
        if way == Way::Squash {
            let committed = self.committing("commit")?.args(["--quiet", "--no-verify", "-m", message]).run();
            if let Err(e) = committed {
                let _as_before = self.git("reset")?.arg("--merge").output();
                return Err(Report::new(e).wrap_err("the squashed commit could not be made; nothing was changed"));
            }
        }
        Ok(())
    }

    fn staged(&self) -> Result<bool, GitError> {
        Ok(!self.git("diff")?.args(["--cached", "--quiet", "--ignore-submodules=all"]).output()?.status.success())
    }

    fn conflicts(&self) -> Vec<String> {
        let listed = self.git("diff").and_then(|git| git.args(["--name-only", "--diff-filter=U", "-z"]).run());
        let listed = listed.unwrap_or_default();
        listed.split(|b| *b == 0).filter(|p| !p.is_empty()).map(|p| text::line(&String::from_utf8_lossy(p))).collect()
    }

    /// Brings `branch` into `target`, which is checked out nowhere.
    pub(crate) fn merge_unchecked(&self, branch: &str, target: &str, way: Way, message: &str) -> Result<()> {
        let failed = || format!("'{}' could not be merged into '{}'", text::line(branch), text::line(target));
        let of = |name: &str| -> Result<String> {
            self.branch(name)?.ok_or_else(|| Report::msg(format!("there is no branch '{}'", text::line(name))))
        };
        let (ours, theirs) = (of(target)?, of(branch)?);
        let base = self.text("merge-base", &[&ours, &theirs]).unwrap_or_default();
        let new = if base == theirs {
            return Ok(());
        } else if base == ours && way != Way::Squash {
            theirs
        } else if way == Way::Rebase {
            return Err(Report::msg(format!("'{}' is not on top of it after the rebase", text::line(branch)))
                .wrap_err(failed()));
        } else {
            let output =
                self.git("merge-tree")?.args(["--write-tree", "--name-only", "-z", &ours, &theirs]).output()?;
            if !output.status.success() {
                let files = conflicting(&output.stdout);
                return Err(conflict("merge", &text::block(&output.stderr_text()), files).wrap_err(failed()));
            }
            let tree = output.stdout.split(|b| *b == 0).next().unwrap_or_default();
            let tree = String::from_utf8_lossy(tree).trim().to_owned();
            let mut parents = vec!["-p", &ours];
            if way == Way::Merge {
                parents.extend(["-p", &theirs]);
            }
            let made = self.committing("commit-tree")?.arg(&tree).args(parents).args(["-m", message]).run()?;
            String::from_utf8_lossy(&made).trim().to_owned()
        };
        let reason = format!("workmux: merge {branch}");
        let full = format!("refs/heads/{target}");
        self.committing("update-ref")?.args(["-m", &reason, &full, &new, &ours]).run().wrap_err_with(failed)?;
        Ok(())
    }

    /// The subjects of what `branch` has and `target` has not, oldest first.
    pub(crate) fn subjects(&self, branch: &str, target: &str) -> Result<Vec<String>, GitError> {
        let range = format!("refs/heads/{target}..refs/heads/{branch}");
        let all = self.text("log", &["--reverse", "--no-show-signature", "--format=%s", "-n", "200", &range, "--"])?;
        Ok(all.lines().map(text::line).collect())
    }
}

/// What lies below a directory that is to become a file, but for what goes.
fn unknown(root: &Path, at: &Path, goes: &BTreeSet<Vec<u8>>, found: &mut BTreeSet<String>, depth: usize) {
    for entry in fs::read_dir(root.join(at)).into_iter().flatten().flatten() {
        let path = at.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < DEEPEST {
            unknown(root, &path, goes, found, depth + 1);
        } else if !goes.contains(path.as_os_str().as_bytes()) {
            found.insert(text::line(&path.to_string_lossy()));
        }
    }
}

/// Why there is no new worktree.
#[derive(Debug)]
pub(crate) enum Added {
    /// The branch is there already.
    BranchExists,
    /// There is a branch `a` where `a/b` is wanted, or the other way round.
    InTheWay,
    /// Anything else.
    Failed(GitError),
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
