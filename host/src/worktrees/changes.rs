//! What is done to the repository: making worktrees and branches and taking them away, looking for work that would be
//! lost, moving changes over. Each is git's own command, through the one hardened way to run it. Merges are computed in
//! `combine`, and brought into checkouts in `carry`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use color_eyre::eyre::{Result, WrapErr as _};

use super::beneath::Root;
use crate::git::{GitCommand, GitError, Repository, is_ref_name};
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
    pub(super) repository: &'a Repository,
    pub(super) behalf: Behalf,
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

    pub(super) fn git(&self, verb: &str) -> Result<GitCommand, GitError> {
        let command = self.repository.git(verb)?;
        Ok(match self.behalf {
            Behalf::User => command.user_config(),
            Behalf::Guest => self.tame.iter().fold(command, |command, setting| command.setting(setting)),
        })
    }

    /// As [`Self::git`], for what makes commits.
    pub(super) fn committing(&self, verb: &str) -> Result<GitCommand, GitError> {
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

    pub(super) fn text(&self, verb: &str, words: &[&str]) -> Result<String, GitError> {
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

    /// Runs one command that changes worktrees or branches, alone.
    pub(super) fn in_turn(&self, verb: &str, words: impl FnOnce(GitCommand) -> GitCommand) -> Result<(), GitError> {
        let _alone = self.alone();
        words(self.git(verb)?).run().map(drop)
    }

    /// Removes a worktree with whatever is in it, or what git knows of one whose directory is gone.
    ///
    /// Git would go by path: whoever can write above it could lead it elsewhere (P9).
    pub(crate) fn remove_worktree(&self, path: &Path, admin_dir: Option<&Path>) -> Result<()> {
        let _alone = self.alone();
        if let (Some(above), Some(name)) = (path.parent(), path.file_name())
            && path.symlink_metadata().is_ok()
        {
            let failed = || format!("{} could not be removed", text::quote(path.as_os_str()));
            let gone = match crate::mutant::off("p9_remove") {
                false => Root::open_resolved(above).and_then(|above| above.remove_all(name)),
                true => fs::remove_dir_all(path),
            };
            gone.wrap_err_with(failed)?;
        }
        if let Some(admin_dir) =
            admin_dir.filter(|dir| dir.parent() == Some(&*self.repository.common_dir.join("worktrees")))
        {
            match fs::remove_dir_all(admin_dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).wrap_err("git could not be made to forget the worktree");
                }
                _ => {}
            }
            // As git does with the last one.
            let _others = fs::remove_dir(self.repository.common_dir.join("worktrees"));
        }
        Ok(())
    }

    /// The same, of one that was not finished: git may not know it.
    pub(crate) fn take_away(&self, path: &Path) -> Result<()> {
        let all = self.repository.checkouts()?;
        let known = all.into_iter().find(|checkout| checkout.root == path && !checkout.main);
        self.remove_worktree(path, known.map(|checkout| checkout.admin_dir).as_deref())
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
        // Not what git would make of it: 'main~1' is no branch.
        if !is_ref_name(&format!("refs/heads/{branch}")) {
            return Ok(None);
        }
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

    /// How many commits this one has that no other branch has, and no branch of a remote.
    pub(crate) fn only_here(&self, commit: &str, branch: Option<&str>) -> Result<usize, GitError> {
        let except = format!("--exclude={}", branch.unwrap_or_default());
        let words = ["--count", commit, "--not", &except, "--branches", "--remotes"];
        let words = words.into_iter().filter(|word| branch.is_some() || *word != except);
        Ok(self.text("rev-list", &words.collect::<Vec<_>>())?.parse().unwrap_or(usize::MAX))
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
