//! The relay as guests meet it: a port of their own loopback that leads to the supervisor's socket.

#![allow(clippy::unwrap_used, reason = "test code, helpers included")]

#[cfg(feature = "mutants")]
mod mutants;
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{PATIENCE, Run, Supervisor, children, eventually, script, state};
use workmux_guest::control::{FromGuest, Start};

/// A run with a relay, and its port. `serve` gets each connection on the host's side.
fn relayed(serve: impl Fn(UnixStream) + Clone + Send + 'static) -> (Run, u16) {
    let supervisor = Supervisor::new();
    let rpc = UnixListener::bind(supervisor.dir.path().join("rpc")).unwrap();
    thread::spawn(move || {
        for stream in rpc.incoming() {
            let (serve, stream) = (serve.clone(), stream.unwrap());
            thread::spawn(move || serve(stream));
        }
    });
    let mut start = script("echo $WM_RPC_HOST $WM_RPC_PORT; exec sleep 1000");
    start.env.push(b"WM_RPC_PORT=1".to_vec());
    start.relay = true;
    let guest = supervisor.guest("init");
    let mut run = supervisor.run(guest, start).started();
    let line = run.line();
    let port = line.strip_prefix("127.0.0.1 ").expect("the loopback address").parse().unwrap();
    (run, port)
}

fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn echo(stream: UnixStream) {
    let (mut from, mut to) = (&stream, &stream);
    drop(std::io::copy(&mut from, &mut to));
    drop(stream.shutdown(Shutdown::Write));
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut answer).is_ok() && answer == *b"ping"
}

#[test]
fn bytes_pass_unchanged_both_ways_and_each_end_is_passed_on() {
    // Answers only after the guest's end has arrived: without half-close this would wait for ever.
    let (_run, port) = relayed(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut stream = dial(port);
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == sent, "{} bytes came back of {}", received.len(), sent.len());
}

#[test]
fn the_hosts_end_is_passed_on_while_the_guest_still_talks() {
    let (_run, port) = relayed(|mut stream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    });
    let mut stream = dial(port);
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"bye");
    stream.write_all(b"still here").unwrap();
}

#[test]
fn a_reader_that_does_not_read_stops_only_its_own_connection() {
    let (_run, port) = relayed(echo);
    let stuck = dial(port);
    stuck.set_nonblocking(true).unwrap();
    let chunk = vec![0; 64 * 1024];
    // Until everything between here and there is full.
    while (&stuck).write(&chunk).is_ok() {}
    let mut other = dial(port);
    assert!(echoes(&mut other));
}

#[test]
fn p56_connections_leave_nothing_behind() {
    let (_run, port) = relayed(echo);
    for _ in 0..500 {
        assert!(echoes(&mut dial(port)));
    }
    // As many as there may be at once: every slot is free again.
    let mut held: Vec<TcpStream> = (0..64).map(|_| dial(port)).collect();
    assert!(held.iter_mut().all(echoes));
    // One more waits, and is served when another ends.
    let mut waiting = dial(port);
    waiting.write_all(b"ping").unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = [0; 4];
    assert!(waiting.read(&mut answer).is_err(), "the 65th is not served yet");
    held.pop();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting.read_exact(&mut answer).unwrap();
}

#[test]
fn without_the_hosts_socket_a_connection_is_closed() {
    let supervisor = Supervisor::new();
    let guest = supervisor.guest("init");
    let start = Start { relay: true, ..script("echo $WM_RPC_PORT; sleep 1000") };
    let mut run = supervisor.run(guest, start).started();
    let mut stream = dial(run.line().parse().unwrap());
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn p52_a_relay_that_dies_is_started_again_and_the_run_goes_on() {
    let (mut run, port) = relayed(echo);
    let command = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    let relay = || children(run.pid()).into_iter().find(|pid| !command(pid)).expect("a relay");
    let first = relay();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let FromGuest::Warning { text } = run.next() else { panic!("no warning") };
    assert_eq!(text, "the relay for programs that dial TCP ended and was started again");
    assert!(echoes(&mut dial(port)), "on the same port");
}

#[test]
fn the_relay_ends_with_the_first_process_and_holds_no_descriptor_of_it() {
    let (mut run, _) = relayed(echo);
    let all = children(run.pid());
    assert_eq!(all.len(), 2);
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    eventually("the relay is gone", || all.iter().filter(|&&pid| state(pid).is_some_and(|s| s != 'Z')).count() <= 1);
    // The command is not the first process's to keep once that was killed from outside: end it here.
    for pid in all {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
