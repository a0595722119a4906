//! Starts that go wrong: one message with the next step, and the run after the cause is gone works.

use workmux_tests::{Finished, PATIENCE, require_engine, wait_until};

use super::scene::{Scene, exists};

/// What a failure that a user reads has: one error, what to do, and not a word on standard output.
#[track_caller]
fn one_message(run: Finished) -> Finished {
    assert_eq!(run.stdout, "", "{run}");
    assert_eq!(run.stderr.matches("Error: ").count(), 1, "{run}");
    assert_eq!(run.stderr.matches("Hint: ").count(), 1, "{run}");
    run
}

/// The next step where the machine runs on as it was started.
fn stop(scene: &Scene) {
    scene.stop(&[&scene.machine(), "--yes"]).ok();
}

/// With this fault a first run fails like this, and a second one once it is gone does not.
fn fails(faults: &str, said: &[&str], again: fn(&Scene)) {
    let scene = Scene::new();
    scene.faults(faults);
    let run = one_message(scene.shell(&["true"]).within(PATIENCE).run().code(125));
    let run = said.iter().fold(run, |run, text| run.warns(text));
    assert!(run.stderr.lines().count() < 24, "{run}");
    scene.mend();
    again(&scene);
    assert_eq!(scene.shell(&["echo", "works"]).run().ok().stdout, "works\n");
    scene.assert_clean();
}

#[test]
fn a_host_agent_that_gives_up_is_quoted() {
    require_engine!("lima");
    fails(
        r#"{"fail_start": "the moon is full"}"#,
        &["'limactl start' failed", "the moon is full", "limactl start wm-project-"],
        |_| {},
    );
}

#[test]
fn a_disk_without_room_is_said() {
    require_engine!("lima");
    fails(r#"{"disk_full": true}"#, &["no space left on device", "make room on the disk"], |_| {});
}

#[test]
fn an_ssh_that_is_refused_is_said() {
    require_engine!("lima");
    fails(
        r#"{"ssh_refused": true}"#,
        &["does not answer over ssh", "refused", "limactl shell wm-project-", "workmux sandbox stop wm-project-"],
        stop,
    );
}

#[test]
fn an_ssh_that_is_somebody_elses_is_said() {
    require_engine!("lima");
    fails(
        r#"{"wrong_port": true}"#,
        &["does not answer over ssh", "limactl shell wm-project-", "workmux sandbox stop wm-project-"],
        stop,
    );
}

#[test]
fn an_ssh_that_never_answers_is_said() {
    require_engine!("lima");
    fails(
        r#"{"ssh_hangs": true}"#,
        &["does not answer over ssh", "limactl shell wm-project-", "workmux sandbox stop wm-project-"],
        stop,
    );
}

#[test]
fn a_degraded_machine_is_used() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.faults(r#"{"degraded": "the guest agent does not speak"}"#);
    assert_eq!(scene.shell(&["echo", "works"]).run().ok().stdout, "works\n");
    assert_eq!(scene.status(&scene.machine()), "Running");
    scene.mend();
    scene.shell(&["true"]).run().ok();
    assert_eq!(scene.count("start"), 1);
    scene.assert_clean();
}

#[test]
fn a_start_that_times_out_may_have_brought_a_machine_that_works() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.faults(r#"{"hang_start": true}"#);
    // Nobody waits half an hour for this test.
    let path = scene.instead(
        "case $1 in start) for name; do :; done; exec \"$REAL\" start --tty=false --timeout=1s \"$name\" ;; esac\n\
         exec \"$REAL\" \"$@\"",
    );
    scene.shell(&["true"]).env("PATH", &path).run().ok();
    assert_eq!(scene.status(&scene.machine()), "Running");
    scene.mend();
    scene.shell(&["true"]).run().ok();
    scene.assert_clean();
}

#[test]
fn a_start_that_is_interrupted_is_taken_up_again() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.faults(r#"{"boot_ms": 5000}"#);
    let running = scene.shell(&["true"]).start();
    wait_until("a machine that boots", || scene.machines().iter().any(|name| scene.status(name) == "Running"));
    running.signal(nix::sys::signal::Signal::SIGINT);
    running.wait().code(130);
    scene.wait_until_clean();
    scene.mend();
    scene.shell(&["true"]).run().ok();
    assert_eq!(scene.count("create"), 1);
    scene.assert_clean();
}

#[test]
fn a_machine_that_boots_for_somebody_else_is_waited_for() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    scene.limactl(&["stop", &name]).ok();
    // Lima calls it running meanwhile, and nobody listens in it.
    scene.faults(r#"{"boot_ms": 3000}"#);
    let theirs = scene.program("limactl").args(["start", "--tty=false", &name]).dir("/").start();
    wait_until("its machine", || scene.status(&name) == "Running");
    scene.shell(&["true"]).run().ok();
    theirs.wait().ok();
    assert_eq!((scene.count("start"), scene.count("stop")), (2, 1));
    scene.assert_clean();
}

#[test]
fn noise_before_the_list_costs_a_warning() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.faults(r#"{"garbage_before_json": "WARNING: your disk is old"}"#);
    let run = scene.shell(&["echo", "works"]).run().ok().warns("unreadable: WARNING: your disk is old");
    assert_eq!(run.stdout, "works\n");
    // A machine that is known to run costs no list.
    scene.shell(&["true"]).run().ok().never_says("unreadable");
    scene.assert_clean();
}

#[test]
fn a_slow_list_is_waited_for() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.faults(r#"{"slow_list_ms": 1000}"#);
    scene.shell(&["true"]).run().ok();
    scene.assert_clean();
}

#[test]
fn a_machine_that_looks_broken_while_somebody_starts_it_is_waited_for() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    scene.limactl(&["stop", &name]).ok();
    scene.faults(r#"{"broken_window_ms": 1500}"#);
    let theirs = scene.program("limactl").args(["start", "--tty=false", &name]).dir("/").start();
    wait_until("the window", || scene.status(&name) == "Broken");
    scene.shell(&["true"]).run().ok();
    theirs.wait().ok();
    assert_eq!((scene.count("start"), scene.count("stop")), (2, 1), "nobody's start was disturbed");
    scene.assert_clean();
}

#[test]
fn a_directory_without_a_configuration_is_no_machine() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.folder(&scene.lima_home().join("wm-half-made"));
    assert_eq!(scene.shell(&["echo", "works"]).run().ok().stdout, "works\n");
    scene.stop(&["--all", "--yes"]).ok().says("✓ Stopped 'wm-project-").never_says("half-made");
    let run = scene.on("prune", &[]).input("y\nn\n").run().ok().says("✓ Deleted 'wm-project-");
    run.says("1. wm-half-made (Broken, not recorded here)\n")
        .warns("Delete 'wm-half-made', which is not recorded here?");
    assert_eq!(scene.machine(), "wm-half-made");
    scene.assert_clean();
}

#[test]
fn a_list_that_a_directory_spoils_says_which() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.faults(r#"{"version": "2.1.4"}"#);
    let dir = scene.lima_home().join("half-made");
    scene.folder(&dir);
    // A run asks for its own machine alone.
    assert_eq!(scene.shell(&["echo", "works"]).run().ok().stdout, "works\n");
    for run in [scene.stop(&["--all", "--yes"]), scene.prune(&["--force"])] {
        let run = one_message(run.code(1));
        run.warns("half-made").warns("that directory is no machine");
    }
    std::fs::remove_dir(&dir).unwrap();
    scene.stop(&["--all", "--yes"]).ok().says("✓ Stopped 'wm-project-");
    scene.assert_clean();
}

#[test]
fn a_path_too_long_for_sockets_is_refused_before_anything_is_made() {
    require_engine!("lima");
    let mut scene = Scene::new();
    let long = scene.home().join("l".repeat(80));
    scene.folder(&long);
    scene.set_lima_home(&long);
    let run = one_message(scene.shell(&["true"]).run().code(125));
    run.warns("too long for a socket").warns("set LIMA_HOME to a shorter directory");
    assert_eq!(std::fs::read_dir(&long).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 0);
}

#[test]
fn a_name_that_somebody_else_took_is_not_used() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    scene.limactl(&["delete", "--force", &name]).ok();
    scene.made_by_hand(&name);
    let run = one_message(scene.shell(&["true"]).run().code(125));
    run.warns(&format!("there is a machine '{name}' already, which this workmux has not made"))
        .warns("workmux sandbox prune");
    assert_eq!(scene.status(&name), "Stopped");
    scene.on("prune", &[]).input("y\n").run().ok().says(&format!("✓ Deleted '{name}'\n"));
    scene.shell(&["true"]).run().ok();
    scene.assert_clean();
}

#[test]
fn a_start_that_does_not_last_is_told_as_such() {
    require_engine!("lima");
    let scene = Scene::new();
    // It is through its start, and nobody is there any more.
    let path = scene.instead(
        "case $1 in start) \"$REAL\" \"$@\" && for name; do :; done && exec \"$REAL\" stop --force \"$name\" ;; esac\n\
         exec \"$REAL\" \"$@\"",
    );
    let run = one_message(scene.refused(scene.shell(&["true"]).env("PATH", &path).run()));
    let name = scene.machine();
    run.warns(&format!("the machine '{name}' started, and is Stopped again")).warns("serial.log: ");
    scene.shell(&["true"]).run().ok();
    assert_eq!((scene.status(&name).as_str(), scene.count("create")), ("Running", 1));
    scene.assert_clean();
}

#[test]
fn a_preparation_that_fails_is_reported_until_it_works() {
    require_engine!("lima");
    let scene = Scene::with("", "provision: 'test -e ~/allowed || exit 3; echo done > ~/prepared'");
    let failed = || {
        let run = one_message(scene.refused(scene.shell(&["true"]).run()));
        let name = scene.machine();
        run.warns(&format!(
            "the machine '{name}' was not prepared: the script 'sandbox.lima.provision' failed with code 3"
        ))
        .warns("/var/log/cloud-init-output.log")
        .warns(&format!("limactl shell {name}"))
        .warns(&format!("workmux sandbox stop {name}"));
        name
    };
    let name = failed();
    failed();
    scene.outside(&name, "touch ~/allowed");
    // It runs when the machine starts.
    failed();
    scene.stop(&[&name, "--yes"]).ok();
    scene.shell(&["true"]).run().ok();
    assert_eq!(scene.outside(&name, "cat ~/prepared"), "done\n");
    scene.assert_clean();
}

#[test]
fn a_machine_of_another_directory_of_limas_is_not_forgotten() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    scene.stop(&[&name, "--yes"]).ok();
    let elsewhere = scene.home().join("e");
    scene.folder(&elsewhere);
    // There it is another one, that has to be made.
    let there = |run: workmux_tests::Run| run.env("LIMA_HOME", &elsewhere).run().ok();
    there(scene.shell(&["true"]));
    there(scene.on("stop", &["--all", "--yes"]));
    there(scene.on("prune", &["--force"]));
    assert_eq!((exists(elsewhere.join(&name)), scene.machine()), (false, name.clone()));
    scene.shell(&["true"]).run().ok();
    assert_eq!((scene.count("create"), scene.status(&name).as_str()), (1, "Running"));
    scene.assert_clean();
}

#[test]
fn two_directories_of_one_name_have_two_machines() {
    require_engine!("lima");
    let scene = Scene::new();
    for below in ["a/same", "b/same"] {
        let (dir, name) = scene.another(below);
        assert!(name.starts_with("wm-same-"), "{name}");
        scene.shell(&["sh", "-c", "test ! -e ~/seen && touch ~/seen"]).dir(dir).run().ok();
    }
    assert_eq!(scene.machines().len(), 2);
}
