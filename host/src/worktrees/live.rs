//! Sandboxes that can write into a checkout at this moment: what git does there by path, a guest could lead elsewhere
//! (P9, P11). Asked under the [`CheckoutLock`](crate::git::CheckoutLock), which holds back sandboxes that start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use color_eyre::eyre::{Report, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::record::State;
use crate::error::hinted;
use crate::runs::{self, ProcessIdentity, alive};
use crate::text;

/// What a sandbox gets to end once it is told to.
const ENDING: Duration = Duration::from_secs(20);

/// What the guest of a run can write.
fn writes(run: &runs::Record) -> impl Iterator<Item = &PathBuf> {
    std::iter::once(&run.worktree).chain(&run.writable)
}

/// Whether a guest can write somewhere in this directory, or above it.
pub(crate) fn overlaps(state: &Path, directory: &Path) -> bool {
    let meets = |at: &PathBuf| at.starts_with(directory) || directory.starts_with(at);
    !crate::mutant::off("p11_live") && runs::perhaps_live(state).iter().any(|run| writes(run).any(meets))
}

/// The directory that a guest can write, where this path lies in one.
pub(crate) fn above(state: &Path, path: &Path) -> Option<PathBuf> {
    let all = if crate::mutant::off("p11_live") { Vec::new() } else { runs::perhaps_live(state) };
    all.iter().flat_map(writes).find(|at| path.starts_with(at)).cloned()
}

/// Sandboxes that work in this worktree, but for the run of its own agent.
pub(crate) fn others(state: &Path, worktree: &Path, own: Option<&State>) -> Vec<runs::Record> {
    let own = own.and_then(|state| state.run.as_deref());
    let mut all = runs::live(state).into_iter().map(|(_, run)| run).collect::<Vec<_>>();
    all.retain(|run| run.worktree.starts_with(worktree) && Some(run.run.as_str()) != own);
    all
}

/// Ends every sandbox that works in this worktree, and waits until they have ended.
pub(crate) fn end(state: &Path, worktree: &Path) -> Result<()> {
    // Guests of supervisors that were killed.
    runs::end_guests(state);
    let all = others(state, worktree, None);
    for run in &all {
        if alive(&run.supervisor) {
            let _ended_meanwhile = kill(pid(&run.supervisor), Signal::SIGTERM);
        }
    }
    for run in &all {
        if !super::wait::ended(&run.supervisor, ENDING) {
            return Err(hinted(
                format!(
                    "a sandbox in {} (process {}) does not end",
                    text::quote(worktree.as_os_str()),
                    run.supervisor.pid
                ),
                format!("look at it, or end it: kill -9 {}", run.supervisor.pid),
            ));
        }
    }
    // One that is not a process of this machine ends with its lifeline, which is cut.
    let left = runs::perhaps_live(state)
        .into_iter()
        .find(|run| run.worktree.starts_with(worktree) && run.first_process.as_ref().is_some_and(alive));
    match left {
        None => Ok(()),
        Some(run) => Err(Report::msg(format!(
            "the sandbox {} of a supervisor that was killed does not end",
            text::line(&run.run)
        ))),
    }
}

fn pid(process: &ProcessIdentity) -> Pid {
    Pid::from_raw(i32::try_from(process.pid).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::Run;
    use workmux_plugin_api::{Purpose, Route};

    fn begin(state: &Path, worktree: &str, writable: &[&str]) -> Run {
        let record = runs::Record {
            run: runs::new_id().unwrap(),
            purpose: Purpose::Agent,
            backend: "acme".into(),
            instance: None,
            supervisor: ProcessIdentity::own(),
            first_process: None,
            repository: "/r/.git".into(),
            worktree: worktree.into(),
            writable: writable.iter().map(PathBuf::from).collect(),
            cwd: worktree.into(),
            started: 1,
            settings: serde_json::Value::Null,
            route: Route::Sockets,
        };
        Run::begin(state, record).unwrap()
    }

    #[test]
    fn p11_who_can_write_above_or_below_is_seen() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        assert!(!overlaps(state, Path::new("/r")));
        let run = begin(state, "/w/a", &["/elsewhere/b"]);
        for there in ["/w/a", "/w", "/w/a/deep", "/elsewhere/b", "/elsewhere"] {
            assert!(overlaps(state, Path::new(there)), "{there}");
        }
        for not in ["/w/ab", "/w/b", "/r"] {
            assert!(!overlaps(state, Path::new(not)), "{not}");
        }
        assert_eq!(above(state, Path::new("/w/a/x")), Some("/w/a".into()));
        assert_eq!(above(state, Path::new("/w")), None);
        let own = State { run: Some(run.id().to_owned()), ..State::default() };
        assert_eq!(others(state, Path::new("/w/a"), None).len(), 1);
        assert!(others(state, Path::new("/w/a"), Some(&own)).is_empty());
        assert!(others(state, Path::new("/w/a/deep"), None).is_empty());
        run.end().unwrap();
        assert!(!overlaps(state, Path::new("/w/a")));
    }
}
