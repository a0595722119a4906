//! Signals on their way to the command, and the ends of a run: nothing is left, whichever way it ends.

#![allow(clippy::unwrap_used, reason = "test code, helpers included")]

#[cfg(feature = "mutants")]
mod mutants;
mod support;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Supervisor, children, eventually, init, script, state};
use workmux_guest::control::{FromGuest, ToGuest};

/// Leaves behind what is hard to end: other sessions, orphans, ignored signals.
const FAMILY: &str = "
    trap '' TERM HUP INT
    setsid sh -c 'trap \"\" TERM HUP; sleep 1000' &
    sh -c 'setsid sh -c \"setsid sleep 1000 & sleep 1000\" &'
    (sleep 1000 &)
";

#[test]
fn p58_a_supervisor_that_is_gone_leaves_nothing() {
    for role in ["init", "exec"] {
        let supervisor = Supervisor::new();
        let guest = supervisor.guest(role);
        let mut run = supervisor.run(guest, script(&format!("{FAMILY} echo ready; sleep 1000"))).started();
        assert_eq!(run.line(), "ready");
        run.cut();
        assert_eq!(run.rest(), b"", "nobody holds the output any more");
        assert_eq!(run.code(), 137);
    }
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    let mut run = init(script(&format!("{FAMILY} exit 3"))).started();
    assert_eq!(run.next(), FromGuest::Exited { code: 3 });
    assert_eq!(run.rest(), b"");
    assert_eq!(run.code(), 3);
}

#[test]
fn an_orphan_that_dies_is_reaped_while_the_command_runs() {
    let mut run = init(script("(sh -c 'echo $$' &) ; sleep 1000")).started();
    let orphan: i32 = run.line().parse().unwrap();
    eventually("the orphan is gone, not a zombie", || state(orphan).is_none());
}

#[test]
fn p57_a_signal_frame_reaches_the_whole_group_of_the_command() {
    let text = "trap 'wait; exit 9' TERM
        (trap 'echo inner; exit' TERM; echo ready; while :; do :; done) &
        wait";
    let mut run = init(script(text)).started();
    assert_eq!(run.line(), "ready");
    run.send(&ToGuest::Signal(libc::SIGTERM));
    assert_eq!(run.line(), "inner");
    assert_eq!(run.end(), (FromGuest::Exited { code: 9 }, 9));
}

#[test]
fn a_signal_that_comes_with_the_start_is_not_lost() {
    for _ in 0..20 {
        let mut run = init(script("sleep 1000"));
        run.send(&ToGuest::Signal(libc::SIGTERM));
        assert_eq!(run.next(), FromGuest::Started);
        assert_eq!(run.end(), (FromGuest::Signaled { signal: libc::SIGTERM }, 143));
    }
}

#[test]
fn p57_a_signal_to_the_first_process_reaches_the_command() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        let name = signal.as_str().trim_start_matches("SIG");
        let text = format!("trap 'exit 7' {name}; echo ready; while :; do :; done");
        let mut run = init(script(&text)).started();
        assert_eq!(run.line(), "ready");
        kill(Pid::from_raw(run.pid()), signal).unwrap();
        assert_eq!(run.end(), (FromGuest::Exited { code: 7 }, 7));
    }
}

#[test]
fn a_killed_command_says_so() {
    let mut run = init(script("echo ready; sleep 1000")).started();
    assert_eq!(run.line(), "ready");
    run.send(&ToGuest::Signal(libc::SIGKILL));
    assert_eq!(run.end(), (FromGuest::Signaled { signal: 9 }, 137));
}

#[test]
fn a_supervisor_can_stop_and_continue_the_command() {
    let mut run = init(script("echo $$; exec sleep 1000")).started();
    let pid: i32 = run.line().parse().unwrap();
    run.send(&ToGuest::Signal(libc::SIGSTOP));
    eventually("it stops", || state(pid) == Some('T'));
    run.send(&ToGuest::Signal(libc::SIGCONT));
    eventually("it goes on", || state(pid).is_some_and(|s| s != 'T'));
}

#[test]
fn a_signal_before_the_start_ends_the_wait() {
    let supervisor = Supervisor::new();
    let socket = supervisor.socket();
    let mut guest = supervisor.guest("init").spawn().unwrap();
    let mut link = supervisor.accept();
    assert!(matches!(FromGuest::read_from(&mut link).unwrap(), Some(FromGuest::Hello { .. })), "{socket:?}");
    kill(Pid::from_raw(guest.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(FromGuest::read_from(&mut link).unwrap(), Some(FromGuest::Signaled { signal: 15 }));
    assert_eq!(guest.wait().unwrap().code(), Some(143));
}

#[test]
fn a_frame_that_cannot_be_read_is_the_end() {
    let garbage: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", &[9, 0, 0, 0, 0], &[2, 255, 255, 255, 255], &[1, 4, 0, 0, 0, 255, 255, 255, 255]];
    for bytes in garbage {
        let supervisor = Supervisor::new();
        let mut guest = supervisor.guest("init").spawn().unwrap();
        let mut link = supervisor.accept();
        link.write_all(bytes).unwrap();
        assert_eq!(guest.wait().unwrap().code(), Some(137), "{bytes:?}");
    }
}

#[test]
fn half_a_frame_does_not_keep_it_from_its_other_work() {
    let mut run = init(script("(sh -c 'echo $$' &) ; sleep 1000")).started();
    run.send_bytes(&[2, 4, 0]);
    let orphan: i32 = run.line().parse().unwrap();
    eventually("it still reaps", || state(orphan).is_none());
    run.send_bytes(&[0, 0, 15, 0, 0, 0]);
    assert_eq!(run.end(), (FromGuest::Signaled { signal: 15 }, 143));
}

/// The guest program at a socket nobody listens on, in the middle of its first tries.
fn alone(socket: &Path) -> Child {
    let guest = Command::new(support::GUEST).arg("init").arg(socket).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    guest
}

#[test]
fn a_supervisor_that_listens_late_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control");
    let guest = alone(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    drop(listener.accept().unwrap());
    let output = guest.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(137), Vec::new()));
}

#[test]
fn without_a_supervisor_a_signal_ends_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control");
    let guest = alone(&socket);
    kill(Pid::from_raw(guest.id() as i32), Signal::SIGTERM).unwrap();
    let output = guest.wait_with_output().unwrap();
    let want = format!("Error: could not reach the supervisor at '{}'", socket.display());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(125) && errors.starts_with(&want), "{errors}");
}

#[test]
fn it_has_no_child_of_its_own_but_the_command() {
    let mut run = init(script("echo $$; exec sleep 1000")).started();
    let pid: i32 = run.line().parse().unwrap();
    assert_eq!(children(run.pid()), [pid]);
}
