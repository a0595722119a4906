//! A machine that ends under a run: the run says so and ends in its time, work that was done is on the host, and the next
//! run has a machine again.

use std::path::Path;
use std::time::{Duration, Instant};

use workmux_tests::{World, processes, require_engine};

use super::case::{
    assert_no_unknown_start, break_it, calls, kept, kill, last_commit, lima, process, refused, status, warm,
};

/// Much less than anything that waits for a deadline.
const SOON: Duration = Duration::from_secs(8);

/// How a machine ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// All at once.
    Sudden,
    /// Its processes are told first. What that does to a command is the command's own end, where it still gets through.
    Orderly,
}

/// A run that has committed and waits; the machine ends, and so does the run.
fn ends(end: End, by: impl FnOnce(&World, &str)) -> (World, String) {
    let (world, name) = warm();
    let dir = world.worktree("topic");
    let script = "echo x > x && git add x && git commit -qm work && mkfifo go && read line < go";
    let run = world.agent(&["sh", "-c", script]).dir(&dir).start();
    let _never = workmux_tests::told(&dir.join("go"));
    let since = Instant::now();
    by(&world, &name);
    let finished = run.wait();
    assert!(since.elapsed() < SOON, "{:?}: {finished}", since.elapsed());
    if end == End::Orderly && finished.code == Some(143) {
        assert_eq!(finished.stderr, "");
        world.wait_until_clean();
    } else {
        let finished = refused(&world, finished);
        finished.warns("the sandbox was ended from outside before its command was over (backend 'lima'");
    }
    assert_eq!(last_commit(&world, &dir), "work");
    std::fs::remove_file(dir.join("go")).unwrap();
    again(&world, &dir, &name);
    (world, name)
}

/// The next run has a machine again.
fn again(world: &World, dir: &Path, name: &str) {
    let run = world.agent(&["sh", "-c", "echo y > y && git add y && git commit -qm more"]).dir(dir).run();
    run.ok();
    assert_eq!((last_commit(world, dir).as_str(), status(world, name).as_str()), ("more", "Running"));
    assert_no_unknown_start(world);
    world.assert_clean();
}

#[test]
fn its_driver_is_killed() {
    require_engine!("lima");
    let (world, _) = ends(End::Sudden, |world, name| kill(&process(world, name, "qemu.pid")));
    assert_eq!(calls(&world, "create").len(), 1, "the machine is the same");
}

#[test]
fn it_is_stopped_by_force() {
    require_engine!("lima");
    ends(End::Sudden, |world, name| _ = world.limactl(&["stop", "--force", name]).ok());
}

#[test]
fn it_is_stopped_as_its_user_stops_it() {
    require_engine!("lima");
    ends(End::Orderly, |world, name| _ = lima(world, "stop", &[name, "--yes"]).run().ok().says("(Running, in use)"));
    ends(End::Orderly, |world, name| _ = world.limactl(&["stop", name]).ok());
}

#[test]
fn it_is_deleted() {
    require_engine!("lima");
    let (world, name) = ends(End::Sudden, |world, name| {
        let run = lima(world, "prune", &["--force"]).run().ok();
        run.warns(&format!("'{name}' is in use and is deleted all the same"));
        assert!(!kept(world, name).exists());
    });
    assert_eq!(calls(&world, "create").len(), 2, "{name} was made anew");
    ends(End::Sudden, |world, name| _ = world.limactl(&["delete", "--force", name]).ok());
}

#[test]
fn all_runs_of_a_machine_end_with_it_and_the_first_of_the_next_starts_it() {
    require_engine!("lima");
    let (world, name) = warm();
    let dirs = ["one", "two", "three"].map(|branch| world.worktree(branch));
    let waiting: Vec<_> = dirs.iter().map(|dir| world.waiting("agent", dir, "")).collect();
    kill(&process(&world, &name, "qemu.pid"));
    for run in waiting {
        run.end().code(125);
    }
    world.wait_until_clean();
    let before = calls(&world, "start").len();
    std::thread::scope(|scope| {
        for dir in &dirs {
            let world = &world;
            scope.spawn(move || world.shell(&["true"]).dir(dir).run().ok());
        }
    });
    assert_eq!(calls(&world, "start").len() - before, 1);
    world.assert_clean();
}

/// The machine lives on, and with it whoever has come in already.
#[test]
fn its_host_agent_is_killed_and_nobody_notices_until_the_next_start() {
    require_engine!("lima");
    let (world, name) = warm();
    let dir = world.worktree("topic");
    let waiting = world.waiting("agent", &dir, "echo x > x && git add x && git commit -qm work; exit 7");
    break_it(&world, &name);
    waiting.go_on().wait().code(7);
    assert_eq!(last_commit(&world, &dir), "work");
    let run = world.shell(&["true"]).dir(&dir).run().ok();
    run.warns(&format!("machine '{name}' is broken: ending what is left of it"));
    again(&world, &dir, &name);
}

/// What all commands share is gone; the machine is not.
#[test]
fn the_shared_connection_is_gone() {
    require_engine!("lima");
    let (world, name) = warm();
    let dir = world.worktree("topic");
    let socket = world.lima_home().join(&name).join("ssh.sock");
    let words = format!("ssh: {}", socket.display());
    let master = processes().into_iter().find(|process| process.words.starts_with(&words)).expect("a connection");
    kill(&master);
    let before = calls(&world, "start").len();
    again(&world, &dir, &name);
    // One that is left over and answers nobody holds nobody up.
    assert!(socket.exists(), "it is left over");
    assert_eq!(calls(&world, "start").len(), before, "the machine went on");
    let mut pty = workmux_tests::Pty::start(world.shell(&["sh", "-c", "test -t 0 && read x && exit 9"]).dir(&dir));
    pty.send("x\r");
    assert_eq!(pty.wait().0, 9);
    world.assert_clean();
}
