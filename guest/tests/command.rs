//! How a command starts and how its end is reported: exit codes, failures to start, exact words, confinement.

#![allow(clippy::unwrap_used, reason = "test code, helpers included")]

#[cfg(feature = "mutants")]
mod mutants;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::{command, init, script, words};
use workmux_guest::control::{FromGuest, Start};

#[test]
fn p61_every_exit_code_arrives_twice_and_unchanged() {
    for code in [0, 1, 2, 42, 125, 126, 127, 128, 130, 137, 255] {
        let mut run = init(script(&format!("exit {code}"))).started();
        assert_eq!(run.end(), (FromGuest::Exited { code: code as u8 }, code));
    }
}

#[test]
fn p61_death_by_signal_is_not_an_exit_code() {
    for signal in [libc::SIGHUP, libc::SIGKILL, libc::SIGSEGV, libc::SIGTERM, libc::SIGRTMIN() + 3] {
        let mut run = init(script(&format!("ulimit -c 0; kill -{signal} $$"))).started();
        assert_eq!(run.end(), (FromGuest::Signaled { signal }, 128 + signal));
    }
}

fn failure(start: Start) -> (u8, String) {
    let mut run = init(start);
    let (FromGuest::Failed { code, reason }, exit) = run.end() else { panic!("it started") };
    assert_eq!(i32::from(code), exit);
    (code, reason)
}

#[test]
fn p61_what_cannot_start_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (plain, text) = (file("plain", "#!/bin/sh\n", 0o644), file("text", "exit 0\n", 0o755));
    let script = file("script", "#!/nowhere/sh\n", 0o755);
    let here = dir.path().to_str().unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    let folder = format!("{here}/folder");

    let path = |path: &str, argv: &str| Start { env: words(&[&format!("PATH={path}")]), ..command(&[argv]) };
    for (start, code, reason) in [
        (
            path("/a:/usr/bin", "no-such"),
            127,
            "'no-such' was not found in the sandbox (PATH is '/a:/usr/bin')".to_owned(),
        ),
        (path(here, "folder"), 127, format!("'folder' was not found in the sandbox (PATH is '{here}')")),
        (command(&["/no/such"]), 127, "'/no/such' does not exist in the sandbox".to_owned()),
        (command(&["/dev/null/x"]), 127, "'/dev/null/x' does not exist in the sandbox".to_owned()),
        (command(&[""]), 127, "the command is empty".to_owned()),
        (command(&[&plain]), 126, format!("'{plain}' cannot be executed: Permission denied")),
        (path(here, "plain"), 126, format!("'{plain}' cannot be executed: Permission denied")),
        (command(&[&folder]), 126, format!("'{folder}' cannot be executed: Permission denied")),
        (command(&[&text]), 126, format!("'{text}' cannot be executed: it is not a program and has no '#!' line")),
        (
            command(&[&script]),
            126,
            format!("'{script}' cannot be executed: its interpreter or loader does not exist in the sandbox"),
        ),
        (
            Start { cwd: b"/no/such".to_vec(), ..command(&["true"]) },
            125,
            "cannot enter the directory '/no/such' in the sandbox: No such file or directory".to_owned(),
        ),
    ] {
        assert_eq!(failure(start), (code, reason));
    }
}

#[test]
fn a_file_that_cannot_be_executed_does_not_hide_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("true"), "").unwrap();
    let env = words(&[&format!("PATH={}:/usr/bin:/bin", dir.path().display())]);
    let mut run = init(Start { env, ..command(&["true"]) }).started();
    assert_eq!(run.end(), (FromGuest::Exited { code: 0 }, 0));
}

#[test]
fn p5_words_arrive_byte_for_byte() {
    let hostile: [&[u8]; 8] = [b"", b" ", b"a  b", b"'\"`$(id);|&\\*", b"x\ny\r\t", b"-n", b"--", b"\xff\xfe\x01"];
    let mut start = command(&["/usr/bin/printf", "%s\\0"]);
    start.argv.extend(hostile.iter().map(|word| word.to_vec()));
    let mut run = init(start).started();
    let want: Vec<u8> = hostile.iter().flat_map(|word| [word, &b"\0"[..]].concat()).collect();
    assert_eq!(run.rest(), want);
}

#[test]
fn p30_the_environment_arrives_byte_for_byte_and_alone() {
    let env: Vec<Vec<u8>> = [&b"A=1\n2"[..], b"B==", b"C=", b"QUOTES='\"$(id)`", b"BYTES=\xff\xfe", b"odd name=x"]
        .iter()
        .map(|variable| variable.to_vec())
        .collect();
    let mut run = init(Start { env: env.clone(), ..command(&["/usr/bin/env", "-0"]) }).started();
    let want: Vec<u8> = env.iter().flat_map(|variable| [variable, &b"\0"[..]].concat()).collect();
    assert_eq!(run.rest(), want);
}

#[test]
fn the_largest_start_arrives() {
    let mut start = command(&["/usr/bin/env", "-0"]);
    start.env = (0..15).map(|n| format!("V{n}={}", "x".repeat(100_000)).into_bytes()).collect();
    let mut run = init(start).started();
    assert_eq!(run.rest().len(), (0..15).map(|n| format!("V{n}=").len() + 100_001).sum::<usize>());
}

#[test]
fn a_command_starts_in_its_directory_with_clean_signals_and_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let cwd = dir.path().canonicalize().unwrap();
    let mut start = script("pwd -P; cat /proc/self/status | grep -E '^Sig(Blk|Ign|Cgt)'; ls /proc/self/fd");
    start.cwd = cwd.to_str().unwrap().as_bytes().to_vec();
    let mut run = init(start).started();
    let output = String::from_utf8(run.rest()).unwrap();
    let zero = "0".repeat(16);
    // The last one is the descriptor that `ls` reads the directory with.
    let want = format!("{}\nSigBlk:\t{zero}\nSigIgn:\t{zero}\nSigCgt:\t{zero}\n0\n1\n2\n3\n", cwd.display());
    assert_eq!(output, want);
}

#[test]
fn a_command_has_no_capabilities_and_gains_none() {
    let mut run = init(script("cat /proc/self/status")).started();
    let status = String::from_utf8(run.rest()).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(set), "0".repeat(16), "{set}");
    }
    if nix::unistd::geteuid().is_root() {
        assert_eq!(field("CapBnd"), "0".repeat(16));
    }
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".to_owned(), "2".to_owned()));
}

#[test]
fn a_command_cannot_look_into_the_first_process() {
    let mut run = init(script("readlink /proc/self/exe >/dev/null && echo self; readlink /proc/$PPID/exe || echo no"));
    run = run.started();
    assert_eq!(String::from_utf8(run.rest()).unwrap(), "self\nno\n");
}
