//! The supervisor behind a port: both ends prove themselves first, then everything is as it is over a socket.

#![allow(clippy::unwrap_used, reason = "test code, helpers included")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{GUEST, PATIENCE, Run, children, eventually, script, state};
use tempfile::TempDir;
use workmux_guest::control::FromGuest;
use workmux_guest::proof::{KEY, Keys};

/// A port and the file of its keys.
struct Port {
    dir: TempDir,
    listener: TcpListener,
    guest: String,
    host: String,
}

impl Port {
    fn new() -> Self {
        let port = Self {
            dir: tempfile::tempdir().unwrap(),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            guest: "a1".repeat(KEY / 2),
            host: "b2".repeat(KEY / 2),
        };
        port.write_keys();
        port
    }

    fn write_keys(&self) {
        std::fs::write(self.dir.path().join("keys"), Keys::encode(&self.guest, &self.host)).unwrap();
    }

    /// The guest program, started; it knows the port's machine by this name.
    fn guest(&self, role: &str, host: &str) -> Child {
        let port = self.listener.local_addr().unwrap().port();
        let place = format!("tcp:{host}:{port}:{}/keys", self.dir.path().display());
        Command::new(GUEST).args([role, &place]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// The next connection, and what it opens with.
    fn accept(&self) -> (TcpStream, String) {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        assert_eq!(ready, 1, "the guest program connects");
        let mut stream = self.listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut key = [0; KEY];
        stream.read_exact(&mut key).unwrap();
        (stream, String::from_utf8(key.to_vec()).unwrap())
    }

    /// Lets the guest program in and tells it to run this script.
    fn run(self, child: Child, text: &str) -> Run {
        let (mut stream, key) = self.accept();
        assert_eq!(key, self.guest);
        stream.write_all(self.host.as_bytes()).unwrap();
        // What kind of stream it is makes no difference to those who only read and write.
        Run::begin(child, UnixStream::from(OwnedFd::from(stream)), self.dir, script(text))
    }
}

#[test]
fn a_command_runs_over_tcp_as_it_does_over_a_socket() {
    // The second name stands in /etc/hosts.
    for (role, host) in [("init", "127.0.0.1"), ("init", "localhost"), ("exec", "127.0.0.1")] {
        let port = Port::new();
        let child = port.guest(role, host);
        let mut run = port.run(child, "echo out; exit 7").started();
        assert_eq!(run.line(), "out");
        assert_eq!(run.end(), (FromGuest::Exited { code: 7 }, 7));
    }
}

#[test]
fn an_impostor_learns_the_guests_key_and_nothing_else() {
    let port = Port::new();
    let child = port.guest("init", "127.0.0.1");
    for answer in ["a1".repeat(KEY / 2), "b2".repeat(KEY / 2 - 1) + "b3", String::new()] {
        let (mut stream, key) = port.accept();
        assert_eq!(key, port.guest);
        stream.write_all(answer.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = Vec::new();
        // Closed, or reset over what it did not read.
        let _ = stream.read_to_end(&mut said);
        assert_eq!(said, b"", "no greeting for a stranger");
    }
    // It goes on until its supervisor answers.
    let mut run = port.run(child, "exit 3").started();
    assert_eq!(run.end(), (FromGuest::Exited { code: 3 }, 3));
}

#[test]
fn keys_that_appear_late_are_waited_for() {
    let port = Port::new();
    std::fs::remove_file(port.dir.path().join("keys")).unwrap();
    let child = port.guest("init", "127.0.0.1");
    eventually("it runs", || state(child.id() as i32) == Some('S'));
    port.write_keys();
    let mut run = port.run(child, "exit 0").started();
    assert_eq!(run.end(), (FromGuest::Exited { code: 0 }, 0));
}

#[test]
fn the_end_of_the_connection_ends_everything() {
    let port = Port::new();
    let child = port.guest("init", "127.0.0.1");
    let mut run = port.run(child, "trap '' TERM; setsid sleep 1000 & echo up; wait").started();
    assert_eq!(run.line(), "up");
    let all = children(run.pid());
    run.cut();
    assert_eq!(run.code(), 128 + Signal::SIGKILL as i32);
    eventually("nothing is left", || all.iter().all(|pid| state(*pid).is_none_or(|s| s == 'Z')));
}

#[test]
fn a_signal_ends_the_wait_for_a_supervisor_that_does_not_answer() {
    let port = Port::new();
    let mut child = port.guest("init", "127.0.0.1");
    let _silent = port.accept();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(125));
}

#[test]
fn a_place_that_is_none_is_said() {
    let output = Command::new(GUEST).args(["init", "tcp:host:0:/x"]).output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tcp:HOST:PORT:FILE-OF-KEYS"));
}
