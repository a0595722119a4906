//! P25: a machine that can write git's own files of a main checkout takes the user's own word, once.

use workmux_tests::{Pty, World, require_engine};

use super::case::{calls, cold, kept, lima, only_machine, refused};

const KEY: &str = "sandbox.lima.accept_reduced_git_metadata_isolation: true";

/// A user who has not said anything about it.
fn silent() -> World {
    let world = cold();
    world.user_config("sandbox: { backend: lima, lima: { skip_default_provision: true } }\n");
    world
}

/// Nothing was made, and nothing is kept.
#[track_caller]
fn untouched(world: &World) {
    assert_eq!(world.machines(), [] as [String; 0]);
    assert!(calls(world, "create").is_empty() && calls(world, "start").is_empty());
    assert!(!world.state().join("backends/lima/machines").exists());
    world.assert_clean();
}

#[test]
fn p25_without_a_terminal_it_is_refused_with_the_key() {
    require_engine!("lima");
    let world = silent();
    for command in ["shell", "agent"] {
        for input in ["", "y\n"] {
            let run = world.workmux(&["sandbox", command, "--", "true"]).input(input).run();
            let run = refused(&world, run).warns("would be able to write").warns("with git's own files in it");
            run.warns(KEY).warns("work in a worktree instead (workmux add)").never_says("[y/N]");
        }
    }
    untouched(&world);
    // Nothing is asked either where nothing is to be started.
    world.workmux(&["sandbox", "shell", "--dry-run"]).run().ok().never_says("[y/N]");
    untouched(&world);
}

#[test]
fn p25_on_a_terminal_it_is_asked_once() {
    require_engine!("lima");
    let world = silent();
    let start = || Pty::start(world.shell(&["sh", "-c", "echo in-$((1)); exit 6"]));
    for no in ["n\r", "\r", "x\r", "\x04"] {
        let mut pty = start();
        let question = pty.wait_for("Go on? [y/N] ");
        assert!(question.contains(world.main().to_str().unwrap()) && question.contains(KEY), "{question}");
        pty.send(no);
        let (code, seen) = pty.wait();
        assert!(code == 125 && seen.contains("nothing was started, because you did not agree"), "{seen}");
        assert!(!seen.contains("in-1"), "{seen}");
        untouched(&world);
    }
    let mut pty = start();
    pty.wait_for("Go on? [y/N] ");
    pty.send("\x03");
    assert_eq!(pty.wait().0, 130);
    untouched(&world);

    let mut pty = start();
    pty.wait_for("Go on? [y/N] ");
    pty.send("y\r");
    pty.wait_for("in-1");
    assert_eq!(pty.wait().0, 6);
    let name = only_machine(&world);
    let consent = kept(&world, &name).join("consent");
    assert_eq!(world.read(&consent), "accepted-v1\n");
    // Never again: on a terminal, without one, after a stop.
    let (code, seen) = start().wait();
    assert!(code == 6 && !seen.contains("[y/N]"), "{seen}");
    world.shell(&["true"]).run().ok();
    lima(&world, "stop", &[&name, "-y"]).run().ok();
    world.shell(&["true"]).run().ok();

    // A record that is not ours counts for nothing.
    world.write(&consent, "yes");
    refused(&world, world.shell(&["true"]).run()).warns("is no record of a consent");
    std::fs::remove_file(&consent).unwrap();
    let elsewhere = world.home().join("accepted");
    world.write(&elsewhere, "accepted-v1\n");
    world.program("ln").arg("-s").args([&elsewhere, &consent]).run().ok();
    refused(&world, world.shell(&["true"]).run()).warns("is no record of a consent");
    std::fs::remove_file(&consent).unwrap();
    refused(&world, world.shell(&["true"]).run()).warns(KEY);
    // It goes with its machine.
    world.write(&consent, "accepted-v1\n");
    world.shell(&["true"]).run().ok();
    lima(&world, "stop", &[&name, "-y"]).run().ok();
    lima(&world, "prune", &[]).input("y\n").run().ok();
    refused(&world, world.shell(&["true"]).run()).warns(KEY);
}

#[test]
fn p25_no_project_consents_for_its_user() {
    require_engine!("lima");
    let world = silent();
    for project in [
        "sandbox: { lima: { accept_reduced_git_metadata_isolation: true } }\n",
        "sandbox: { lima: { accept_reduced_git_metadata_isolation: true, isolation: project } }\n",
        "sandbox:\n  lima:\n    'accept_reduced_git_metadata_isolation': true\n",
    ] {
        world.project_config(project);
        let run = refused(&world, world.shell(&["true"]).input("y\n").run());
        let ignored = "'sandbox.lima.accept_reduced_git_metadata_isolation' is not used: a project may not set it";
        run.warns(ignored).warns("would be able to write").warns(KEY);
        untouched(&world);
        // Somebody who is there is asked all the same.
        let mut pty = Pty::start(world.shell(&["true"]));
        pty.wait_for("Go on? [y/N] ");
        pty.send("n\r");
        assert_eq!(pty.wait().0, 125);
        untouched(&world);
    }
}

#[test]
fn a_worktree_needs_no_such_word_and_the_main_checkout_does_later() {
    require_engine!("lima");
    let world = silent();
    let dir = world.worktree("topic");
    world
        .agent(&["sh", "-c", "echo x > x; git add x; git commit -qm work"])
        .dir(&dir)
        .run()
        .ok()
        .never_says("git's own");
    let name = only_machine(&world);
    assert!(!kept(&world, &name).join("consent").exists());
    refused(&world, world.shell(&["true"]).run()).warns(KEY);
    // What takes the word also takes another start of the machine.
    let mut pty = Pty::start(world.shell(&["true"]));
    pty.wait_for("Go on? [y/N] ");
    pty.send("y\r");
    let (code, seen) = pty.wait();
    assert!(code == 125 && seen.contains(&format!("workmux sandbox stop {name}")), "{seen}");
    assert!(seen.contains(&format!("'{}', writable", world.main().display())), "{seen}");
    lima(&world, "stop", &[&name, "-y"]).run().ok();
    world.shell(&["true"]).run().ok();
    world.shell(&["true"]).dir(&dir).run().ok();
    assert_eq!(only_machine(&world), name);
    world.assert_clean();
}
