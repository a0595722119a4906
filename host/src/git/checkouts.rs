//! The checkouts of a repository, from git's own records: no process, and nothing of what they hold is read.

use std::path::PathBuf;

use super::error::GitError;
use super::refs::{Head, other_checkouts, read_head};
use super::repository::{RefFormat, Repository};

/// One checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Its root, as git's record names it. It may be gone.
    pub root: PathBuf,
    /// What belongs to it alone.
    pub admin_dir: PathBuf,
    /// The branch that is checked out; `None` = a commit, or something is under way.
    pub branch: Option<String>,
    /// Whether it is the main one.
    pub main: bool,
}

impl Repository {
    /// All checkouts, the main one first, then by path.
    pub fn checkouts(&self) -> Result<Vec<Checkout>, GitError> {
        self.verify()?;
        let mut all = vec![Checkout {
            root: self.worktree.clone(),
            admin_dir: self.admin_dir.clone(),
            branch: None,
            main: !self.is_linked(),
        }];
        for (admin_dir, root) in other_checkouts(self) {
            let main = admin_dir == self.common_dir;
            if let Some(root) = root {
                all.push(Checkout { root, admin_dir, branch: None, main });
            }
        }
        all.sort_by(|a, b| (!a.main, &a.root).cmp(&(!b.main, &b.root)));
        for checkout in &mut all {
            checkout.branch = self.branch_of(checkout)?;
        }
        Ok(all)
    }

    /// The branch that is checked out here; `None` = a commit, or something is under way.
    pub fn current_branch(&self) -> Result<Option<String>, GitError> {
        let here = Checkout {
            root: self.worktree.clone(),
            admin_dir: self.admin_dir.clone(),
            branch: None,
            main: !self.is_linked(),
        };
        self.branch_of(&here)
    }

    fn branch_of(&self, checkout: &Checkout) -> Result<Option<String>, GitError> {
        if self.ref_format == RefFormat::Reftable {
            // Only git reads its tables.
            let asked =
                self.git("symbolic-ref")?.env("GIT_DIR", &checkout.admin_dir).args(["--quiet", "--short", "HEAD"]);
            let output = asked.output()?;
            let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            return Ok(Some(name).filter(|name| output.status.success() && !name.is_empty()));
        }
        Ok(match read_head(&checkout.admin_dir, self.object_format) {
            Ok(Head::Branch(name)) => name.strip_prefix("refs/heads/").map(str::to_owned),
            _ => None,
        })
    }

    /// The names of the remotes in the repository's own file.
    pub fn remotes(&self) -> Result<Vec<String>, GitError> {
        let settings = self.own_settings()?;
        let mut names: Vec<String> =
            settings.into_iter().filter(|s| s.section == "remote").filter_map(|s| s.subsection).collect();
        names.dedup();
        Ok(names)
    }

    /// Settings for one command that keep every program of the configuration's from running on a guest's content:
    /// filters pass it through, and of merge drivers only git's own is left.
    pub fn tame(&self) -> Result<Vec<String>, GitError> {
        let mut tame = Vec::new();
        for (section, name) in self.effective()?.named() {
            match section {
                "filter" => tame.extend(
                    ["clean=", "smudge=", "process=", "required=false"].map(|value| format!("filter.{name}.{value}")),
                ),
                "merge" => tame.push(format!("merge.{name}.driver=git merge-file --marker-size=%L %A %O %B")),
                "diff" => tame.extend(["command=", "textconv="].map(|value| format!("diff.{name}.{value}"))),
                _ => {}
            }
        }
        Ok(tame)
    }
}
