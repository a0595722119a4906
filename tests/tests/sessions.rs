//! Several commands in one worktree at once: an agent beside a shell, and further commands that join a sandbox.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use nix::sys::signal::Signal;
use workmux_tests::{
    Sandbox, World, family, on_every_sandbox, on_every_sandbox_but_lima, over_tcp, pausing, require_engine, told,
    wait_until,
};

on_every_sandbox!(an_agent_and_a_shell_work_in_one_worktree_at_once);
// A machine is entered anew by each shell.
on_every_sandbox_but_lima!(
    a_joining_command_is_like_the_first,
    a_joining_command_has_a_terminal_if_its_user_has_one,
    p57_a_joining_command_ends_with_its_own_supervisor_and_alone,
    a_joining_command_ends_with_the_sandbox
);
over_tcp!(a_joining_command_is_like_the_first, p57_a_joining_command_ends_with_its_own_supervisor_and_alone);

const COMMIT: &str = "git add -A && git commit -q -m";

fn an_agent_and_a_shell_work_in_one_worktree_at_once(on: Sandbox) {
    let world = on.world();
    let dir = world.worktree("topic");
    let shell = world.waiting("shell", &dir, &format!("echo s > shell && {COMMIT} shell; git log --format=%s"));
    let agent = world.agent(&["sh", "-c", &format!("echo a > agent && {COMMIT} agent")]).dir(&dir).run();
    agent.ok();
    let log = || world.git(&dir, &["log", "--format=%s"]).ok().stdout;
    assert_eq!(log(), "agent\nfirst\n", "the host has the agent's commit while the shell still runs");
    let finished = shell.go_on().wait().ok();
    assert_eq!(finished.stdout, "shell\nagent\nfirst\n", "both see one repository");
    assert_eq!(log(), "shell\nagent\nfirst\n");
    assert_eq!(world.git(&dir, &["status", "--porcelain"]).ok().stdout, "");
    world.assert_clean();
}

#[test]
fn a_commit_is_on_the_host_while_its_run_goes_on() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let dir = world.worktree("topic");
    let (pause, pipe) = pausing("exit 4");
    let script = format!("echo x > x && {COMMIT} early && {pause}");
    let run = world.agent(&["sh", "-c", &script]).dir(&dir).start();
    let go_on = told(&dir.join(pipe));
    wait_until("the commit on the host", || world.git(&dir, &["log", "-1", "--format=%s"]).ok().stdout == "early\n");
    drop(go_on);
    run.wait().code(4);
    world.assert_clean();
}

#[test]
fn joining_needs_a_sandbox_that_runs() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let other = world.worktree("other");
    let elsewhere = world.waiting("shell", &other, "");
    let join = ["sandbox", "shell", "--exec", "--", "true"];
    let refused = world.workmux(&join).run().code(125);
    refused.warns("no sandbox runs for").warns("workmux sandbox shell");
    elsewhere.go_on().wait().ok();
    world.workmux(&join).dir(&other).run().code(125);
    world.assert_clean();
}

fn a_joining_command_is_like_the_first(on: Sandbox) {
    let world = on.world();
    let dir = world.worktree("topic");
    world.folder(&dir.join("sub dir"));
    let first = world.waiting("agent", &dir, "exit 3");
    let join = |words: &[&str]| world.workmux(&["sandbox", "shell", "-e", "--"]).args(words).dir(&dir);

    for code in [0, 1, 125, 126, 127, 255] {
        let run = join(&["sh", "-c", &format!("exit {code}")]).run().code(code);
        assert_eq!(run.stderr, "");
    }
    join(&["sh", "-c", "kill -9 $$"]).run().code(137);
    join(&["no-such-program"]).run().code(127).warns("'no-such-program'");
    join(&["/etc/passwd"]).run().code(126);
    let odd = ["a  b", "c;d", "$(e)", "", "--", "'\"\\", "ü"];
    let words = join(&["printf", "[%s]"]).args(odd).run().ok();
    assert_eq!(words.stdout, odd.map(|word| format!("[{word}]")).concat());
    assert_eq!(join(&["cat"]).input("a\0b").run().ok().stdout, "a\0b");
    let apart = join(&["sh", "-c", "echo out; echo err >&2"]).run().ok();
    assert_eq!((apart.stdout.as_str(), apart.stderr.as_str()), ("out\n", "err\n"));
    let sub = join(&["pwd"]).dir(dir.join("sub dir")).run().ok().stdout;
    assert_eq!(sub.trim_end(), dir.join("sub dir").to_str().unwrap());

    // It is the same sandbox: same processes, same file system, and no more rights.
    join(&["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"]).run().ok().says("workmux init");
    join(&["touch", "/tmp/shared"]).run().ok();
    join(&["test", "-e", "/tmp/shared"]).run().ok();
    let rights = join(&["grep", "-E", "^(CapPrm|CapEff|CapAmb|NoNewPrivs|Seccomp):", "/proc/self/status"]).run().ok();
    let none = "0000000000000000";
    let expected = format!("CapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\nNoNewPrivs:\t1\nSeccomp:\t2\n");
    assert_eq!(rights.stdout, expected);
    // The host's programs and the token are not for a command that has no RPC.
    join(&["sh", "-c", "env"]).run().ok().never_says("WM_RPC_TOKEN").says("WM_SANDBOX_GUEST=1");
    join(&["sh", "-c", &format!("echo j > j && {COMMIT} joined")]).run().ok();

    first.go_on().wait().code(3);
    assert_eq!(world.git(&dir, &["log", "-1", "--format=%s"]).ok().stdout, "joined\n");
    world.assert_clean();
}

fn a_joining_command_has_a_terminal_if_its_user_has_one(on: Sandbox) {
    let world = on.world();
    let first = world.waiting("shell", &world.main(), "");
    let mut pty = world.pty(&[
        "sandbox",
        "shell",
        "--exec",
        "--",
        "sh",
        "-c",
        "test -t 0 -a -t 1 && stty size; read x; echo got $x; exit 6",
    ]);
    pty.wait_for("24 80");
    pty.send("word\r");
    pty.wait_for("got word");
    assert_eq!(pty.wait().0, 6);
    let run = world.workmux(&["sandbox", "shell", "--exec", "--", "tty"]).run().code(1);
    assert_eq!(run.stdout, "not a tty\n");
    first.go_on().wait().ok();
}

fn p57_a_joining_command_ends_with_its_own_supervisor_and_alone(on: Sandbox) {
    let world = on.world();
    let dir = world.main();
    let first = world.waiting("shell", &dir, "exit 5");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGKILL] {
        let joined = world.waiting("shell", &dir, "");
        drop(joined.go_on().wait());
        let (script, pipe) = pausing("");
        let joined = world.workmux(&["sandbox", "shell", "--exec", "--", "sh", "-c", &script]).start();
        let _never = told(&dir.join(&pipe));
        let members = family(joined.pid());
        assert!(members.len() > 1, "{members:?}");
        joined.signal(signal);
        let finished = joined.wait();
        let code = finished.code.unwrap_or(128 + finished.signal.unwrap_or(0));
        assert_eq!(code, 128 + signal as i32, "{finished}");
        wait_until("the joined command to end", || members.iter().all(|process| !process.lives()));
        std::fs::remove_file(dir.join(pipe)).unwrap();
    }
    first.go_on().wait().code(5);
    wait_until("nothing to be left", || world.residue().is_empty());
}

fn a_joining_command_ends_with_the_sandbox(on: Sandbox) {
    let world = on.world();
    let dir = world.main();
    let first = world.waiting("shell", &dir, "exit 5");
    let (script, pipe) = pausing("");
    let joined = world.workmux(&["sandbox", "shell", "--exec", "--", "sh", "-c", &script]).start();
    let _never = told(&dir.join(pipe));
    first.go_on().wait().code(5);
    let finished = joined.wait();
    assert_ne!(finished.code, Some(0), "{finished}");
    world.assert_clean();
}

#[test]
fn the_newest_sandbox_is_joined_and_the_others_are_named() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let dir = world.main();
    let older = world.waiting("shell", &dir, "");
    let newer = world.waiting("agent", &dir, "");
    let join = world.workmux(&["sandbox", "shell", "--exec", "--", "true"]).run().ok();
    join.warns("the newest; also running: 'bubblewrap-");
    drop(newer.go_on().wait().ok());
    let join = world.workmux(&["sandbox", "shell", "--exec", "--", "true"]).run().ok();
    assert_eq!(join.stderr, "");
    older.go_on().wait().ok();
    world.assert_clean();
}
