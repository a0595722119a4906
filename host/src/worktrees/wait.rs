//! Waiting for agents: until they are finished, without looking again and again.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use color_eyre::eyre::{Result, WrapErr as _};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::record::{Entry, State};
use crate::runs::{ProcessIdentity, alive};
use crate::tool::pidfd_open;

/// Something may end that no event tells of: where a process cannot be watched, it is looked at this often.
const LOOK: Duration = Duration::from_secs(2);

/// Whether there is nothing more to wait for: it is done, it has ended, or nothing of it is running.
pub(crate) fn finished(state: &State) -> bool {
    state.exit_code.is_some() || state.status == "done" || !(state.running() || state.starting())
}

/// Waits until all of these are finished, or `within` is over; `stop` is asked after each event. Answers whether they are.
pub(crate) fn all(entries: &[Entry], within: Option<Duration>, stop: &dyn Fn() -> bool) -> Result<bool> {
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
        let waiting: Vec<State> = entries.iter().map(Entry::state).filter(|state| !finished(state)).collect();
        if waiting.is_empty() {
            return Ok(true);
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if stop() || left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        let processes: Vec<_> =
            waiting.iter().filter_map(|state| pidfd_open(state.process.as_ref()?.pid).ok()).collect();
        let mut fds = vec![PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        fds.extend(processes.iter().map(|process| PollFd::new(process.as_fd(), PollFlags::POLLIN)));
        let most = if processes.len() == waiting.len() { Duration::from_secs(30) } else { LOOK };
        let time = left.unwrap_or(most).min(most);
        match poll(&mut fds, PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).wrap_err("cannot wait for agents"),
        }
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

    #[test]
    fn a_change_of_state_ends_the_wait_and_so_does_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let entry = Store::new(dir.path()).reserve(record("/w/x")).unwrap().unwrap();
        let both = [entry.clone()];
        assert!(all(&both, None, &|| false).unwrap(), "nothing runs");
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        entry.change(|state| state.process = ProcessIdentity::of(child.id())).unwrap();
        assert!(!all(&both, Some(Duration::from_millis(1)), &|| false).unwrap());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| all(&both, Some(Duration::from_secs(60)), &|| false).unwrap());
            entry.change(|state| state.status = "done".into()).unwrap();
            assert!(waiting.join().unwrap());
        });
        entry.change(|state| state.status = "working".into()).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| all(&both, Some(Duration::from_secs(60)), &|| false).unwrap());
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
