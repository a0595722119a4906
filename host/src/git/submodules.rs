//! Submodules of a checkout: found in its index, never by walking the tree (P16).
//!
//! Git on the host enters every directory that its index calls a submodule and obeys the `.git` it finds there. So in
//! a guest each such directory and every directory above it is a mount of its own (what is mounted cannot be renamed
//! away), and in it lies either a pointer that is read-only, or, where the submodule is not populated, a cover.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::boundary::GitMount;
use super::error::{GitError, clean};
use super::guest_files::Beneath;
use super::index::Index;
use super::layout::{Layout, private_dir};
use super::repository::Repository;

const MOST: usize = 1000;
/// Submodules of submodules, and so on.
const DEEPEST: usize = 8;

/// What is mounted because of a checkout's submodules. Paths are relative to its root.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Submodules {
    /// Number of those with a private git dir of their own.
    pub populated: usize,
    /// Directories that must stay where they are, parents first.
    fixed: BTreeSet<String>,
    /// Directories that are covered, in the order of their covers.
    covered: Vec<String>,
    /// Those that did not exist before.
    made: Vec<String>,
}

/// Finds the submodules of `index`, and the repositories of the populated ones.
pub(super) fn find(
    repo: &Repository,
    index: &Index,
    layout: &Layout,
    depth: usize,
) -> Result<(Submodules, Vec<Repository>), GitError> {
    let (mut found, mut repositories) = (Submodules::default(), Vec::new());
    let paths = index.gitlinks();
    if paths.len() > MOST || depth > DEEPEST {
        return Err(GitError::refused(
            format!("'{}' has more than {MOST} submodules, or they are nested too deeply", repo.worktree.display()),
            "work in a checkout of one of them",
        ));
    }
    for path in paths {
        let Ok(path) = String::from_utf8(path) else {
            return Err(GitError::refused("the path of a submodule is not UTF-8", "rename it"));
        };
        found.fix_parents(&path);
        match populated(repo, &path)? {
            Some(module) => {
                found.fixed.insert(path);
                repositories.push(module);
            }
            None => found.cover(repo, path, layout)?,
        }
    }
    found.populated = repositories.len();
    Ok((found, repositories))
}

/// The repository of the submodule at `path`, if it has one.
fn populated(repo: &Repository, path: &str) -> Result<Option<Repository>, GitError> {
    let root = repo.worktree.join(path);
    if fs::symlink_metadata(root.join(".git")).is_err() {
        return Ok(None);
    }
    if root.canonicalize().ok().as_ref() != Some(&root) {
        return Err(GitError::refused(
            format!("the submodule '{}' lies behind a symbolic link", clean(path)),
            "restore it with 'git checkout', or remove it from the index with 'git rm --cached'",
        ));
    }
    match Repository::discover_with(&root, repo.program.clone()) {
        Ok(module) if module.worktree == root => Ok(Some(module)),
        Ok(_) => Ok(None),
        // Its git dir is gone; the pointer disappears under the cover.
        Err(GitError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

impl Submodules {
    fn fix_parents(&mut self, path: &str) {
        let ends = path.match_indices('/').map(|(at, _)| at);
        self.fixed.extend(ends.map(|end| path[..end].to_owned()));
    }

    fn cover(&mut self, repo: &Repository, path: String, layout: &Layout) -> Result<(), GitError> {
        let root = repo.worktree.join(&path);
        let io = |e| GitError::io("make", &root)(e);
        let top = Beneath::open(&repo.worktree).map_err(io)?;
        if top.dir(&path).map_err(io)?.is_none() {
            top.make_dir(&path).map_err(io)?;
            self.made.push(path.clone());
        }
        private_dir(&layout.covers().join(self.covered.len().to_string()))?;
        self.covered.push(path);
        Ok(())
    }

    /// Mounts that keep every submodule's directory in its place. `.git` of populated ones is their own affair.
    pub(super) fn mounts(&self, worktree: &Path, layout: &Layout) -> Vec<GitMount> {
        if crate::mutant::off("p16_in_place") {
            return Vec::new();
        }
        let fixed = self.fixed.iter().map(|path| worktree.join(path));
        let fixed = fixed.map(|path| GitMount::of_the_host(path.clone(), path, true));
        let covers = self.covered.iter().enumerate().map(|(n, path)| GitMount {
            source: layout.covers().join(n.to_string()),
            target: worktree.join(path),
            writable: true,
            shares: layout.shares(),
        });
        fixed.chain(covers).collect()
    }

    /// After the last guest: takes away directories that were made, and names covers that were filled.
    pub(super) fn end(&self, worktree: &Path, layout: &Layout) -> Vec<String> {
        if let Ok(top) = Beneath::open(worktree) {
            for path in &self.made {
                let _not_empty = top.remove_dir(path);
            }
        }
        let filled =
            |n: usize| fs::read_dir(layout.covers().join(n.to_string())).is_ok_and(|mut dir| dir.next().is_some());
        let names = self.covered.iter().enumerate().filter(|(n, _)| filled(*n)).map(|(_, path)| clean(path));
        names
            .map(|path| format!("the submodule '{path}' was filled in the sandbox; its content was not kept"))
            .collect()
    }
}
