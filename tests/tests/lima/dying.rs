//! A machine that ends under a run: the run says which, nothing hangs, what was committed is there, and the next run works.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use workmux_tests::{Finished, PATIENCE, require_engine, wait_until};

use super::scene::Scene;

/// A run whose machine ended: the way out of it, or by the signal that everybody in a machine gets that is shut down.
#[track_caller]
pub(crate) fn ended(run: &Finished, machine: &str) {
    if run.code == Some(143) {
        assert!(!run.stderr.contains("Error: "), "{run}");
        return;
    }
    let run = run.clone().code(125).warns(&format!("the sandbox '{machine}' was ended from outside"));
    assert_eq!(run.stderr.matches("Error: ").count(), 1, "{run}");
    run.warns("Hint: ");
}

/// The same of a run that may have been too late for its machine.
#[track_caller]
pub(crate) fn ended_or_never_began(run: &Finished) {
    if run.code != Some(143) {
        assert_eq!(run.clone().code(125).stderr.matches("Error: ").count(), 1, "{run}");
    }
}

/// Has a machine end like this under an agent that has committed.
fn dies(end: impl Fn(&Scene, &str)) {
    let scene = Scene::warm();
    let name = scene.machine();
    let dir = scene.worktree("topic");
    let commit = "git commit --quiet --allow-empty --message=meanwhile";
    let (pausing, pipe) = workmux_tests::pausing("true");
    let running = scene.agent(&["sh", "-c", &format!("{commit} && {pausing}")]).dir(&dir).within(PATIENCE).start();
    let told = workmux_tests::told(&dir.join(pipe));
    end(&scene, &name);
    let run = running.wait();
    drop(told);
    ended(&run, &name);
    assert_eq!(scene.git(&dir, &["log", "--format=%s", "-1", "topic"]).ok().stdout, "meanwhile\n");

    scene.agent(&["git", "log", "--format=%s", "-1"]).dir(&dir).run().ok().says("meanwhile\n");
    assert_eq!((scene.machine(), scene.count("create")), (name, 1));
    scene.assert_clean();
}

#[test]
fn a_run_survives_no_death_of_its_driver_but_its_commits_do() {
    require_engine!("lima");
    dies(|scene, name| scene.kill(name, "qemu.pid"));
}

#[test]
fn a_run_whose_machine_is_stopped_by_force_ends() {
    require_engine!("lima");
    dies(|scene, name| drop(scene.limactl(&["stop", "--force", name]).ok()));
}

#[test]
fn a_run_whose_machine_is_stopped_ends() {
    require_engine!("lima");
    dies(|scene, name| drop(scene.limactl(&["stop", name]).ok()));
}

#[test]
fn a_run_whose_machine_is_deleted_ends() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let dir = scene.worktree("topic");
    let running = scene.waiting("agent", &dir, "true");
    scene.limactl(&["delete", "--force", &name]).ok();
    ended(&running.end(), &name);
    // The next run makes another one.
    scene.agent(&["true"]).dir(&dir).run().ok();
    assert_eq!((scene.machine(), scene.count("create")), (name, 2));
    scene.assert_clean();
}

#[test]
fn a_dead_host_agent_is_replaced() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let dir = scene.worktree("topic");
    let running = scene.waiting("agent", &dir, "git commit --quiet --allow-empty --message=meanwhile; exit 7");
    scene.kill(&name, "ha.pid");
    assert_eq!(scene.status(&name), "Broken");
    // The machine is there without it, and so is the run in it.
    running.go_on().wait().code(7);
    assert_eq!(scene.git(&dir, &["log", "--format=%s", "-1", "topic"]).ok().stdout, "meanwhile\n");
    scene.agent(&["git", "log", "--format=%s", "-1"]).dir(&dir).run().ok().says("meanwhile\n");
    assert_eq!((scene.status(&name).as_str(), scene.count("create")), ("Running", 1));
    scene.assert_clean();
}

#[test]
fn a_broken_machine_is_not_taken_from_who_works_in_it() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let dir = scene.worktree("topic");
    let works = scene.waiting("agent", &dir, "exit 7");
    let ends = scene.waiting("agent", &scene.worktree("other"), "true");
    scene.kill(&name, "ha.pid");
    let run = scene.shell(&["true"]).run().code(125);
    run.warns(&format!("the machine '{name}' is broken, and sandboxes may still work in it"))
        .warns(&format!("workmux sandbox stop {name}"));
    works.go_on().wait().code(7);
    // Who is told of the others may end them.
    scene.stop(&[&name, "--yes"]).ok().says("(Broken, in use)").says(&format!("✓ Stopped '{name}'\n"));
    ended(&ends.end(), &name);
    scene.shell(&["true"]).run().ok();
    assert_eq!((scene.status(&name).as_str(), scene.count("create")), ("Running", 1));
    scene.assert_clean();
}

#[test]
fn a_machine_that_answers_nobody_holds_nobody() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let driver = scene.read(scene.dir_of(&name).join("qemu.pid")).trim().parse().unwrap();
    let frozen = |signal| {
        for process in workmux_tests::family(Pid::from_raw(driver)) {
            kill(process.pid, signal).unwrap();
        }
    };
    let running = scene.waiting("agent", &scene.worktree("topic"), "true");
    frozen(Signal::SIGSTOP);
    let asked = Instant::now();
    running.signal(Signal::SIGTERM);
    let run = running.end().code(143);
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}\n{run}", asked.elapsed());
    run.warns("the next command takes away what may be left");
    frozen(Signal::SIGCONT);
    scene.shell(&["true"]).run().ok();
    scene.wait_until_clean();
}

#[test]
fn a_machine_that_dies_by_itself_is_started_by_the_next_run() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.faults(r#"{"driver_dies_after_ms": 1}"#);
    let _it_may_be_quicker = scene.shell(&["true"]).run();
    scene.mend();
    let name = scene.machine();
    wait_until("its end", || scene.status(&name) == "Stopped");
    scene.shell(&["true"]).run().ok();
    assert_eq!((scene.status(&name).as_str(), scene.count("create")), ("Running", 1));
    scene.assert_clean();
}

/// What all commands share is gone; the machine is not.
#[test]
fn a_shared_connection_that_is_gone_is_done_without() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let socket = scene.dir_of(&name).join("ssh.sock");
    let words = format!("ssh: {}", socket.display());
    let master = workmux_tests::processes().into_iter().find(|process| process.words.starts_with(&words)).unwrap();
    kill(master.pid, Signal::SIGKILL).unwrap();
    wait_until("its end", || !master.lives());
    assert!(socket.exists(), "it is left over, and answers nobody");
    let run = scene.agent(&["git", "commit", "--quiet", "--allow-empty", "--message=alone"]).run().ok();
    assert_eq!((run.stderr.as_str(), scene.last_commit(&scene.main()).as_str()), ("", "alone"));
    let mut pty = workmux_tests::Pty::start(scene.shell(&["sh", "-c", "test -t 0 && read x && exit 9"]));
    pty.send("x\r");
    assert_eq!(pty.wait().0, 9);
    assert_eq!(scene.count("start"), 1, "the machine went on");
    scene.assert_clean();
}
