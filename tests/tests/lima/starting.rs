//! Starts: several at once, and those that fail. Each failure is one message with the next thing to do, and none leaves
//! anything behind that the next start stumbles over.

use serde_json::json;
use workmux_tests::{Finished, Sandbox, World, require_engine, wait_until};

use super::case::{
    assert_no_unknown_start, calls, cold, faults, kept, lima, mended, only_machine, refused, remarks, status, warm,
    wrapped,
};

/// The number of calls of each command that changes machines.
fn count(world: &World) -> [usize; 4] {
    ["create", "start", "edit", "stop"].map(|command| calls(world, command).len())
}

#[test]
fn two_first_starts_at_once_make_one_machine_and_start_it_once() {
    require_engine!("lima");
    let world = cold();
    faults(&world, &json!({"broken_window_ms": 400, "boot_ms": 400}));
    let dirs = ["one", "two"].map(|branch| world.worktree(branch));
    let runs = dirs.each_ref().map(|dir| world.shell(&["sh", "-c", "pwd; cat README.md"]).dir(dir).start());
    let ended = runs.map(|run| run.wait().ok());
    for (dir, run) in dirs.iter().zip(&ended) {
        assert_eq!(run.stdout, format!("{}\n# A project\n", dir.display()), "{run}");
    }
    assert_eq!(count(&world), [1, 1, 0, 0]);
    only_machine(&world);
    let waited = ended.iter().filter(|run| run.stderr.contains("waiting: another workmux works on the machine"));
    assert_eq!(waited.count(), 1, "one made it, the other waited: {ended:?}");
    assert_no_unknown_start(&world);
    world.assert_clean();
}

#[test]
fn a_start_waits_for_a_stop_and_a_stop_for_a_start() {
    require_engine!("lima");
    let (world, name) = warm();
    let dir = world.worktree("topic");
    // The agent reads its faults when it starts.
    faults(&world, &json!({"stop_ms": 1200, "boot_ms": 1200}));
    world.limactl(&["stop", &name]).ok();
    world.shell(&["true"]).run().ok();

    let before = count(&world);
    let stop = lima(&world, "stop", &[&name, "--yes"]).start();
    wait_until("the machine to be told to stop", || calls(&world, "stop").len() > before[3]);
    let shell = world.shell(&["echo", "here"]).dir(&dir).run().ok();
    let stop = stop.wait().ok().says(&format!("✓ Stopped '{name}'"));
    assert!(shell.stderr.contains("waiting: another workmux works on the machine"), "{stop}{shell}");
    assert_eq!((shell.stdout.as_str(), status(&world, &name).as_str()), ("here\n", "Running"));
    assert_eq!(count(&world)[1] - before[1], 1);

    // The other way round: whoever stops it, stops it when it has started; the run ends with it or before.
    world.limactl(&["stop", &name]).ok();
    let before = count(&world);
    let shell = world.shell(&["sleep", "600"]).dir(&dir).start();
    wait_until("the machine to be started", || calls(&world, "start").len() > before[1]);
    wait_until("it to look as if it ran", || status(&world, &name) == "Running");
    lima(&world, "stop", &[&name, "--yes"]).run().ok().says(&format!("✓ Stopped '{name}'"));
    refused(&world, shell.wait());
    assert_eq!(status(&world, &name), "Stopped");
}

/// One start in a world where something is wrong; then the same when it is mended.
fn wrong(faults_of_all: &serde_json::Value, check: impl FnOnce(&World, Finished)) {
    let world = cold();
    let dir = world.worktree("topic");
    faults(&world, faults_of_all);
    let run = world.agent(&["echo", "here"]).dir(&dir).run();
    check(&world, run);
    mended(&world);
    // What stands in a machine's way when it is started holds until it is.
    for name in world.machines() {
        lima(&world, "stop", &[&name, "--yes"]).run().ok();
    }
    assert_eq!(world.agent(&["echo", "here"]).dir(&dir).run().ok().stdout, "here\n");
    assert_eq!(calls(&world, "create").len(), 1, "one machine, made once");
    assert_no_unknown_start(&world);
    world.assert_clean();
}

#[test]
fn a_start_that_fails_says_why_and_where_there_is_more() {
    require_engine!("lima");
    wrong(&json!({"fail_start": "no such luck"}), |world, run| {
        let name = only_machine(world);
        let run = refused(world, run).warns("'limactl start' failed with code 1").warns("no such luck");
        run.warns("ha.stderr.log").warns(&format!("see the logs in '{}'", world.lima_home().join(&name).display()));
        assert_eq!(status(world, &name), "Stopped");
    });
}

#[test]
fn a_start_that_does_not_last_is_told_as_such() {
    require_engine!("lima");
    wrong(&json!({"driver_dies_after_ms": 0}), |world, run| {
        let name = only_machine(world);
        refused(world, run).warns(&format!("the machine '{name}' started, and is Stopped again")).warns("serial.log: ");
    });
}

#[test]
fn a_start_that_ends_without_its_host_agent_is_ended_by_the_next_one() {
    require_engine!("lima");
    let world = cold();
    faults(&world, &json!({"hostagent_dies_after_ms": 0}));
    let run = refused(&world, world.shell(&["true"]).run());
    let name = only_machine(&world);
    run.warns(&format!("the machine '{name}' started, and is Broken again"));
    mended(&world);
    world.shell(&["true"]).run().ok().warns(&format!("machine '{name}' is broken: ending what is left of it"));
    assert_no_unknown_start(&world);
}

#[test]
fn a_machine_without_its_guest_agent_is_used() {
    require_engine!("lima");
    wrong(&json!({"degraded": "no guest agent"}), |_, run| {
        let run = run.ok();
        assert_eq!(run.stdout, "here\n");
        assert_eq!(remarks(&run).iter().filter(|line| !line.is_empty()).count(), 0, "{run}");
    });
}

#[test]
fn a_start_that_limactl_gives_up_is_used_where_the_machine_is_there() {
    require_engine!("lima");
    let mut world = cold();
    // Sooner than after half an hour.
    wrapped(
        &mut world,
        r#"for word; do shift; case $word in --timeout=*) word=--timeout=300ms ;; esac; set -- "$@" "$word"; done"#,
    );
    faults(&world, &json!({"hang_start": true}));
    let run = world.shell(&["echo", "here"]).run().ok();
    assert_eq!(run.stdout, "here\n", "it was up, and nobody had noticed: {run}");
    assert!(calls(&world, "start")[0].contains(&"--timeout=300ms".to_owned()));
    assert_no_unknown_start(&world);
    world.assert_clean();

    // One whose boot does not get that far.
    let mut world = cold();
    wrapped(
        &mut world,
        r#"for word; do shift; case $word in --timeout=*) word=--timeout=300ms ;; esac; set -- "$@" "$word"; done"#,
    );
    faults(&world, &json!({"ssh_refused": true, "hang_start": true}));
    let run = refused(&world, world.shell(&["true"]).run());
    let name = only_machine(&world);
    run.warns(&format!("the machine '{name}' does not answer over ssh")).warns("did not receive an event");
}

#[test]
fn a_start_is_interrupted_by_its_user() {
    require_engine!("lima");
    let world = cold();
    faults(&world, &json!({"boot_ms": 600_000}));
    let run = world.shell(&["true"]).start();
    let agent = || world.machines().iter().any(|name| world.lima_home().join(name).join("ha.pid").exists());
    wait_until("a start", agent);
    run.signal(nix::sys::signal::Signal::SIGINT);
    let ended = run.wait();
    assert_eq!(ended.code.unwrap_or_else(|| 128 + ended.signal.unwrap_or(0)), 130, "{ended}");
    // What was begun is ended by the next start, or used by it.
    mended(&world);
    let name = only_machine(&world);
    lima(&world, "stop", &[&name, "-y"]).run().ok();
    world.shell(&["true"]).run().ok();
    world.assert_clean();
}

#[test]
fn a_machine_that_does_not_answer_is_said_to_be_one() {
    require_engine!("lima");
    std::thread::scope(|scope| {
        for (fault, why) in [
            ("ssh_refused", "Connection refused"),
            ("wrong_port", "kex_exchange_identification"),
            // Given up after ten seconds.
            ("ssh_hangs", "timed out"),
        ] {
            scope.spawn(move || {
                wrong(&json!({fault: true}), |world, run| {
                    let name = only_machine(world);
                    let run = refused(world, run).warns(&format!("the machine '{name}' does not answer over ssh"));
                    run.warns(why)
                        .warns(&format!("limactl shell {name}"))
                        .warns(&format!("workmux sandbox stop {name}"));
                });
            });
        }
    });
}

#[test]
fn a_full_disk_is_said_with_what_makes_room() {
    require_engine!("lima");
    wrong(&json!({"disk_full": true}), |world, run| {
        let run = refused(world, run).warns("no space left on device");
        run.warns("Hint: make room on the disk").warns("workmux sandbox prune");
        assert_eq!(status(world, &only_machine(world)), "Stopped");
    });
}

#[test]
fn what_else_limactl_prints_is_noticed_and_does_no_harm() {
    require_engine!("lima");
    wrong(&json!({"garbage_before_json": "{\"name\": \"evil\nWARNING: \u{1b}[2J"}), |_, run| {
        let run = run.ok();
        assert_eq!(run.stdout, "here\n");
        assert!(!run.stderr.contains('\u{1b}'), "{run}");
        let lines = run.stderr.lines().filter(|line| line.contains("unreadable")).count();
        // Each of the two lines, where the machine that was looked for was not there: before it was made.
        assert_eq!(lines, 2, "{run}");
    });
}

#[test]
fn a_directory_that_is_no_machine_is_in_the_way_of_no_sandbox() {
    require_engine!("lima");
    for release in ["2.1.4", "2.2.0"] {
        let world = cold();
        faults(&world, &json!({"version": release}));
        world.folder(&world.lima_home().join("wm-stray-00000000"));
        let run = world.shell(&["echo", "here"]).run().ok();
        assert_eq!(run.stdout, "here\n", "{release}: {run}");
        let name = world.machines().into_iter().find(|name| name.starts_with("wm-project-")).unwrap();
        let stop = lima(&world, "stop", &[&name, "--yes"]).run();
        if release == "2.2.0" {
            stop.ok().says(&format!("✓ Stopped '{name}'"));
            let run = lima(&world, "prune", &["--dry-run"]).run().ok();
            run.says("wm-stray-00000000 (Broken, not recorded here)");
        } else {
            // That release cannot tell of any while there is such a one.
            stop.code(1).warns("wm-stray-00000000").warns("limactl list");
        }
        std::fs::remove_dir(world.lima_home().join("wm-stray-00000000")).unwrap();
        lima(&world, "stop", &["--all", "--yes"]).run().ok();
    }
}

#[test]
fn a_preparation_that_fails_is_reported_until_it_works() {
    require_engine!("lima");
    let world = cold();
    let provision = "provision: 'test -e ~/allowed || exit 3; echo done > ~/prepared'";
    world.user_config(&Sandbox::Lima.configuration("", provision));
    let look = |words: &[&str]| world.shell(words).run();
    let run = refused(&world, look(&["true"]));
    let name = only_machine(&world);
    let run = run.warns(&format!(
        "the machine '{name}' was not prepared: the script 'sandbox.lima.provision' failed with code 3"
    ));
    run.warns("/var/log/cloud-init-output.log").warns(&format!("limactl shell {name}"));
    refused(&world, look(&["true"])).warns("was not prepared");
    world.limactl(&["shell", "--workdir", "/", &name, "sh", "-c", "cd; touch allowed"]).ok();
    refused(&world, look(&["true"])).warns("was not prepared");
    lima(&world, "stop", &[&name, "-y"]).run().ok();
    look(&["true"]).ok();
    let said = world.limactl(&["shell", "--workdir", "/", &name, "sh", "-c", "cd; cat prepared"]).ok();
    assert_eq!(said.stdout, "done\n");
    assert_no_unknown_start(&world);
    world.assert_clean();
}

#[test]
fn a_limactl_that_cannot_be_used_is_said_before_anything_is_made() {
    require_engine!("lima");
    let mut world = cold();
    wrapped(&mut world, r#"if [ "$1" = --version ]; then echo limactl version 0.23.2; exit; fi"#);
    refused(&world, world.shell(&["true"]).run()).warns("'limactl' is 0.23.2").warns("1.0 or newer");
    wrapped(&mut world, r#"if [ "$1" = --version ]; then echo limactl version HEAD-a1b2c3d; exit; fi"#);
    world.shell(&["true"]).run().ok();
    lima(&world, "prune", &["--force"]).run().ok();
    wrapped(
        &mut world,
        r#"if [ "$1" = create ]; then echo 'time="x" level=fatal msg="guest agent binary could not be found for Linux-x86_64"' >&2; exit 1; fi"#,
    );
    refused(&world, world.shell(&["true"]).run()).warns("Lima's own files are incomplete");
    wrapped(
        &mut world,
        r#"if [ "$1" = start ]; then echo 'time="x" level=fatal msg="exec: \"qemu-system-x86_64\": executable file not found in $PATH"' >&2; exit 1; fi"#,
    );
    refused(&world, world.shell(&["true"]).run()).warns("qemu-system").warns("Hint: install QEMU");
    let path = super::case::without_limactl(&world);
    let run = world.shell(&["true"]).env("PATH", path).run();
    refused(&world, run).warns("'limactl' is not installed or not on PATH").warns("Hint: install Lima");
    assert_no_unknown_start(&world);
}

#[test]
fn a_directory_of_limas_that_is_too_long_is_refused_before_anything_is_made() {
    require_engine!("lima");
    let mut world = cold();
    let long = world.home().join("a".repeat(80));
    world.folder(&long);
    world.set("LIMA_HOME", &long);
    let run = refused(&world, world.shell(&["true"]).run());
    run.warns("is too long for a socket of Lima's").warns("Hint: set LIMA_HOME to a shorter directory");
    assert_eq!(std::fs::read_dir(&long).unwrap().flatten().filter(|entry| entry.path().is_dir()).count(), 0);
}

#[test]
fn a_machine_of_another_directory_of_limas_is_not_forgotten() {
    require_engine!("lima");
    let (world, name) = warm();
    world.limactl(&["stop", &name]).ok();
    let elsewhere = world.home().join("e");
    world.folder(&elsewhere);
    // There it is another one, that has to be made.
    world.shell(&["true"]).env("LIMA_HOME", &elsewhere).run().ok();
    lima(&world, "stop", &["--all", "--yes"]).env("LIMA_HOME", &elsewhere).run().ok();
    lima(&world, "prune", &["--force"]).env("LIMA_HOME", &elsewhere).run().ok();
    assert!(!elsewhere.join(&name).exists() && world.lima_home().join(&name).exists());
    world.shell(&["true"]).run().ok();
    assert_eq!(calls(&world, "create").len(), 1);
    assert!(kept(&world, &name).join("record.json").exists());
}
