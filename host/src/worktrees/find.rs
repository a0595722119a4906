//! Which worktree a name means: a handle, a branch, or the one the user is in.

use std::path::{Path, PathBuf};

use color_eyre::eyre::{Report, Result};

use super::record::{Entry, Record, Store};
use crate::error::hinted;
use crate::git::{Checkout, Repository};
use crate::runs;
use crate::surroundings::Surroundings;
use crate::text;

/// A repository, seen from one of its checkouts.
pub(crate) struct Here {
    /// The checkout the user is in.
    pub repository: Repository,
    /// The main checkout.
    pub main: PathBuf,
    /// The records of worktrees.
    pub store: Store,
}

/// One checkout that a name can mean.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What it is called.
    pub name: String,
    /// What git knows of it.
    pub checkout: Checkout,
    /// What we know of it, where it was made or opened here.
    pub entry: Option<Entry>,
}

impl Here {
    /// As seen from this directory.
    pub(crate) fn find(cwd: &Path, surroundings: &Surroundings) -> Result<Self> {
        let repository = Repository::discover(cwd).map_err(Report::new)?;
        let main = repository.main_checkout.clone().unwrap_or_else(|| repository.worktree.clone());
        Ok(Self { repository, main, store: Store::new(&surroundings.state) })
    }

    /// All checkouts, the main one first. Those whose directory is gone are among them.
    pub(crate) fn all(&self) -> Result<Vec<Known>> {
        let mut entries = self.store.of_repository(&self.repository.common_dir);
        let checkouts = self.repository.checkouts().map_err(Report::new)?;
        let merges = self.store.merges();
        Ok(checkouts
            .into_iter()
            .filter(|checkout| !checkout.root.starts_with(&merges))
            .map(|checkout| {
                let at = entries.iter().position(|entry| entry.record.worktree == checkout.root);
                let entry = at.map(|at| entries.swap_remove(at));
                let directory = checkout.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let name = entry.as_ref().map_or(directory, |entry| entry.record.handle.clone());
                Known { name, checkout, entry }
            })
            .collect())
    }

    /// The linked worktree of this name; without a name the one the user is in.
    pub(crate) fn named(&self, name: Option<&str>) -> Result<Known> {
        let all = self.all()?;
        let Some(name) = name else {
            let here = all.into_iter().find(|known| known.checkout.root == self.repository.worktree);
            return here
                .filter(|known| !known.checkout.main)
                .ok_or_else(|| hinted("this is the main checkout", "name a worktree: workmux list shows them"));
        };
        let found =
            |fits: &dyn Fn(&Known) -> bool| all.iter().find(|known| !known.checkout.main && fits(known)).cloned();
        let known = found(&|known| known.name == name)
            .or_else(|| found(&|known| known.checkout.branch.as_deref() == Some(name)))
            .or_else(|| found(&|known| known.checkout.root.file_name().is_some_and(|file| file == name)));
        known.ok_or_else(|| {
            let others: Vec<String> = all.iter().filter(|k| !k.checkout.main).map(|k| text::line(&k.name)).collect();
            let message = format!("there is no worktree '{}'", text::line(name));
            let nearest = crate::config::report::nearest(name, others.iter().map(String::as_str));
            match (nearest, others.is_empty()) {
                (Some(meant), _) => hinted(message, format!("did you mean '{meant}'?")),
                (None, true) => hinted(message, "make one: workmux add BRANCH"),
                (None, false) => hinted(message, format!("there are: {}", others.join(", "))),
            }
        })
    }
}

impl Known {
    /// Its record; a new one where it was made by somebody else.
    pub(crate) fn entry(&self, here: &Here) -> Result<Entry> {
        if let Some(entry) = &self.entry {
            return Ok(entry.clone());
        }
        let root = self.checkout.root.canonicalize().map_err(|_| self.gone())?;
        let record = Record {
            id: runs::new_id()?,
            handle: self.name.clone(),
            branch: self.checkout.branch.clone().unwrap_or_default(),
            base: None,
            repository: here.repository.common_dir.clone(),
            cwd: root.clone(),
            worktree: root,
            parent: None,
            created: super::record::now(),
            agent: None,
            sandboxed: false,
            windows: Vec::new(),
            place: None,
            maker: None,
            new_branch: false,
        };
        let worktree = record.worktree.clone();
        let made = here.store.reserve(record)?.or_else(|| here.store.find(&worktree));
        made.ok_or_else(|| Report::msg("somebody else opens it at this moment"))
    }

    /// Its checkout, to work in.
    pub(crate) fn repository(&self) -> Result<Repository> {
        if !self.checkout.root.is_dir() {
            return Err(self.gone());
        }
        let found = Repository::discover(&self.checkout.root).map_err(Report::new)?;
        // A guest may have put a link, or another repository, in its place.
        let same = found.worktree == self.checkout.root && found.admin_dir == self.checkout.admin_dir;
        if same || crate::mutant::off("p17_same") {
            return Ok(found);
        }
        Err(hinted(
            format!(
                "{} is not the checkout '{}' that git's record means",
                text::quote(self.checkout.root.as_os_str()),
                text::line(&self.name)
            ),
            format!("look at it by hand; workmux remove --force {} removes what lies there", text::line(&self.name)),
        ))
    }

    fn gone(&self) -> Report {
        hinted(
            format!(
                "the directory of '{}' is gone: {}",
                text::line(&self.name),
                text::quote(self.checkout.root.as_os_str())
            ),
            format!("forget the worktree: workmux remove {}", text::line(&self.name)),
        )
    }
}
