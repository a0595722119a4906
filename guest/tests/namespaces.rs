//! The first process where it is meant to run: as PID 1 of a namespace, without `/proc`, with a network that is down
//! or comes late.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code, helpers included")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use support::{GUEST, Run, Supervisor, command, script};
use workmux_guest::GUEST_SOCKET_DIR;
use workmux_guest::control::{FromGuest, Start, ToGuest};

/// Whether this wrapper can be used here; says so if not.
fn usable(wrapper: &[&str]) -> bool {
    let usable = support::have(wrapper[0])
        && Command::new(wrapper[0])
            .args(&wrapper[1..])
            .arg("true")
            .output()
            .is_ok_and(|output| output.status.success());
    if !usable {
        eprintln!("SKIPPED: '{}' cannot be used here", wrapper.join(" "));
    }
    usable
}

/// Runs this as the first process within a wrapper.
fn within(wrapper: &[&str], start: Start) -> Option<Run> {
    if !usable(wrapper) {
        return None;
    }
    let supervisor = Supervisor::new();
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(GUEST).arg("init").arg(supervisor.socket());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Some(supervisor.run(command, start))
}

const PID_1: [&str; 8] = ["bwrap", "--unshare-all", "--as-pid-1", "--ro-bind", "/", "/", "--proc", "/proc"];
const NO_PROC: [&str; 7] = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--tmpfs", "/proc"];
const NO_PROC_PID_1: [&str; 8] = ["bwrap", "--unshare-all", "--as-pid-1", "--ro-bind", "/", "/", "--tmpfs", "/proc"];

const FAMILY: &str = "trap '' TERM; setsid sleep 1000 & (setsid sh -c 'setsid sleep 1000 & sleep 1000' &) ;";

#[test]
fn as_the_first_of_its_namespace_it_reports_and_leaves_nothing() {
    for wrapper in [&PID_1[..], &NO_PROC, &NO_PROC_PID_1] {
        let Some(mut run) = within(wrapper, script(&format!("{FAMILY} echo $PPID; exit 42"))) else { return };
        run = run.started();
        assert_eq!(run.line(), if wrapper.contains(&"--as-pid-1") { "1" } else { "2" });
        assert_eq!(run.next(), FromGuest::Exited { code: 42 });
        assert_eq!(run.rest(), b"");
        assert_eq!(run.code(), 42);
    }
}

#[test]
fn p58_a_supervisor_that_is_gone_leaves_nothing_in_any_namespace() {
    for wrapper in [&PID_1[..], &NO_PROC, &NO_PROC_PID_1] {
        let Some(mut run) = within(wrapper, script(&format!("{FAMILY} echo ready; sleep 1000"))) else { return };
        run = run.started();
        assert_eq!(run.line(), "ready");
        run.cut();
        assert_eq!(run.rest(), b"");
        assert_eq!(run.code(), 137);
    }
}

#[test]
fn a_signal_to_pid_1_is_not_lost() {
    let Some(mut run) = within(&PID_1, script("trap 'exit 9' TERM; echo ready; kill -TERM 1; while :; do :; done"))
    else {
        return;
    };
    run = run.started();
    assert_eq!(run.line(), "ready");
    assert_eq!(run.end(), (FromGuest::Exited { code: 9 }, 9));
}

const OWN_NETWORK: [&str; 2] = ["unshare", "-rn"];

#[test]
fn loopback_is_brought_up_for_the_relay() {
    let start = Start { relay: true, ..command(&["bash", "-c", ": </dev/tcp/$WM_RPC_HOST/$WM_RPC_PORT && echo open"]) };
    let Some(mut run) = within(&OWN_NETWORK, start) else { return };
    run = run.started();
    assert_eq!(run.line(), "open");
}

#[test]
fn a_loopback_that_stays_down_costs_a_warning() {
    let wrapper = ["unshare", "-rn", "setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let start = Start { relay: true, ..script("echo port $WM_RPC_PORT") };
    let Some(mut run) = within(&wrapper, start) else { return };
    let FromGuest::Warning { text } = run.next() else { panic!("no warning") };
    assert!(text.contains("the loopback interface is down and could not be brought up"), "{text}");
    run = run.started();
    assert!(run.line().starts_with("port "), "listening works, and somebody may bring it up later");
}

#[test]
fn a_command_waits_for_a_route_that_comes_late() {
    let late = "\"$0\" \"$@\" & read -r go; ip link set lo up; read -r go; ip route add default dev lo; wait $!";
    let wrapper = ["unshare", "-rn", "sh", "-c", late];
    let start = Start { wait_for_route: true, ..script("echo ran") };
    if !usable(&OWN_NETWORK) || !support::have("ip") {
        return;
    }
    let mut run = within(&wrapper, start).unwrap();
    let mut go = run.child.stdin.take().unwrap();
    // An interface with an address is no way out yet.
    go.write_all(b"\n").unwrap();
    run.stays_silent();
    go.write_all(b"\n").unwrap();
    run = run.started();
    assert_eq!(run.line(), "ran");
}

#[test]
fn the_wait_for_a_route_can_be_ended() {
    for cut in [false, true] {
        let start = Start { wait_for_route: true, ..script("echo ran") };
        let Some(mut run) = within(&OWN_NETWORK, start) else { return };
        run.stays_silent();
        if cut {
            run.cut();
            assert_eq!(run.code(), 137);
        } else {
            run.send(&ToGuest::Signal(libc::SIGINT));
            assert_eq!(run.end(), (FromGuest::Signaled { signal: 2 }, 130));
        }
    }
}

#[test]
fn a_route_that_never_comes_is_not_waited_for_for_ever() {
    let start = Start { wait_for_route: true, ..script("echo ran") };
    let Some(mut run) = within(&OWN_NETWORK, start) else { return };
    let FromGuest::Warning { text } = run.next() else { panic!("no warning") };
    assert_eq!(text, "the sandbox has no network route after 10 s, going on");
    run = run.started();
    assert_eq!(run.line(), "ran");
}

#[test]
fn words_go_straight_to_the_socket_where_there_is_one() {
    if !usable(&PID_1) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let rpc = UnixListener::bind(dir.path().join("rpc")).unwrap();
    let host = std::thread::spawn(move || {
        let mut stream = rpc.accept().unwrap().0;
        let lines: Vec<_> = BufReader::new(&stream).lines().take(2).map(Result::unwrap).collect();
        stream.write_all(b"{\"type\":\"Ok\"}\n").unwrap();
        lines
    });
    let mut guest = Command::new(PID_1[0]);
    guest.args(&PID_1[1..]).args(["--tmpfs", "/run", "--ro-bind"]).arg(dir.path()).arg(GUEST_SOCKET_DIR);
    guest.args([GUEST, "heartbeat"]).env("WM_SANDBOX_GUEST", "").env("WM_RPC_TOKEN", "t");
    // A port that would be wrong.
    guest.env("WM_RPC_HOST", "127.0.0.1").env("WM_RPC_PORT", "1");
    assert!(guest.status().unwrap().success());
    assert_eq!(host.join().unwrap(), ["{\"token\":\"t\",\"protocol\":1}", "{\"type\":\"Heartbeat\"}"]);
}
