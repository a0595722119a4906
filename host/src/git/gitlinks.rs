//! Repositories of the guest's inside the work tree that its commits name.
//!
//! A tree entry of mode 160000 (a gitlink) harms nobody where it lies. But once the user has checked it out or merged
//! it, `git status` looks into the repository at that path, and runs what its configuration says: the guest's.

use std::collections::{BTreeMap, BTreeSet};

use super::error::GitError;
use super::oid::{ObjectFormat, Oid};
use super::plan::Plan;
use super::refs::{Head, Refs};
use super::round::Round;
use super::side::travels;
use crate::text;

/// Git processes that one sync starts for this.
const MOST_SEARCHED: usize = 32;
/// Paths named for one ref, and warnings of one run.
const MOST_PATHS: usize = 5;
const MOST_WARNINGS: usize = 50;

impl Round<'_> {
    /// Looks through what has arrived, and warns: at once for the log, and at the run's end for the user.
    pub(super) fn find_gitlinks(&mut self, plan: &Plan, fetched: &Refs) {
        // Compared with what was agreed: a sync that was killed after it moved the refs must warn when it is repeated.
        let base = &self.base.side;
        let here = match &base.head {
            Head::Branch(name) => base.refs.get(name),
            Head::Detached(oid) => Some(oid),
        };
        let mut pairs: BTreeMap<(Option<Oid>, Oid), Vec<String>> = BTreeMap::new();
        let mut add = |name: String, new: &Oid, old: Option<&Oid>| {
            pairs.entry((old.or(here).cloned(), new.clone())).or_default().push(name);
        };
        for (name, oid) in self.host.side.refs.iter().filter(|(name, _)| travels(name)) {
            if self.guest.side.refs.get(name) == Some(oid) && base.refs.get(name) != Some(oid) {
                let moved = plan.to_host.iter().find(|change| change.name == *name);
                add(name.clone(), oid, moved.and_then(|change| change.from.as_ref()).or_else(|| base.refs.get(name)));
            }
        }
        if let Head::Detached(oid) = &self.host.side.head
            && self.guest.side.head == self.host.side.head
            && base.head != self.host.side.head
        {
            add("HEAD".into(), oid, None);
        }
        // Content that is only staged is no commit.
        let waiting = self.waiting(plan);
        for (name, oid) in fetched.iter().filter(|(name, _)| waiting.contains_key(*name)) {
            let place = format!("refs/wm/{}/{}", self.base.run, name.trim_start_matches("refs/"));
            add(place, oid, self.host.refs.refs.get(name));
        }
        let mut found = BTreeSet::new();
        for (n, ((old, new), names)) in pairs.into_iter().enumerate() {
            let searched = if n < MOST_SEARCHED { self.new_gitlinks(old.as_ref(), &new).ok() } else { None };
            let name = text::line(&names.join("', '"));
            match searched {
                Some(paths) => found.extend(paths.iter().take(MOST_PATHS).map(|path| warning(&name, path))),
                None => _ = found.insert(format!(
                    "'{name}' was not searched for git repositories of the sandbox's: before you check it out or merge \
                     it, look for entries of mode 160000 in 'git ls-tree -r'"
                )),
            }
        }
        for warning in found {
            if self.base.warnings.len() < MOST_WARNINGS && self.base.warnings.insert(warning.clone()) {
                self.synced.imported.warnings.push(warning);
            }
        }
    }

    /// Paths of the gitlinks that `new` has and `old` (nothing: no commit at all) has not.
    fn new_gitlinks(&self, old: Option<&Oid>, new: &Oid) -> Result<Vec<String>, GitError> {
        match (self.gitlinks_between(old, new), old) {
            // One of the two is no commit: a tag may name a file. Of that nothing can be checked out.
            (Err(GitError::Failed { .. }), Some(_)) => self.new_gitlinks(None, new),
            (Err(failed @ GitError::Failed { .. }), None) => {
                let asked = self.private.repo.git("cat-file")?.args(["-e", &format!("{new}^{{tree}}")]);
                if asked.output()?.status.success() { Err(failed) } else { Ok(Vec::new()) }
            }
            (found, _) => found,
        }
    }

    fn gitlinks_between(&self, old: Option<&Oid>, new: &Oid) -> Result<Vec<String>, GitError> {
        let empty = match self.private.repo.object_format {
            ObjectFormat::Sha1 => "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
            ObjectFormat::Sha256 => "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
        };
        let old = old.map_or_else(|| empty.to_owned(), |oid| format!("{oid}^{{tree}}"));
        let asked = self.private.repo.git("diff-tree")?;
        let asked = asked.args(["-r", "-z", "--raw", "--no-renames", "--diff-filter=AT", "--ignore-submodules=none"]);
        let listed = asked.args([&old, &format!("{new}^{{tree}}")]).run()?;
        // `:<old mode> <new mode> <old> <new> <status>`, then the path.
        let mut fields = listed.split(|&b| b == 0);
        let mut paths = Vec::new();
        while let (Some(what), Some(path)) = (fields.next(), fields.next()) {
            if what.split(|&b| b == b' ').nth(1) == Some(b"160000") {
                paths.push(text::line(&String::from_utf8_lossy(path)));
            }
        }
        Ok(paths)
    }
}

fn warning(name: &str, path: &str) -> String {
    format!(
        "'{name}' holds a git repository of the sandbox's at '{path}': do not check it out or merge it before you removed \
         '{path}' from the worktree; git would run what that repository's settings say"
    )
}
