//! Finds what killed supervisors left.
//!
//! An orphan is a record whose lock is free and whose supervisor, by number and start time, is not alive. Taking the
//! lock also keeps two reapers from acting on the same one.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use workmux_plugin_api::Route;

use super::{Record, alive, directories, read, remove};

/// What a guest gets to be gone: its lifeline is cut, and its first process killed.
const GUEST_END: Duration = Duration::from_secs(5);

/// A run without a supervisor, locked by us until dropped.
#[derive(Debug)]
pub struct Orphan {
    directory: PathBuf,
    /// What is known of it; absent where the supervisor died before it could write.
    pub record: Option<Record>,
    _lock: Option<File>,
}

impl Orphan {
    /// Removes its directory, sockets and record.
    pub fn remove(self) -> io::Result<()> {
        remove(&self.directory)
    }
}

/// Every orphan below `state`. Cheap where there is none.
pub fn orphans(state: &Path) -> Vec<Orphan> {
    directories(state).into_iter().filter_map(claim).collect()
}

/// Waits until no guest of a killed supervisor is alive, helping it to its end. What such a guest did to its git
/// directory is complete only then.
pub fn end_guests(state: &Path) {
    if crate::mutant::off("p58_end_guests") {
        return;
    }
    let records = directories(state).into_iter().filter_map(|dir| read(&dir));
    let left = records.filter(|r| !alive(&r.supervisor)).filter_map(|r| r.first_process);
    let until = Instant::now() + GUEST_END;
    for process in left {
        if alive(&process) {
            // Not ours to signal where the backend runs guests as another user; then the lifeline ends it.
            let _lifeline = kill(Pid::from_raw(process.pid as i32), Signal::SIGKILL);
        }
        while alive(&process) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether a killed supervisor may have left a guest that is no process of this machine, so that only its backend can
/// tell that it has ended.
pub fn has_distant_guests(state: &Path) -> bool {
    let distant = |r: &Record| r.instance.is_some() && r.first_process.is_none() && r.route != Route::Sockets;
    directories(state).into_iter().filter_map(|dir| read(&dir)).any(|r| distant(&r) && !alive(&r.supervisor))
}

fn claim(directory: PathBuf) -> Option<Orphan> {
    let record = read(&directory);
    let lock = match OpenOptions::new().write(true).open(directory.join("lock")) {
        Ok(lock) => {
            lock.try_lock().ok()?;
            Some(lock)
        }
        // Killed between making the directory and the lock; a young one may still be in the making.
        Err(_) if old(&directory) => None,
        Err(_) => return None,
    };
    if record.as_ref().is_some_and(|r| alive(&r.supervisor)) && !crate::mutant::off("p58_start_time") {
        return None;
    }
    if record.is_none() && !old(&directory) {
        return None;
    }
    Some(Orphan { directory, record, _lock: lock })
}

fn old(directory: &Path) -> bool {
    std::fs::metadata(directory)
        .and_then(|m| m.modified())
        .is_ok_and(|t| SystemTime::now().duration_since(t).is_ok_and(|age| age > Duration::from_secs(10)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::super::{ProcessIdentity, Run, new_id};
    use super::*;

    #[test]
    fn p58_a_guest_is_ended_only_when_its_supervisor_is_gone() {
        let state = tempfile::tempdir().unwrap();
        let mut guest = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let mut run = Run::begin(state.path(), record(&new_id().unwrap(), ProcessIdentity::own())).unwrap();
        run.update(|r| r.first_process = ProcessIdentity::of(guest.id())).unwrap();
        end_guests(state.path());
        assert!(guest.try_wait().unwrap().is_none(), "its supervisor lives");
        run.update(|r| r.supervisor.start = "another boot/1".into()).unwrap();
        end_guests(state.path());
        assert!(run.record.first_process.as_ref().is_some_and(|p| !alive(p)));
        guest.wait().unwrap();
    }

    #[test]
    fn p58_only_what_is_proved_to_be_an_orphan_is_one() {
        let state = tempfile::tempdir().unwrap();
        let mut dead = ProcessIdentity::own();
        dead.start = "another boot/1".into();

        // Locked, whatever the record says: alive.
        let locked = Run::begin(state.path(), record(&new_id().unwrap(), dead.clone())).unwrap();
        assert!(orphans(state.path()).is_empty());
        // Unlocked, but the recorded process lives: not ours to touch.
        drop(Run::begin(state.path(), record(&new_id().unwrap(), ProcessIdentity::own())).unwrap());
        assert!(orphans(state.path()).is_empty());
        // Unlocked and gone: an orphan, claimed once.
        let id = locked.id().to_owned();
        drop(locked);
        let first = orphans(state.path());
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].record.as_ref().unwrap().run, id);
        assert!(orphans(state.path()).is_empty(), "claimed by the first");
        first.into_iter().for_each(|o| o.remove().unwrap());
        assert!(!state.path().join("runs").join(id).exists());
    }
}
