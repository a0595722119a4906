//! What becomes of a machine between a look at it and what is done to it: whoever acts looks again, under the lock.

use workmux_tests::{Pty, require_engine, wait_until};

use super::scene::{Scene, exists};

#[test]
fn one_that_somebody_else_stopped_is_stopped() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let mut pty = scene.on_pty("stop", &[&name]);
    pty.wait_for("[y/N] ");
    scene.limactl(&["stop", &name]).ok();
    pty.send("y\r");
    let (code, seen) = pty.wait();
    assert!(code == 0 && seen.contains(&format!("✓ Stopped '{name}'")), "{seen}");
    assert_eq!(scene.count("stop"), 1, "nobody else was told");
    // And one that stops between the last look and the word to it: Lima says that it does not run.
    scene.shell(&["true"]).run().ok();
    let path = scene.instead("case $1 in stop) \"$REAL\" stop --force \"$2\" ;; esac\nexec \"$REAL\" \"$@\"");
    scene.on("stop", &[&name, "-y"]).env("PATH", &path).run().ok().says(&format!("✓ Stopped '{name}'"));
    assert_eq!(scene.status(&name), "Stopped");
}

/// Somebody deletes a machine and makes one of the same name.
fn exchange(scene: &Scene, name: &str) {
    scene.limactl(&["delete", "--force", name]).ok();
    scene.made_by_hand(name);
}

#[test]
fn p59_one_that_was_exchanged_is_not_stopped() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let mut pty = scene.on_pty("stop", &[&name]);
    pty.wait_for("[y/N] ");
    exchange(&scene, &name);
    scene.limactl(&["start", "--tty=false", &name]).ok();
    pty.send("y\r");
    let (code, seen) = pty.wait();
    assert!(code == 1 && seen.contains(&format!("there is no machine '{name}' of workmux's")), "{seen}");
    assert_eq!(scene.status(&name), "Running");
}

#[test]
fn p59_what_is_deleted_is_what_was_shown() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let asked = || {
        scene.stop_machines();
        let mut pty = scene.on_pty("prune", &[]);
        pty.wait_for("[y/N] ");
        pty
    };
    let answered = |mut pty: Pty| {
        pty.send("y\r");
        pty.wait()
    };
    // Started meanwhile.
    let pty = asked();
    scene.shell(&["true"]).run().ok();
    let (code, seen) = answered(pty);
    assert!(code == 1 && seen.contains(&format!("'{name}' runs")), "{seen}");
    assert_eq!(scene.status(&name), "Running");

    // Gone meanwhile: that is what was asked for.
    let pty = asked();
    scene.limactl(&["delete", &name]).ok();
    let (code, seen) = answered(pty);
    assert!(code == 0 && seen.contains(&format!("✓ Deleted '{name}'")), "{seen}");
    assert!(!exists(scene.remembered(&name)));

    // Exchanged meanwhile.
    scene.shell(&["true"]).run().ok();
    let pty = asked();
    exchange(&scene, &name);
    let (code, seen) = answered(pty);
    assert!(code == 1 && seen.contains(&format!("there is no machine '{name}' of workmux's")), "{seen}");
    assert_eq!(scene.status(&name), "Stopped");
}

#[test]
fn a_start_waits_for_a_stop_and_a_stop_for_a_start() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.faults(r#"{"stop_ms": 1200, "boot_ms": 1200}"#);
    scene.shell(&["true"]).run().ok();
    let name = scene.machine();
    let dir = scene.worktree("topic");

    let stop = scene.on("stop", &[&name, "--yes"]).start();
    wait_until("the machine to be told to stop", || scene.count("stop") == 1);
    let shell = scene.shell(&["echo", "here"]).dir(&dir).run().ok();
    stop.wait().ok().says(&format!("✓ Stopped '{name}'"));
    assert_eq!(shell.stdout, "here\n");
    shell.warns("waiting: another workmux works on the machine");
    assert_eq!((scene.status(&name).as_str(), scene.count("start")), ("Running", 2));

    // The other way round: it is stopped when it has started, and its run ends then, if not before.
    scene.limactl(&["stop", &name]).ok();
    let shell = scene.shell(&["sleep", "600"]).dir(&dir).start();
    wait_until("the machine to be started", || scene.count("start") == 3 && scene.status(&name) == "Running");
    scene.stop(&[&name, "--yes"]).ok().says(&format!("✓ Stopped '{name}'"));
    super::dying::ended_or_never_began(&shell.wait());
    assert_eq!(scene.status(&name), "Stopped");
    scene.assert_clean();
}

#[test]
fn all_runs_of_a_machine_end_with_it_and_the_first_of_the_next_starts_it() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let dirs = ["one", "two", "three"].map(|branch| scene.worktree(branch));
    let waiting: Vec<_> = dirs.iter().map(|dir| scene.waiting("agent", dir, "")).collect();
    scene.kill(&name, "qemu.pid");
    for run in waiting {
        super::dying::ended(&run.end(), &name);
    }
    scene.wait_until_clean();
    let running: Vec<_> = dirs.iter().map(|dir| scene.shell(&["true"]).dir(dir).start()).collect();
    for run in running {
        run.wait().ok();
    }
    assert_eq!((scene.count("create"), scene.count("start")), (1, 2));
    scene.assert_clean();
}
