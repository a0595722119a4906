//! `sandbox install-dev`: a guest program of the user's own in machines that run.

use std::path::{Path, PathBuf};

use workmux_tests::{Run, World, require_engine};

use super::case::{another, by_hand, calls, cold, lima, status, warm};

/// What stands for this program's checkout, with a guest program that is built already and says this.
fn checkout(world: &World, says: &str) -> (PathBuf, PathBuf) {
    let root = world.home().join("checkout");
    world.write(root.join("Cargo.toml"), "[workspace]\n");
    world.write(root.join("guest/Cargo.toml"), "[package]\n");
    let program = root.join(format!("target/{}-unknown-linux-gnu/debug/workmux-guest", std::env::consts::ARCH));
    build(world, &program, says);
    (root, program)
}

fn build(world: &World, program: &Path, says: &str) {
    world.write(program, format!("#!/bin/sh\necho \"{says} $*\"\n"));
    std::fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn install(world: &World, root: &Path) -> Run {
    lima(world, "install-dev", &["--skip-build"]).dir(root)
}

#[test]
fn the_word_workmux_is_the_users_own_program_in_machines_that_run() {
    require_engine!("lima");
    let (world, one) = warm();
    let (second, two) = another(&world, "second");
    let (third, stopped) = another(&world, "third");
    world.limactl(&["stop", &stopped]).ok();
    for name in ["wm-foreign-00000000", "default"] {
        by_hand(&world, name);
        world.limactl(&["start", "--tty=false", name]).ok();
    }
    let (root, program) = checkout(&world, "mine");
    let dir = world.worktree("topic");
    // Somebody at work has what they began with; the name is theirs to start again.
    let waiting = world.waiting("agent", &dir, "workmux --version; workmux heartbeat; exit 3");
    let run = install(&world, &root).run().ok();
    let mut names = [one.clone(), two.clone()];
    names.sort();
    assert_eq!(run.stdout, names.map(|name| format!("✓ machine '{name}'\n")).concat());
    waiting.go_on().wait().code(3);

    let word =
        |dir: &Path| world.agent(&["sh", "-c", "command -v workmux; workmux --version"]).dir(dir).run().ok().stdout;
    let mine = |says: &str| format!("/home/{}.guest/.local/bin/workmux\n{says} --version\n", world.given().user.name);
    assert_eq!(word(&dir), mine("mine"));
    assert_eq!(word(&second), mine("mine"));
    assert!(word(&third).starts_with("/run/workmux/bin/workmux\n"), "it did not run");
    // The first process is the host's all the same.
    let first = world.shell(&["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"]).dir(&dir).run().ok().stdout;
    assert!(first.starts_with("/run/workmux/bin/workmux init "), "{first}");
    // Once more, over one that is there, and after a start.
    build(&world, &program, "other");
    install(&world, &root).run().ok();
    assert_eq!(word(&dir), mine("other"));
    lima(&world, "stop", &[&one, "-y"]).run().ok();
    assert_eq!(word(&dir), mine("other"), "it lies on the machine's disk");
    let places = "for home in ~ ~/.workmux/home; do ls -l $home/.local/bin | tail -n +2 | cut -d' ' -f1; ls -A $home/.local/bin; done";
    let said = world.limactl(&["shell", "--workdir", "/", &one, "sh", "-c", places]).ok().stdout;
    assert_eq!(said, "-rwxr-xr-x\nworkmux\n".repeat(2));
    for name in ["wm-foreign-00000000", "default"] {
        let said = world.limactl(&["shell", "--workdir", "/", name, "sh", "-c", "cd && ls -A"]).ok();
        said.says(".ssh").never_says(".local");
    }
    world.assert_clean();
}

#[test]
fn where_there_is_nothing_to_install_it_into_that_is_said() {
    require_engine!("lima");
    let world = cold();
    let (root, program) = checkout(&world, "mine");
    install(&world, &root).run().code(1).warns("there is nothing to install it into");
    world.shell(&["true"]).run().ok();
    let name = super::case::only_machine(&world);
    world.limactl(&["stop", &name]).ok();
    install(&world, &root).run().code(1).warns("there is nothing to install it into");
    assert_eq!(status(&world, &name), "Stopped", "nobody is started for it");
    std::fs::remove_file(&program).unwrap();
    install(&world, &root).run().code(1).warns("there is no built program at").warns(program.to_str().unwrap());
    install(&world, &world.main()).run().code(1).warns("not a checkout of workmux");
    let starts = calls(&world, "start").len();
    assert_eq!(starts, 1);
}

#[test]
fn a_machine_that_does_not_take_it_is_listed_and_the_others_are_served() {
    require_engine!("lima");
    let (world, one) = warm();
    let (second, two) = another(&world, "second");
    let (root, _) = checkout(&world, "mine");
    // A guest has put something in its place.
    let script = "mkdir -p ~/.local /tmp/x && rm -rf ~/.local/bin && ln -s /etc ~/.local/bin";
    world.shell(&["sh", "-c", script]).run().ok();
    let run = install(&world, &root).run().code(1);
    assert!(
        run.stdout.contains(&format!("✗ machine '{one}'\n")) && run.stdout.contains(&format!("✓ machine '{two}'\n")),
        "{run}"
    );
    run.warns(&format!("machine '{one}': not installed")).warns(&format!("limactl shell {one}"));
    let said = world.limactl(&["shell", "--workdir", "/", &one, "sh", "-c", "ls -A /etc | grep -c workmux; true"]).ok();
    assert_eq!(said.stdout, "0\n", "no link is followed");
    let word = world.agent(&["workmux", "--version"]).dir(&second).run().ok().stdout;
    assert_eq!(word, "mine --version\n");
    let word = world.agent(&["workmux", "--version"]).run().ok().stdout;
    assert!(word.contains("(guest)"), "{word}");
    world.assert_clean();
}
