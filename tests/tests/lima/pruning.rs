//! `sandbox prune`: what is shown, what is deleted, and what is not.

use std::fs;

use serde_json::{Value, json};
use workmux_tests::{Pty, World, require_engine};

use super::case::{
    another, break_it, by_hand, calls, cold, kept, lima, listed, look, status, warm, without_limactl, wrapped,
};

const FOREIGN: &str = "wm-foreign-00000000";
const OTHER: &str = "default";

/// The names that are there.
fn names(world: &World) -> Vec<String> {
    let mut all = world.machines();
    all.sort();
    all
}

/// The words of each `limactl delete`.
fn deletes(world: &World) -> Vec<String> {
    calls(world, "delete").into_iter().map(|words| words[1..].join(" ")).collect()
}

#[test]
fn what_nobody_uses_is_deleted_after_a_question() {
    require_engine!("lima");
    let (world, running) = warm();
    let (_, stopped) = another(&world, "stopped");
    let (_, broken) = another(&world, "broken");
    world.limactl(&["stop", &stopped]).ok();
    break_it(&world, &broken);
    by_hand(&world, OTHER);
    for name in [&running, &stopped, &broken] {
        assert!(kept(&world, name).join("record.json").exists());
    }
    let all = names(&world);

    let shown = listed(&world, "prune", &[]);
    assert_eq!(shown.iter().map(|one| &one["name"]).collect::<Vec<_>>(), [&json!(broken), &json!(stopped)]);
    assert_eq!(listed(&world, "prune", &["--force"]).len(), 3);
    let dry = lima(&world, "prune", &["--dry-run"]).run().ok();
    assert!(dry.stdout.ends_with("Would delete 2 Lima VM(s).\n"), "{dry}");
    for (answer, input) in [("no", "n\n"), ("nothing", ""), ("an empty line", "\n")] {
        let run = lima(&world, "prune", &[]).input(input).run().ok().warns("Delete 2 Lima VM(s)? [y/N] ");
        assert!(run.stdout.ends_with("Aborted.\n"), "{answer}: {run}");
        for (at, (name, state)) in
            [(&broken, "Broken"), (&running, "Running, in use"), (&stopped, "Stopped")].into_iter().enumerate()
        {
            let lines: Vec<&str> = run.stdout.lines().skip(4 * at).take(4).collect();
            assert_eq!(lines[0], format!("{}. {name} ({state})", at + 1), "{run}");
            for (line, label) in lines[1..].iter().zip(["Size", "Age", "Last accessed"]) {
                let value = line.strip_prefix(&format!("   {label}: ")).unwrap_or_else(|| panic!("{label}: {run}"));
                assert_ne!(value, "unknown", "{label}: {run}");
            }
        }
    }
    assert_eq!((names(&world), deletes(&world).len()), (all, 0));

    let run = lima(&world, "prune", &[]).input("y\n").run().ok();
    assert!(run.stdout.ends_with(&format!("✓ Deleted '{broken}'\n✓ Deleted '{stopped}'\n")), "{run}");
    assert_eq!(names(&world), [OTHER.to_owned(), running.clone()]);
    assert_eq!(deletes(&world), [format!("--force {broken}"), stopped.clone()]);
    // What was kept of them is gone with them.
    assert_eq!([&broken, &stopped, &running].map(|name| kept(&world, name).exists()), [false, false, true]);
    let run = lima(&world, "prune", &[]).run().ok();
    assert!(run.stdout.ends_with("No unused workmux Lima VMs; those in use are kept.\n"), "{run}");
    assert!(!run.stderr.contains("[y/N]"), "{run}");
    world.shell(&["true"]).dir(world.home().join("stopped")).run().ok();
    assert_eq!(status(&world, &stopped), "Running", "the next start makes it anew");
}

#[test]
fn force_asks_nobody_and_spares_nobody_of_ours() {
    require_engine!("lima");
    let (world, running) = warm();
    let (_, stopped) = another(&world, "stopped");
    let (_, broken) = another(&world, "broken");
    world.limactl(&["stop", &stopped]).ok();
    break_it(&world, &broken);
    by_hand(&world, OTHER);
    by_hand(&world, FOREIGN);
    let dry = lima(&world, "prune", &["--force", "--dry-run"]).run().ok();
    assert!(dry.stdout.ends_with("Would delete 4 Lima VM(s).\n"), "{dry}");
    assert_eq!(names(&world).len(), 5);
    let run = lima(&world, "prune", &["-f"]).run().ok();
    let warned: Vec<&str> = run.stderr.lines().filter(|line| line.contains("deleted all the same")).collect();
    assert_eq!(
        warned,
        [
            format!("workmux: warning: '{FOREIGN}' is not recorded here and is deleted all the same"),
            format!("workmux: warning: '{running}' is in use and is deleted all the same"),
        ]
    );
    assert!(!run.stderr.contains("[y/N]"), "{run}");
    assert_eq!(names(&world), [OTHER]);
    let mut words = deletes(&world);
    words.sort();
    let mut wanted =
        vec![format!("--force {broken}"), format!("--force {running}"), stopped.clone(), FOREIGN.to_owned()];
    wanted.sort();
    assert_eq!(words, wanted);
    for name in [&running, &stopped, &broken] {
        assert!(!kept(&world, name).exists(), "{name}");
    }
    let none = lima(&world, "prune", &["--force"]).run().ok();
    assert_eq!(none.stdout, "No workmux Lima VMs found.\n");
    assert_eq!(lima(&world, "prune", &[]).run().ok().stdout, "No workmux Lima VMs found.\n");
}

#[test]
fn p59_what_bears_only_a_name_of_ours_is_asked_for_by_it() {
    require_engine!("lima");
    let (world, ours) = warm();
    world.limactl(&["stop", &ours]).ok();
    for name in [FOREIGN, OTHER, "wmx", "xwm-a"] {
        by_hand(&world, name);
    }
    let ask = format!("Delete '{FOREIGN}', which is not recorded here? [y/N] ");
    let run = lima(&world, "prune", &[]).input("y\nn\n").run().ok();
    let run =
        run.says(&format!("1. {FOREIGN} (Stopped, not recorded here)\n")).warns("Delete 1 Lima VM(s)?").warns(&ask);
    run.says(&format!("'{FOREIGN}' is kept.\n")).says(&format!("✓ Deleted '{ours}'\n"));
    assert_eq!(names(&world), [OTHER, FOREIGN, "wmx", "xwm-a"]);
    let run = lima(&world, "prune", &["--dry-run"]).run().ok();
    assert!(
        run.stdout.ends_with("Would delete 1 Lima VM(s), and ask about each that is not recorded here.\n"),
        "{run}"
    );
    let run = lima(&world, "prune", &[]).input("\n").run().ok().warns(&ask);
    assert!(run.stdout.ends_with(&format!("'{FOREIGN}' is kept.\nAborted.\n")), "{run}");
    lima(&world, "prune", &[]).input("y\n").run().ok().says(&format!("✓ Deleted '{FOREIGN}'"));
    assert_eq!(names(&world), [OTHER, "wmx", "xwm-a"]);
    assert_eq!(deletes(&world), [ours, FOREIGN.to_owned()]);
}

/// What is allocated for the files below a directory.
fn allocated(world: &World, name: &str) -> u64 {
    let dir = world.lima_home().join(name);
    let list = world.program("find").arg(dir).args(["!", "-type", "d", "-printf", "%b\n"]).run().ok().stdout;
    list.lines().map(|blocks| blocks.parse::<u64>().unwrap() * 512).sum()
}

#[test]
fn sizes_are_what_is_really_taken_and_times_are_a_persons() {
    require_engine!("lima");
    let (world, name) = warm();
    world.limactl(&["stop", &name]).ok();
    let dir = world.lima_home().join(&name);
    world.write(dir.join("big"), vec![1; 5 << 20]);
    // Holes take nothing, and a link takes what itself takes.
    world.program("truncate").arg("--size=1T").arg(dir.join("holes")).run().ok();
    world.program("ln").args(["-s", "/usr"]).arg(dir.join("link")).run().ok();
    let one = &listed(&world, "prune", &[])[0];
    let size = one["size"].as_u64().unwrap();
    assert_eq!(size, allocated(&world, &name));
    assert!((5 << 20..6 << 20).contains(&size), "{size}");
    let run = lima(&world, "prune", &["--dry-run"]).run().ok();
    let run = run.says(&format!("   Size: {:.1} MiB\n", size as f64 / f64::from(1 << 20)));
    run.says("   Age: just now\n").says("   Last accessed: just now\n");

    // A machine that nobody has used for two days is one, however often it is looked at.
    let files = fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path());
    for file in files.chain([dir.clone(), kept(&world, &name).join("host/runs")]) {
        world.program("touch").args(["--no-dereference", "--date=50 hours ago"]).arg(file).run().ok();
    }
    for _look in 0..2 {
        lima(&world, "prune", &["--dry-run"]).run().ok().says("   Last accessed: 2 days ago\n");
    }
    world.shell(&["true"]).run().ok();
    lima(&world, "prune", &["--dry-run"]).run().ok().says("   Last accessed: just now\n");
}

#[test]
fn what_a_run_uses_is_in_use_whatever_its_machine_says() {
    require_engine!("lima");
    let (world, name) = warm();
    let dir = world.worktree("topic");
    let waiting = world.waiting("agent", &dir, "exit 3");
    let in_use = |command: &str, words: &[&str]| listed(&world, command, words)[0]["in_use"].clone();
    assert_eq!(in_use("stop", &["--all"]), true);
    assert_eq!(in_use("prune", &["--force"]), true);
    lima(&world, "stop", &["--all", "--dry-run"]).run().ok().says(&format!("  {name} (Running, in use)\n"));
    // Its host agent is gone, and the machine lives on.
    break_it(&world, &name);
    assert_eq!(listed(&world, "prune", &[]), [] as [Value; 0]);
    let run = lima(&world, "prune", &[]).input("y\n").run().ok();
    run.says(&format!("1. {name} (Broken, in use)\n")).says("No unused workmux Lima VMs; those in use are kept.");
    waiting.go_on().wait().code(3);
    assert_eq!(listed(&world, "prune", &[])[0]["in_use"], false);
}

#[test]
fn what_lima_protects_stays_and_the_others_go() {
    require_engine!("lima");
    let (world, one) = warm();
    let (_, two) = another(&world, "second");
    for name in [&one, &two] {
        world.limactl(&["stop", name]).ok();
    }
    world.limactl(&["protect", &one]).ok();
    let run = lima(&world, "prune", &[]).input("y\n").run().code(1);
    let run = run.says(&format!("✗ '{one}'\n")).says(&format!("✓ Deleted '{two}'\n"));
    run.warns(&format!("'{one}': Error: ")).warns("protected").warns("limactl unprotect");
    assert_eq!((names(&world), kept(&world, &one).exists()), (vec![one.clone()], true));
    lima(&world, "prune", &["--force"]).run().code(1).warns("limactl unprotect");
    assert_eq!(names(&world), [one.clone()]);
    world.limactl(&["unprotect", &one]).ok();
    lima(&world, "prune", &["--force"]).run().ok();
    assert_eq!(names(&world), [] as [String; 0]);
}

#[test]
fn p59_each_is_looked_at_again_right_before_its_end() {
    require_engine!("lima");
    let (world, name) = warm();
    // Started meanwhile.
    world.limactl(&["stop", &name]).ok();
    let asked = |words: &[&str]| {
        let mut pty = Pty::start(lima(&world, "prune", words));
        pty.wait_for("[y/N] ");
        pty
    };
    let mut pty = asked(&[]);
    world.shell(&["true"]).run().ok();
    pty.send("y\r");
    let (code, seen) = pty.wait();
    assert!(code == 1 && seen.contains(&format!("'{name}' runs")), "{seen}");
    assert_eq!(status(&world, &name), "Running");

    // Gone meanwhile: that is what was asked for.
    world.limactl(&["stop", &name]).ok();
    let mut pty = asked(&[]);
    world.limactl(&["delete", &name]).ok();
    pty.send("y\r");
    let (code, seen) = pty.wait();
    assert!(code == 0 && seen.contains(&format!("✓ Deleted '{name}'")), "{seen}");
    assert!(!kept(&world, &name).exists());

    // Exchanged meanwhile for one that somebody made by hand.
    world.shell(&["true"]).run().ok();
    world.limactl(&["stop", &name]).ok();
    let mut pty = asked(&[]);
    world.limactl(&["delete", &name]).ok();
    by_hand(&world, &name);
    pty.send("y\r");
    let (code, seen) = pty.wait();
    assert!(code == 1 && seen.contains(&format!("there is no machine '{name}' of workmux's")), "{seen}");
    assert_eq!(look(&world, &name)["status"], "Stopped");
    // A sandbox does not take it either, and says what to do.
    let run = world.shell(&["true"]).run().code(125);
    run.warns(&format!("there is a machine '{name}' already")).warns("workmux sandbox prune");
    assert_eq!(look(&world, &name)["status"], "Stopped");
    lima(&world, "prune", &[]).input("y\n").run().ok();
    world.shell(&["true"]).run().ok();
    world.wait_until_clean();
}

#[test]
fn a_failure_is_listed_and_nothing_is_forgotten() {
    require_engine!("lima");
    let (mut world, one) = warm();
    let (_, two) = another(&world, "second");
    for name in [&one, &two] {
        world.limactl(&["stop", name]).ok();
    }
    wrapped(
        &mut world,
        &format!(
            r#"if [ "$1 $2" = "delete {one}" ]; then echo 'time="x" level=fatal msg="device is busy"' >&2; exit 1; fi"#
        ),
    );
    let run = lima(&world, "prune", &[]).input("y\n").run().code(1);
    let run = run.says(&format!("✗ '{one}'\n")).says(&format!("✓ Deleted '{two}'\n")).warns("device is busy");
    assert_eq!(run.stderr.matches("Error: ").count(), 1, "{run}");
    assert!(kept(&world, &one).exists() && !kept(&world, &two).exists());
    // One that says that it did, and did not.
    wrapped(&mut world, r#"if [ "$1" = delete ]; then exit 0; fi"#);
    lima(&world, "prune", &["--force"]).run().code(1).says(&format!("✗ '{one}'"));
    assert!(kept(&world, &one).exists());

    let run = lima(&world, "prune", &["--force"]).env("PATH", without_limactl(&world)).run().code(1);
    run.warns("'limactl' is not installed or not on PATH").warns("Hint: install Lima");
    assert_eq!(names(&world), [one]);
}

/// Machines beside what another backend has: one list, one question.
#[test]
fn all_backends_are_asked_at_once() {
    require_engine!("lima");
    let (mut world, name) = warm();
    // No engine of the machine's is asked.
    for engine in ["docker", "podman"] {
        world.put_program(engine, "#!/bin/sh\nexit 1\n");
    }
    let library = world.install_plugin("hostile");
    world.workmux(&["plugin", "trust", library.to_str().unwrap()]).run().ok();
    let all = |words: &[&str]| world.workmux(&["sandbox"]).args(words).env("WORKMUX_HOSTILE", "strangers-running");
    let run = all(&["stop", "--all", "-y"]).run().ok();
    let run = run.says("To be stopped, 3 sandbox(s):\n").says("  one (").says(&format!("  {name} (Running)\n"));
    run.says("✓ Stopped 'one'").says("✓ Stopped 'two'").says(&format!("✓ Stopped '{name}'"));
    assert_eq!(status(&world, &name), "Stopped");
    let json: Value =
        serde_json::from_str(&all(&["prune", "--dry-run", "--json", "--force"]).run().ok().stdout).unwrap();
    let backends: Vec<_> = json["instances"].as_array().unwrap().iter().map(|one| &one["backend"]).collect();
    assert_eq!(backends, ["hostile", "hostile", "lima"]);

    // Where one cannot be asked, the others are, and one line says so.
    let run = all(&["stop", "--all", "-y"]).env("PATH", without_limactl(&world)).run().ok();
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.contains("limactl")).collect();
    assert!(lines.len() == 1 && lines[0].starts_with("workmux: warning: "), "{run}");
    run.says("✓ Stopped 'one'");
    // Whose name it is counts, not whose turn.
    all(&["stop", &name]).run().ok().says(&format!("'{name}' is already stopped (Stopped)"));
    let run = all(&["prune"]).input("y\n").run().ok();
    run.says(&format!("✓ Deleted '{name}'")).never_says("Deleted 'one'");
    assert!(!kept(&world, &name).exists());
}

#[test]
fn nothing_is_made_by_looking() {
    require_engine!("lima");
    let world = cold();
    for words in [&["prune"][..], &["prune", "--force"], &["prune", "--dry-run", "--json"], &["stop", "--all", "-y"]] {
        lima(&world, words[0], &words[1..]).run().ok();
    }
    assert_eq!(names(&world), [] as [String; 0]);
    assert!(!world.state().join("backends/lima/machines").exists());
    for command in ["create", "start", "delete", "stop", "edit"] {
        assert!(calls(&world, command).is_empty(), "{command}");
    }
}
