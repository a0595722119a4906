//! What is done to the repository: making worktrees and branches and taking them away, looking for work that would be
//! lost, moving changes over. Each is git's own command, through the one hardened way to run it. Merges are computed in
//! `combine`, and brought into checkouts in `carry`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use color_eyre::eyre::{Result, WrapErr as _};

use super::beneath::{Kind, Root};
use crate::git::{GitCommand, GitError, Repository, is_ref_name};
use crate::text;

/// Directories in each other; below that everything counts as one file.
const DEEPEST: usize = 64;
/// What one git command may take that a guest asked for.
const GUESTS: Duration = Duration::from_secs(20);
/// What a stash of ours says.
const ON_ITS_WAY: &str = "workmux: changes on their way to a new worktree";

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
            // Others wait meanwhile, and what git meets there is the guest's.
            Behalf::Guest => {
                let command = command.deadline(GUESTS);
                self.tame.iter().fold(command, |command, setting| command.setting(setting))
            }
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
        for name in [".gitignore", ".gitattributes", ".mailmap"] {
            let there = fs::symlink_metadata(self.repository.worktree.join(name));
            if there.is_ok_and(|there| there.file_type().is_fifo()) {
                // Git would wait for somebody to write into it.
                return Err(GitError::Refused {
                    what: format!("'{name}' in this worktree is a pipe, and git would read it"),
                    fix: format!("take it away: rm {name}"),
                });
            }
        }
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

    /// Files of this checkout, which is at `from`, that git does not know, and that a move to `to` would overwrite or remove:
    /// ignored ones are worth nothing to git.
    pub(crate) fn in_the_way(&self, from: &str, to: &str) -> Result<Vec<String>, GitError> {
        let listed = |filter: &str| -> Result<BTreeSet<Vec<u8>>, GitError> {
            let words = ["-r", "--name-only", "--no-renames", "--ignore-submodules=none", "-z", filter, from, to];
            let output = self.git("diff-tree")?.args(words).arg("--").run()?;
            Ok(output.split(|b| *b == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect())
        };
        let (new, goes) = (listed("--diff-filter=A")?, listed("--diff-filter=D")?);
        let mut found = BTreeSet::new();
        // Nothing is looked at through a link: a guest would be told of what lies elsewhere.
        let place = &self.repository.worktree;
        let unseen = |source| GitError::Io { what: "look at the checkout", path: place.clone(), source };
        let root = Root::open_resolved(place).map_err(unseen)?;
        for path in &new {
            let path = Path::new(OsStr::from_bytes(path));
            let mut parts: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
            parts.reverse();
            for part in parts {
                let (above, name) = (part.parent().unwrap_or(Path::new("")), part.file_name().unwrap_or_default());
                let Ok(above) = root.directory(above) else { break };
                let known = goes.contains(part.as_os_str().as_bytes());
                match above.kind(name) {
                    Ok(Some(Kind::Directory)) if part != path => continue,
                    Ok(Some(Kind::Directory)) => unknown(&above, part, &goes, &mut found, 0),
                    Ok(Some(_)) if !known => _ = found.insert(text::line(&part.to_string_lossy())),
                    _ => {}
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
        let words = ["push", "--quiet", "--message", ON_ITS_WAY];
        self.committing("stash")?.args(words).args(untracked.then_some("--include-untracked")).run()?;
        let after = self.commit("refs/stash")?;
        Ok(after.filter(|after| Some(after) != before.as_ref()))
    }

    /// Whether this is what [`Self::set_aside`] has made.
    pub(crate) fn is_on_its_way(&self, stash: &str) -> bool {
        self.text("log", &["-1", "--format=%s", stash, "--"]).is_ok_and(|subject| subject.ends_with(ON_ITS_WAY))
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

/// What lies below a directory that is to become a file, but for what goes. One example is enough.
fn unknown(above: &Root, at: &Path, goes: &BTreeSet<Vec<u8>>, found: &mut BTreeSet<String>, depth: usize) {
    let Ok(here) = above.directory(Path::new(at.file_name().unwrap_or_default())) else { return };
    for name in here.names().unwrap_or_default() {
        let path = at.join(&name);
        match here.kind(&name) {
            Ok(Some(Kind::Directory)) if depth < DEEPEST => unknown(&here, &path, goes, found, depth + 1),
            Ok(Some(_)) if !goes.contains(path.as_os_str().as_bytes()) => {
                found.insert(text::line(&path.to_string_lossy()));
            }
            _ => {}
        }
        if !found.is_empty() {
            return;
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
