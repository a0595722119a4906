//! How many agents one family may have: counted over everything that came from one command of the user's (P40).
//!
//! Which of them live is counted from the records; how many there ever were is kept in a file for each family. Both are
//! looked at and taken under one lock, before anything is made.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::record::{Parent, Store};
use crate::runs::private_directory;

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Agents whose worktree is not removed and whose agent works, or is about to.
    pub live: usize,
    /// Agents ever made.
    pub total: usize,
    /// How far from the user.
    pub depth: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Self { live: 8, total: 64, depth: 3 }
    }
}

/// A family's file is of no use any more after that long.
const OLD: Duration = Duration::from_secs(30 * 24 * 3600);

impl Quota {
    /// Whether there may be one more of this family; the answer is why not. `take` = it is counted, whatever becomes of it.
    ///
    /// # Errors
    /// The file cannot be read or written: then there is none either.
    pub(crate) fn check(
        &self,
        parent: &Parent,
        store: &Store,
        state: &Path,
        take: bool,
    ) -> io::Result<Result<(), String>> {
        if crate::mutant::off("p40_quota") {
            return Ok(Ok(()));
        }
        if parent.depth > self.depth {
            return Ok(Err(format!("agents may be started at most {} levels deep", self.depth)));
        }
        let same = |other: &Parent| other.family == parent.family;
        let working = |entry: &super::record::Entry| {
            let state = entry.state();
            // What it says of itself does not count: it may go on after that.
            if entry.complete() { state.running() || state.starting() } else { !entry.abandoned() }
        };
        let live = store.all().iter().filter(|e| e.record.parent.as_ref().is_some_and(same) && working(e)).count();
        if live >= self.live {
            return Ok(Err(format!("{live} agents of this family work already; at most {} may", self.live)));
        }
        let families = private_directory(&state.join("families"))?;
        let file = families.join(&parent.family);
        let total = match fs::read_to_string(&file) {
            Ok(text) => text.trim().parse::<usize>().map_err(io::Error::other)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                sweep(&families);
                0
            }
            Err(e) => return Err(e),
        };
        if total >= self.total {
            return Ok(Err(format!("this family has had {total} agents; more than {} are not made", self.total)));
        }
        if take {
            save(&families, &file, total + 1)?;
        }
        Ok(Ok(()))
    }
}

fn save(directory: &Path, file: &PathBuf, total: usize) -> io::Result<()> {
    let mut new = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .tempfile_in(directory)?;
    new.write_all(total.to_string().as_bytes())?;
    new.persist(file)?;
    Ok(())
}

fn sweep(families: &Path) {
    for found in fs::read_dir(families).into_iter().flatten().flatten() {
        let age = found.metadata().and_then(|m| m.modified()).map(|at| SystemTime::now().duration_since(at));
        if matches!(age, Ok(Ok(age)) if age > OLD) {
            let _next_time = fs::remove_file(found.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::super::record::{Record, Store};
    use super::*;
    use crate::runs::ProcessIdentity;

    fn parent(family: &str, depth: u32) -> Parent {
        Parent { run: "r".into(), record: None, handle: None, family: family.into(), depth }
    }

    #[test]
    fn p40_each_bound_is_met_and_not_passed() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path());
        let quota = Quota { live: 2, total: 3, depth: 1 };
        let take = |family: &str, depth| quota.check(&parent(family, depth), &store, state.path(), true).unwrap();
        assert!(take("a", 2).unwrap_err().contains("levels"));
        let of = |path: &str, family: &str| Record { parent: Some(parent(family, 1)), ..record(path) };
        let first = store.reserve(of("/w/1", "a")).unwrap().unwrap();
        let mut second = store.reserve(of("/w/2", "a")).unwrap().unwrap();
        store.reserve(of("/w/3", "b")).unwrap().unwrap();
        assert!(take("a", 1).unwrap_err().contains("work already"));
        first.remove().unwrap();
        let first = store.reserve(Record { maker: None, ..of("/w/1", "a") }).unwrap().unwrap();
        let own = ProcessIdentity::own();
        first.change(|state| (state.process, state.status) = (Some(own), "done".into())).unwrap();
        assert!(take("a", 1).unwrap_err().contains("work already"), "an agent that says it is done goes on");
        first.change(|state| state.exit_code = Some(0)).unwrap();
        second.record.maker = Some(ProcessIdentity { pid: 1, start: "gone".into() });
        second.save().unwrap();
        for _ in 0..3 {
            assert_eq!(take("a", 1), Ok(()));
        }
        assert!(take("a", 1).unwrap_err().contains("3"));
        assert_eq!(take("b", 1), Ok(()));
        fs::write(state.path().join("families/a"), "rubbish").unwrap();
        assert!(
            quota.check(&parent("a", 1), &store, state.path(), true).is_err(),
            "what cannot be counted is not made"
        );
    }
}
