//! `sandbox stop`: who is stopped, who is asked, and what is said about it.

use workmux_tests::{PATIENCE, require_engine};

use super::case::{
    another, break_it, by_hand, calls, cold, fault, faults, lima, listed, look, mended, status, wait_for_status, warm,
    without_limactl, wrapped,
};

/// Machines running, stopped and broken, one that somebody else made, and one with a name of its own.
struct Scene {
    world: workmux_tests::World,
    running: String,
    stopped: String,
    broken: String,
}

const FOREIGN: &str = "wm-foreign-00000000";
const OTHER: &str = "default";

fn scene() -> Scene {
    let (world, running) = warm();
    let (_, stopped) = another(&world, "stopped");
    let (_, broken) = another(&world, "broken");
    world.limactl(&["stop", &stopped]).ok();
    break_it(&world, &broken);
    for name in [FOREIGN, OTHER] {
        by_hand(&world, name);
        world.limactl(&["start", "--tty=false", name]).ok();
    }
    Scene { world, running, stopped, broken }
}

fn stops(world: &workmux_tests::World) -> Vec<String> {
    calls(world, "stop").into_iter().map(|words| words[1..].join(" ")).collect()
}

#[test]
fn one_is_stopped_by_its_name_and_what_does_not_run_is_stopped_already() {
    require_engine!("lima");
    let Scene { world, running, stopped, broken } = scene();
    let before = stops(&world).len();
    let run = lima(&world, "stop", &[&stopped]).run().ok();
    assert_eq!(run.stdout, format!("'{stopped}' is already stopped (Stopped)\n"));
    let run = lima(&world, "stop", &[&broken, "--yes"]).run().ok();
    assert_eq!(run.stdout, format!("'{broken}' is already stopped (Broken)\n"));
    for name in ["wm-nobody-00000000", OTHER, "", "-x", "wm-../x"] {
        let run = lima(&world, "stop", &["--yes", "--", name]).run().code(1);
        run.warns(&format!("Error: there is no sandbox '{name}' of ours")).warns(&format!("'{running}'"));
    }
    assert_eq!(stops(&world).len(), before, "nobody was stopped");

    // A question first; the answer may come through a pipe.
    let asked = format!("To be stopped, 1 Lima VM(s):\n  {running} (Running)\n");
    for no in ["n\n", "\n", "", "yess\n", "nonsense"] {
        let run = lima(&world, "stop", &[&running]).input(no).run().ok().warns("Stop them? [y/N] ");
        assert_eq!(run.stdout, format!("{asked}Aborted.\n"), "{no:?}");
    }
    assert_eq!((stops(&world).len(), status(&world, &running).as_str()), (before, "Running"));
    let run = lima(&world, "stop", &[&running]).input("YES\n").run().ok();
    assert!(run.stdout.starts_with(&asked), "{run}");
    assert!(run.stdout.ends_with(&format!("✓ Stopped '{running}'\n")), "{run}");
    assert_eq!(status(&world, &running), "Stopped");
    assert_eq!(stops(&world)[before..], [running.clone()], "as Lima's user would");
    // What is kept of it stays, and so do its disk and the others.
    world.shell(&["true"]).run().ok();
    assert_eq!((status(&world, &running), status(&world, &broken)), ("Running".into(), "Broken".into()));
    assert_eq!((status(&world, FOREIGN), status(&world, OTHER)), ("Running".into(), "Running".into()));
}

#[test]
fn all_are_those_that_run_and_bear_a_name_of_ours() {
    require_engine!("lima");
    let Scene { world, running, stopped, broken } = scene();
    let (_, second) = another(&world, "second");
    let mut all = vec![running, second, FOREIGN.to_owned()];
    all.sort();

    let shown = listed(&world, "stop", &["--all"]);
    assert_eq!(shown.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(), all);
    for one in &shown {
        assert_eq!((&one["backend"], &one["status"]), (&"lima".into(), &"Running".into()));
        assert_eq!((&one["running"], &one["in_use"]), (&true.into(), &false.into()));
        assert_eq!(one["recorded"], one["name"] != FOREIGN);
        assert!(one["size"].as_u64().is_some_and(|size| size > 4096) && one["created"].is_u64(), "{one}");
    }
    assert_eq!(listed(&world, "stop", &[]), shown, "also without --all: nothing is done");
    assert_eq!(listed(&world, "stop", &[&all[0]]), [shown[0].clone()]);
    let dry = lima(&world, "stop", &["--all", "--dry-run"]).run().ok();
    let line = |name: &String| {
        let foreign = if name == FOREIGN { ", not recorded here" } else { "" };
        format!("  {name} (Running{foreign})\n")
    };
    let list = format!("To be stopped, 3 Lima VM(s):\n{}", all.iter().map(line).collect::<String>());
    assert_eq!(dry.stdout, list);
    assert_eq!(stops(&world), [stopped.clone()], "nobody but the one that the test stopped");

    let run = lima(&world, "stop", &["--all"]).input("n").run().ok();
    assert_eq!(run.stdout, format!("{list}Aborted.\n"));
    let run = lima(&world, "stop", &["--all", "-y"]).run().ok();
    for name in &all {
        assert!(run.stdout.contains(&format!("✓ Stopped '{name}'\n")), "{run}");
        assert_eq!(status(&world, name), "Stopped");
    }
    assert!(!run.stderr.contains("[y/N]"), "{run}");
    assert_eq!((status(&world, OTHER), status(&world, &broken)), ("Running".into(), "Broken".into()));
    let none = lima(&world, "stop", &["--all", "-y"]).run().ok();
    assert_eq!(none.stdout, "No running workmux Lima VMs found.\n");
    assert_eq!(listed(&world, "stop", &["--all"]), [] as [serde_json::Value; 0]);
    // It is said before anybody is asked for, and after the words were found wanting.
    lima(&world, "stop", &["--all", FOREIGN]).run().code(2);
    lima(&world, "stop", &["--json"]).run().code(2);
}

#[test]
fn without_a_terminal_somebody_must_be_named() {
    require_engine!("lima");
    let world = cold();
    // Also where nobody runs: what a script does must not depend on that.
    for input in ["", "all\n", "1\n"] {
        let run = lima(&world, "stop", &["--yes"]).input(input).run().code(1);
        assert_eq!(run.stdout, "");
        run.warns("Hint: name one, or type: workmux sandbox stop --all");
    }
    assert_eq!(lima(&world, "stop", &["--all"]).run().ok().stdout, "No running workmux Lima VMs found.\n");
    assert!(calls(&world, "stop").is_empty());
}

#[test]
fn on_a_terminal_one_is_chosen_from_a_list() {
    require_engine!("lima");
    let (world, one) = warm();
    let (_, two) = another(&world, "second");
    let pty = |words: &[&str]| workmux_tests::Pty::start(lima(&world, "stop", words));
    // Nobody is stopped by what is no choice.
    for (answer, said) in [("3", "'3' is not one of them"), ("0", "'0'"), ("x", "'x'"), ("-1", "'-1'"), ("", "''")] {
        let mut pty = pty(&[]);
        let list = pty.wait_for("> ");
        assert!(list.contains(&format!("  1. {one} (Running)\r\n  2. {two} (Running)\r\n")), "{list}");
        pty.send(&format!("{answer}\r"));
        let (code, seen) = pty.wait();
        assert!(code == 1 && seen.contains(said) && seen.contains("type a number from 1 to 2, or 'all'"), "{seen}");
    }
    let mut end = pty(&[]);
    end.wait_for("> ");
    end.send("\x04");
    assert_eq!(end.wait().0, 1);
    assert!(calls(&world, "stop").is_empty());

    let mut choose = pty(&[]);
    choose.wait_for("> ");
    choose.send("2\r");
    let list = choose.wait_for("Stop them? [y/N] ");
    assert!(list.contains(&format!("To be stopped, 1 Lima VM(s):\r\n  {two} (Running)")), "{list}");
    choose.send("n\r");
    let (code, seen) = choose.wait();
    assert!(code == 0 && seen.ends_with("Aborted.\r\n"), "{seen}");
    assert_eq!(status(&world, &two), "Running");

    let mut choose = pty(&["-y"]);
    choose.wait_for("> ");
    choose.send("2\r");
    assert_eq!(choose.wait().0, 0);
    assert_eq!((status(&world, &one).as_str(), status(&world, &two).as_str()), ("Running", "Stopped"));

    let mut all = pty(&[]);
    let list = all.wait_for("> ");
    assert!(list.contains(&format!("  1. {one} (Running)\r\n")) && !list.contains("  2. "), "{list}");
    all.send("ALL\r");
    all.wait_for("Stop them? [y/N] ");
    all.send("y\r");
    let (code, seen) = all.wait();
    assert!(code == 0 && seen.contains(&format!("✓ Stopped '{one}'")), "{seen}");
    assert_eq!(status(&world, &one), "Stopped");
    // Nobody is left to choose from.
    let (code, seen) = pty(&[]).wait();
    assert!(code == 0 && seen.ends_with("No running workmux Lima VMs found.\r\n"), "{seen}");
}

#[test]
fn one_that_somebody_else_stopped_meanwhile_is_stopped() {
    require_engine!("lima");
    let (world, name) = warm();
    let mut pty = workmux_tests::Pty::start(lima(&world, "stop", &[&name]));
    pty.wait_for("[y/N] ");
    world.limactl(&["stop", &name]).ok();
    pty.send("y\r");
    let (code, seen) = pty.wait();
    assert!(code == 0 && seen.contains(&format!("✓ Stopped '{name}'")), "{seen}");
    // And one that stops between the last look and the word to it: Lima says that it does not run.
    let (mut world, name) = warm();
    wrapped(&mut world, r#"if [ "$1" = stop ]; then "$real" stop --force "$2" 2>/dev/null; fi"#);
    let run = lima(&world, "stop", &[&name, "-y"]).run().ok();
    run.says(&format!("✓ Stopped '{name}'"));
    assert_eq!(status(&world, &name), "Stopped");
}

#[test]
fn one_that_was_exchanged_meanwhile_is_left_alone() {
    require_engine!("lima");
    let (world, name) = warm();
    let mut pty = workmux_tests::Pty::start(lima(&world, "stop", &[&name]));
    pty.wait_for("[y/N] ");
    world.limactl(&["delete", "--force", &name]).ok();
    by_hand(&world, &name);
    world.limactl(&["start", "--tty=false", &name]).ok();
    pty.send("y\r");
    let (code, seen) = pty.wait();
    assert!(code == 1 && seen.contains(&format!("there is no machine '{name}' of workmux's")), "{seen}");
    assert_eq!(status(&world, &name), "Running");
}

#[test]
fn each_failure_is_listed_and_the_others_are_stopped() {
    require_engine!("lima");
    let (mut world, one) = warm();
    let (_, two) = another(&world, "second");
    let (_, three) = another(&world, "third");
    let script = format!(
        r#"if [ "$1" = stop ] && [ "$2" = {two} ]; then echo 'time="x" level=fatal msg="the button is stuck"' >&2; exit 1; fi"#
    );
    wrapped(&mut world, &script);
    let run = lima(&world, "stop", &["--all", "-y"]).run().code(1);
    for (name, mark) in [(&one, "✓ Stopped "), (&two, "✗ "), (&three, "✓ Stopped ")] {
        assert!(run.stdout.contains(&format!("{mark}'{name}'\n")), "{run}");
    }
    let errors: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("'wm-")).collect();
    assert!(errors.len() == 1 && errors[0].starts_with(&format!("'{two}': Error: ")), "{run}");
    let run = run.warns("the button is stuck").warns("'limactl stop' failed with code 1");
    run.never_says("panicked");
    assert_eq!([&one, &two, &three].map(|name| status(&world, name)), ["Stopped", "Running", "Stopped"]);
}

#[test]
fn a_machine_takes_its_time_and_its_user_sees_it() {
    require_engine!("lima");
    let (world, name) = warm();
    fault(&world, &name, &serde_json::json!({"stop_ms": 1500}));
    // The agent has read its faults when it was started.
    world.limactl(&["stop", &name]).ok();
    world.shell(&["true"]).run().ok();
    let run = lima(&world, "stop", &[&name, "-y"]).run().ok();
    run.says(&format!("stopping machine '{name}': Waiting for the host agent"));
    assert_eq!(look(&world, &name)["status"], "Stopped");
}

#[test]
fn a_limactl_that_is_not_there_is_said_with_what_to_install() {
    require_engine!("lima");
    let (world, name) = warm();
    for words in [&["--all"][..], &[&name], &["--all", "--dry-run"]] {
        let run = lima(&world, "stop", words).env("PATH", without_limactl(&world)).run().code(1);
        assert_eq!(run.stdout, "");
        run.warns("'limactl' is not installed or not on PATH").warns("Hint: install Lima");
    }
    assert_eq!(status(&world, &name), "Running");
}

#[test]
fn a_limactl_that_fails_or_babbles_is_no_riddle() {
    require_engine!("lima");
    let (mut world, name) = warm();
    // One line that is none costs one warning.
    faults(&world, &serde_json::json!({"garbage_before_json": "Welcome to \u{1b}[31mLima\u{1b}[0m!"}));
    let run = lima(&world, "stop", &["--all", "--dry-run"]).run().ok();
    assert_eq!(run.stdout, format!("To be stopped, 1 Lima VM(s):\n  {name} (Running)\n"));
    assert_eq!(run.stderr.lines().count(), 1, "{run}");
    run.clone().warns("'limactl list' says something unreadable: Welcome to").never_says("\u{1b}");
    mended(&world);

    // Statuses and fields that nobody knows yet are fine.
    wrapped(
        &mut world,
        r#"if [ "$1" = list ]; then
        echo '{"name":"wm-new-00000000","status":"Hibernating","dir":"/nowhere","future":[{}]}'
        echo '{"name":"wm-odd-00000000","status":"Running","config":{"mounts":[{"location":"/x","mountPoint":"/y","virtiofs":{}}]}}'
        fi"#,
    );
    let run = lima(&world, "stop", &["wm-new-00000000"]).run().ok();
    assert_eq!(run.stdout, "'wm-new-00000000' is already stopped (Hibernating)\n");
    let run = lima(&world, "stop", &["--all", "--dry-run"]).run().ok();
    assert!(run.stdout.contains("  wm-odd-00000000 (Running, not recorded here)\n"), "{run}");

    wrapped(
        &mut world,
        r#"if [ "$1" = list ]; then echo 'time="x" level=fatal msg="the disk is on fire"' >&2; exit 1; fi"#,
    );
    let run = lima(&world, "stop", &["--all", "-y"]).run().code(1);
    run.warns("backend 'lima' could not list what it has").warns("the disk is on fire").warns("Hint: ");
    wrapped(&mut world, r#"if [ "$1" = list ]; then kill -9 $$; fi"#);
    lima(&world, "stop", &["--all", "-y"]).run().code(1).warns("'limactl list' was ended by a signal");
    world.put_program("limactl", "#!/no/such/interpreter\n");
    lima(&world, "stop", &["--all", "-y"]).run().code(1).warns("limactl").never_says("panicked");
}

#[test]
fn a_limactl_that_hangs_is_given_up() {
    require_engine!("lima");
    let (mut world, name) = warm();
    wrapped(&mut world, r#"if [ "$1" = list ]; then exec sleep 600; fi"#);
    let run = lima(&world, "stop", &["--all", "-y"]).within(PATIENCE * 2).run().code(1);
    run.warns("'limactl list' does not answer").warns("limactl stop --force NAME");
    let sleeping =
        workmux_tests::processes().into_iter().any(|p| p.words == "sleep 600" && p.lives() && of(&world, &p));
    assert!(!sleeping, "it does not stay");
    wrapped(&mut world, "");
    wait_for_status(&world, &name, "Running");
}

/// Whether a process belongs to this world.
fn of(world: &workmux_tests::World, process: &workmux_tests::Process) -> bool {
    let environ = std::fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
    String::from_utf8_lossy(&environ).contains(world.home().to_str().unwrap())
}
