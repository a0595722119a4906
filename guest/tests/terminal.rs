//! The command on a terminal: foreground, Ctrl-C, Ctrl-Z, and the calls that type into it.

#![allow(clippy::unwrap_used, reason = "test code, helpers included")]

#[cfg(feature = "mutants")]
mod mutants;
mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use support::{Run, children, command, eventually, init, init_on_terminal, script, state, words};
use workmux_guest::control::{FromGuest, Start, ToGuest};

fn press(master: &OwnedFd, keys: &[u8]) {
    File::from(master.try_clone().unwrap()).write_all(keys).unwrap();
}

#[test]
fn the_command_leads_the_foreground_group_of_its_own_terminal() {
    // pgrp, session, tty, foreground group: a terminal, and the group is in its foreground.
    let text = "read -r _ _ _ _ group session tty foreground _ </proc/self/stat; \
                echo $$ $group $foreground $([ $tty != 0 ] && echo tty)";
    let (mut run, _master) = init_on_terminal(script(text));
    run = run.started();
    let line = run.line();
    let fields: Vec<&str> = line.split(' ').collect();
    assert_eq!(fields, [fields[0], fields[0], fields[0], "tty"]);
}

#[test]
fn ctrl_c_ends_the_command_by_its_signal() {
    // No shell: some start programs by vfork, and a signal within that moment is theirs to lose.
    let (mut run, master) = init_on_terminal(command(&["sleep", "1000"]));
    run = run.started();
    press(&master, b"\x03");
    assert_eq!(run.end(), (FromGuest::Signaled { signal: 2 }, 130));
}

#[test]
fn ctrl_c_can_be_handled_by_the_command() {
    let text = "trap 'echo caught; exit 5' INT; echo ready; while :; do read -r key; done";
    let (mut run, master) = init_on_terminal(script(text));
    run = run.started();
    assert_eq!(run.line(), "ready");
    press(&master, b"\x03");
    assert_eq!(run.line(), "caught");
    assert_eq!(run.end(), (FromGuest::Exited { code: 5 }, 5));
}

/// The process stops for a moment on Ctrl-Z: it says so when it goes on.
const STOPPABLE: &str = "trap 'echo continued' CONT; echo $$; while :; do read -r key; done";

#[test]
fn ctrl_z_without_anybody_to_continue_the_command_does_not_end_it_for_ever() {
    let (mut run, master) = init_on_terminal(script(STOPPABLE));
    run = run.started();
    let pid: i32 = run.line().parse().unwrap();
    for _ in 0..3 {
        press(&master, b"\x1a");
        assert_eq!(run.line(), "continued");
    }
    assert!(state(pid).is_some());
}

#[test]
fn what_the_supervisor_stopped_stays_so_until_it_says_otherwise() {
    let (mut run, _master) = init_on_terminal(script(STOPPABLE));
    run = run.started();
    let pid: i32 = run.line().parse().unwrap();
    run.send(&ToGuest::Signal(libc::SIGTSTP));
    eventually("it stops", || state(pid) == Some('T'));
    // Anything that makes the first process go through its loop again.
    run.send(&ToGuest::Signal(libc::SIGURG));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(state(pid), Some('T'));
    run.send(&ToGuest::Signal(libc::SIGCONT));
    assert_eq!(run.line(), "continued");
}

#[test]
fn a_shell_has_job_control() {
    if !support::have("bash") {
        return;
    }
    let mut start = command(&["bash", "--norc", "--noprofile", "-i"]);
    start.env.push(b"PS1=".to_vec());
    let (mut run, master) = init_on_terminal(start);
    quiet(&master);
    run = run.started();
    press(&master, b"echo $$\n");
    let shell: i32 = run.line().parse().unwrap();
    press(&master, b"sleep 1000\n");
    let comm = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    eventually("the job runs", || children(shell).first().is_some_and(|&job| comm(job) == "sleep\n"));
    let job = children(shell)[0];
    press(&master, b"\x1a");
    eventually("the job stops and stays so", || state(job) == Some('T'));
    press(&master, b"echo code $?\n");
    assert_eq!(run.line(), "code 148");
    press(&master, b"fg\n");
    assert_eq!(run.line(), "sleep 1000");
    eventually("the job goes on", || state(job).is_some_and(|s| s != 'T'));
    press(&master, b"\x03");
    press(&master, b"exit 6\n");
    assert_eq!(run.end(), (FromGuest::Exited { code: 6 }, 6));
}

/// No echo: a reader of the terminal sees what programs print and nothing else.
fn quiet(master: &OwnedFd) {
    let mut modes = tcgetattr(master).unwrap();
    modes.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(master, SetArg::TCSANOW, &modes).unwrap();
}

#[test]
fn without_a_terminal_the_command_has_none_it_could_stop_on() {
    let mut run = init(script("(: </dev/tty) 2>/dev/null || echo none")).started();
    assert_eq!(run.line(), "none");
}

#[test]
fn a_standard_input_that_is_no_terminal_costs_a_warning() {
    let mut run = init(Start { terminal: true, ..script("echo ran") });
    let (first, second) = (run.next(), run.next());
    assert!(matches!(&first, FromGuest::Warning { text } if text.contains("Ctrl-C may not work")), "{first:?}");
    assert!(matches!(&second, FromGuest::Warning { text } if text.contains("foreground")), "{second:?}");
    run = run.started();
    assert_eq!(run.line(), "ran");
}

/// Not a test by itself: run as a command inside a sandbox, it says what the two calls answer.
#[test]
fn probe() {
    if std::env::var_os("PROBE").is_none() {
        return;
    }
    for request in [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSTI | 1 << 32] {
        let byte = b'#';
        #[expect(unsafe_code, reason = "the probe is the call itself")]
        // SAFETY: TIOCSTI reads one byte; TIOCLINUX too, and 35 is no command of it.
        let answer = unsafe { libc::ioctl(0, request, &raw const byte) };
        assert_eq!(answer, -1, "it typed");
        println!("answer {}", std::io::Error::last_os_error().raw_os_error().unwrap());
    }
}

fn probing() -> Start {
    let this = std::env::current_exe().unwrap();
    let mut start = command(&[this.to_str().unwrap(), "--exact", "probe", "--nocapture"]);
    start.env.extend(words(&["PROBE=1"]));
    start
}

fn answers(mut run: Run) -> Vec<String> {
    run = run.started();
    let output = run.rest();
    let lines = BufReader::new(output.as_slice()).lines().map(Result::unwrap);
    lines.filter_map(|line| Some(line.rsplit_once("answer ")?.1.to_owned())).collect()
}

#[test]
fn p82_the_command_cannot_type_into_the_terminal() {
    let refused = vec![libc::EPERM.to_string(); 3];
    let (run, master) = init_on_terminal(probing());
    quiet(&master);
    assert_eq!(answers(run), refused);
    // Nothing stands in the terminal's input: the slave is gone with the run, a leftover would be echoed or read.
    let mut waiting = 0;
    #[expect(unsafe_code, reason = "no safe wrapper")]
    // SAFETY: FIONREAD writes one int.
    let asked = unsafe { libc::ioctl(master.as_raw_fd(), libc::FIONREAD, &raw mut waiting) };
    assert!(asked != 0 || waiting == 0);
    // The same without a terminal: the filter does not look at the descriptor.
    assert_eq!(answers(init(probing())), refused);
}

#[cfg(feature = "mutants")]
#[test]
fn p82_without_the_filter_the_probe_sees_the_difference() {
    let supervisor = support::Supervisor::new();
    let mut guest = supervisor.guest("init");
    guest.env("WORKMUX_MUTANT", "p82_filter");
    assert_eq!(answers(supervisor.run(guest, probing())), vec![libc::ENOTTY.to_string(); 3]);
}
