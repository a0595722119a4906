//! Waiting for agents: until they are finished, without looking again and again.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use color_eyre::eyre::{Result, WrapErr as _};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::record::{Entry, State};
use crate::runs::{ProcessIdentity, alive};
use crate::tool::pidfd_open;

/// Where a process cannot be watched, it is looked at this often.
const LOOK: Duration = Duration::from_secs(2);
/// And where it can.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether there is nothing more to wait for: it is done, it has ended, or nothing of it is running.
pub(crate) fn finished(state: &State) -> bool {
    state.exit_code.is_some() || state.status == "done" || !(state.running() || state.starting())
}

/// What a wait came to.
#[derive(Debug)]
pub(crate) struct Waited {
    /// How each of them was when that was known.
    pub states: Vec<State>,
    /// All are finished.
    pub all: bool,
}

/// Waits until all of these are finished, `within` is over, or `stop` is readable. `changed` is told how each is, at the
/// beginning and whenever something changed.
pub(crate) fn all(
    entries: &[Entry],
    within: Option<Duration>,
    stop: Option<BorrowedFd>,
    changed: &mut dyn FnMut(&[State]),
) -> Result<Waited> {
    let until = within.map(|within| Instant::now() + within);
    // Watched before looked at: no change falls between.
    let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).wrap_err("cannot watch agents")?;
    for entry in entries {
        let all = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE_SELF;
        // One that is gone is finished.
        let _gone = changes.add_watch(&entry.directory, all);
    }
    loop {
        while changes.read_events().is_ok_and(|events| !events.is_empty()) {}
        let states: Vec<State> = entries.iter().map(Entry::state).collect();
        changed(&states);
        let waiting: Vec<&State> = states.iter().filter(|state| !finished(state)).collect();
        if waiting.is_empty() {
            return Ok(Waited { states, all: true });
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(Waited { states, all: false });
        }
        let processes: Vec<_> =
            waiting.iter().filter_map(|state| pidfd_open(state.process.as_ref()?.pid).ok()).collect();
        let mut fds = vec![PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        fds.extend(stop.map(|stop| PollFd::new(stop, PollFlags::POLLIN)));
        fds.extend(processes.iter().map(|process| PollFd::new(process.as_fd(), PollFlags::POLLIN)));
        // Something may end that no event tells of.
        let most = if processes.len() == waiting.len() { PATIENCE } else { LOOK };
        let time = left.unwrap_or(most).min(most);
        match poll(&mut fds, PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).wrap_err("cannot wait for agents"),
        }
        if stop.is_some() && fds[1].revents().is_some_and(|ready| !ready.is_empty()) {
            return Ok(Waited { states: entries.iter().map(Entry::state).collect(), all: false });
        }
    }
}

/// Waits until the agent of a worktree is so; false when the time is over.
pub(crate) fn until(entry: &Entry, within: Duration, so: impl Fn(&State) -> bool) -> bool {
    let until = Instant::now() + within;
    let Ok(changes) = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) else { return false };
    let _gone = changes.add_watch(&entry.directory, AddWatchFlags::IN_MOVED_TO);
    loop {
        while changes.read_events().is_ok_and(|events| !events.is_empty()) {}
        if so(&entry.state()) {
            return true;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let mut fds = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        let _looked_at_again = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
    }
}

/// Waits until a process has ended; false when the time is over.
pub(crate) fn ended(process: &ProcessIdentity, within: Duration) -> bool {
    let until = Instant::now() + within;
    while alive(process) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let Ok(watched) = pidfd_open(process.pid) else { continue };
        let mut fds = [PollFd::new(watched.as_fd(), PollFlags::POLLIN)];
        let _looked_at_again = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::record::Store;
    use super::super::record::tests::record;
    use super::*;

    fn within(entries: &[Entry], seconds: Option<u64>) -> bool {
        all(entries, seconds.map(Duration::from_secs), None, &mut |_| {}).unwrap().all
    }

    #[test]
    fn a_change_of_state_ends_the_wait_and_so_does_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let entry = Store::new(dir.path()).reserve(record("/w/x")).unwrap().unwrap();
        let both = [entry.clone()];
        assert!(within(&both, None), "nothing runs");
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        entry.change(|state| state.process = ProcessIdentity::of(child.id())).unwrap();
        assert!(!within(&both, Some(0)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| within(&both, Some(60)));
            entry.change(|state| state.status = "done".into()).unwrap();
            assert!(waiting.join().unwrap());
        });
        entry.change(State::asked).unwrap();
        assert!(!within(&both, Some(0)), "it has been told something since it was done");
        entry.change(|state| state.status = "working".into()).unwrap();
        let stop = nix::sys::eventfd::EventFd::new().unwrap();
        stop.write(1).unwrap();
        assert!(!all(&both, None, Some(stop.as_fd()), &mut |_| {}).unwrap().all);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| within(&both, Some(60)));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(waiting.join().unwrap());
        });
        let begun = |since| State { since, ..State::default() };
        let now = super::super::record::now();
        assert!(!finished(&begun(now)), "its process has not said anything yet");
        assert!(finished(&begun(now - 61)) && finished(&State { exit_code: Some(1), ..begun(now) }));
        assert!(ended(&ProcessIdentity { pid: child.id(), start: "x".into() }, Duration::ZERO));
    }
}
