//! `sandbox stop`, row by row: which machine, in which state, asked how.

use workmux_tests::{Pty, require_engine};

use super::dying::ended;
use super::scene::Scene;

const QUESTION: &str = "Stop them? [y/N] ";

#[test]
fn a_machine_is_stopped_by_name_and_a_second_time_is_fine() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let run = scene.stop(&[&name, "--yes"]).ok();
    assert!(run.stdout.starts_with(&format!("To be stopped, 1 Lima VM(s):\n  {name} (Running)\n")), "{run}");
    assert!(run.stdout.ends_with(&format!("✓ Stopped '{name}'\n")), "{run}");
    assert_eq!(scene.status(&name), "Stopped");
    let run = scene.stop(&[&name]).ok();
    assert_eq!(run.stdout, format!("'{name}' is already stopped (Stopped)\n"));
    assert_eq!(scene.stop(&["--all"]).ok().stdout, "No running workmux Lima VMs found.\n");
    assert_eq!(scene.count("stop"), 1);
    // Its disk stays, and the next run brings it up again.
    scene.shell(&["true"]).run().ok();
    assert_eq!((scene.status(&name).as_str(), scene.count("create")), ("Running", 1));
}

#[test]
fn a_broken_machine_does_not_run() {
    require_engine!("lima");
    let scene = Scene::broken();
    let name = scene.machine();
    assert_eq!(scene.status(&name), "Broken");
    assert_eq!(scene.stop(&[&name, "-y"]).ok().stdout, format!("'{name}' is already stopped (Broken)\n"));
    assert_eq!(scene.stop(&["--all", "-y"]).ok().stdout, "No running workmux Lima VMs found.\n");
    scene.shell(&["true"]).run().ok();
    assert_eq!(scene.status(&name), "Running");
}

#[test]
fn without_a_machine_there_is_nothing_to_stop() {
    require_engine!("lima");
    let scene = Scene::new();
    assert_eq!(scene.stop(&["--all", "--yes"]).ok().stdout, "No running workmux Lima VMs found.\n");
    assert_eq!(scene.stop(&["--dry-run"]).ok().stdout, "No running workmux Lima VMs found.\n");
    let run = scene.stop(&["--all", "--dry-run", "--json"]).ok();
    assert_eq!(scene.instances(&run), [] as [serde_json::Value; 0]);
    let run = scene.stop(&["wm-nobody-00000000"]).code(1);
    run.warns("there is no sandbox 'wm-nobody-00000000' of ours").warns("Hint: there is none now");
    // Also where Lima was never used.
    std::fs::remove_dir_all(scene.lima_home()).unwrap();
    assert_eq!(scene.stop(&["--all", "--yes"]).ok().stdout, "No running workmux Lima VMs found.\n");
    // A terminal or not is looked at before that.
    scene.stop(&[]).code(1).warns("--all");
    let (code, shown) = scene.on_pty("stop", &[]).wait();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("No running workmux Lima VMs found."), "{shown}");
}

#[test]
fn p59_names_of_others_are_refused_and_left_alone() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    scene.made_by_hand("default");
    scene.limactl(&["start", "--tty=false", "default"]).ok();
    for other in ["default", "wm-nobody-00000000", "", "wm-", "../default", "wm-../default"] {
        let run = scene.stop(&[other, "--yes"]).code(1);
        assert_eq!(run.stdout, "");
        run.warns(&format!("Error: there is no sandbox '{other}' of ours"))
            .warns(&format!("Hint: there are: '{name}'\n"));
    }
    let run = scene.stop(&["--all", "--yes"]).ok();
    run.says(&format!("✓ Stopped '{name}'\n")).never_says("default");
    assert_eq!(scene.status("default"), "Running");
    assert_eq!(scene.count("stop"), 1);
}

#[test]
fn a_name_and_all_are_too_much() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.stop(&["wm-x", "--all"]).code(2).warns("cannot be used with");
    assert_eq!(scene.calls(), [] as [Vec<String>; 0]);
}

#[test]
fn all_are_stopped_after_one_question() {
    require_engine!("lima");
    let scene = Scene::warm();
    let (one, two) = (scene.machine(), scene.second());
    for answer in ["n\n", "\n", "yess\n"] {
        let run = scene.on("stop", &["--all"]).input(answer).run().ok();
        assert!(run.stdout.ends_with("Aborted.\n"), "{run}");
        run.warns(QUESTION).says(&format!("  {one} (Running)\n")).says(&format!("  {two} (Running)\n"));
    }
    // The end of input is no answer.
    scene.stop(&["--all"]).code(1).warns("nobody is there to answer").warns("--yes");
    assert_eq!(scene.count("stop"), 0);
    let run = scene.on("stop", &["--all"]).input("y\n").run().ok();
    run.says("To be stopped, 2 Lima VM(s):\n")
        .says(&format!("✓ Stopped '{one}'\n"))
        .says(&format!("✓ Stopped '{two}'\n"));
    assert_eq!((scene.status(&one).as_str(), scene.status(&two).as_str()), ("Stopped", "Stopped"));
}

#[test]
fn a_dry_run_shows_and_does_nothing() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    for words in [&["--dry-run"][..], &["--dry-run", "--all"], &["--dry-run", &name], &["--dry-run", "--yes", &name]] {
        let run = scene.stop(words).ok();
        assert_eq!(run.stdout, format!("To be stopped, 1 Lima VM(s):\n  {name} (Running)\n"), "{words:?}");
    }
    for words in [&["--dry-run", "--json"][..], &["--dry-run", "--json", "--all"], &["--dry-run", "--json", &name]] {
        let all = scene.instances(&scene.stop(words).ok());
        assert_eq!(all.len(), 1, "{words:?}");
        let one = &all[0];
        assert_eq!((one["name"].as_str(), one["backend"].as_str()), (Some(name.as_str()), Some("lima")));
        assert_eq!((one["status"].as_str(), one["running"].as_bool()), (Some("Running"), Some(true)));
        assert_eq!((one["in_use"].as_bool(), one["recorded"].as_bool()), (Some(false), Some(true)));
    }
    assert_eq!((scene.count("stop"), scene.status(&name).as_str()), (0, "Running"));
}

#[test]
fn one_of_a_list_is_chosen_on_a_terminal() {
    require_engine!("lima");
    let scene = Scene::warm();
    let (one, two) = (scene.machine(), scene.second());
    let mut sorted = [one, two];
    sorted.sort();
    let [one, two] = sorted;
    for (answer, shown) in [("3", "'3'"), ("0", "'0'"), ("-1", "'-1'"), ("both", "'both'"), ("", "''")] {
        let mut pty = scene.on_pty("stop", &[]);
        pty.wait_for("Running workmux Lima VMs:");
        pty.wait_for(&format!("  1. {one} (Running)"));
        pty.wait_for(&format!("  2. {two} (Running)"));
        pty.wait_for("> ");
        pty.send(&format!("{answer}\n"));
        let (code, seen) = pty.wait();
        assert_eq!(code, 1, "{seen}");
        assert!(seen.contains(&format!("Error: {shown} is not one of them")), "{seen}");
        assert!(seen.contains("Hint: type a number from 1 to 2, or 'all'"), "{seen}");
    }
    let answer = |pty: &mut Pty, first: &str, then: &str| {
        pty.wait_for("> ");
        pty.send(&format!("{first}\n"));
        pty.wait_for(QUESTION);
        pty.send(&format!("{then}\n"));
    };
    let mut pty = scene.on_pty("stop", &[]);
    answer(&mut pty, "ALL", "n");
    pty.wait_for("Aborted.");
    assert_eq!(pty.wait().0, 0);
    assert_eq!(scene.count("stop"), 0);

    let mut pty = scene.on_pty("stop", &[]);
    answer(&mut pty, "2", "y");
    pty.wait_for(&format!("✓ Stopped '{two}'"));
    assert_eq!(pty.wait().0, 0);
    assert_eq!((scene.status(&one).as_str(), scene.status(&two).as_str()), ("Running", "Stopped"));

    let mut pty = scene.on_pty("stop", &["--yes"]);
    pty.wait_for("> ");
    pty.send("all\n");
    pty.wait_for(&format!("✓ Stopped '{one}'"));
    let (code, seen) = pty.wait();
    assert_eq!((code, seen.contains(QUESTION)), (0, false), "{seen}");
}

#[test]
fn without_a_terminal_and_without_a_name_nothing_is_stopped() {
    require_engine!("lima");
    let scene = Scene::warm();
    for words in [&[][..], &["--yes"]] {
        let run = scene.on("stop", words).input("all\n").run().code(1);
        assert_eq!(run.stdout, "");
        run.warns("does not know which one").warns("workmux sandbox stop --all");
    }
    assert_eq!(scene.status(&scene.machine()), "Running");
}

#[test]
fn what_could_not_be_stopped_is_listed_and_the_others_are_stopped() {
    require_engine!("lima");
    let scene = Scene::warm();
    let (one, two) = (scene.machine(), scene.second());
    let path = scene.instead(&format!(
        "case \"$*\" in stop*{one}) echo 'time=\"x\" level=fatal msg=\"no way\"' >&2; exit 1 ;; esac\nexec \"$REAL\" \"$@\""
    ));
    let run = scene.on("stop", &["--all", "--yes"]).env("PATH", &path).run().code(1);
    let run = run.says(&format!("✗ '{one}'\n")).says(&format!("✓ Stopped '{two}'\n"));
    run.warns(&format!("'{one}': ")).warns("'limactl stop' failed with code 1").warns("no way").warns("Hint: ");
    assert_eq!((scene.status(&one).as_str(), scene.status(&two).as_str()), ("Running", "Stopped"));
    // It says that it failed, and did it: what counts is the machine.
    let path = scene.instead("\"$REAL\" \"$@\"\ncase $1 in stop) exit 1 ;; esac");
    scene.on("stop", &["--all", "--yes"]).env("PATH", &path).run().ok().says(&format!("✓ Stopped '{one}'\n"));
    assert_eq!(scene.status(&one), "Stopped");
}

#[test]
fn a_machine_of_somebody_elses_is_shown_as_such() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.made_by_hand("wm-by-hand");
    scene.limactl(&["start", "--tty=false", "wm-by-hand"]).ok();
    let run = scene.on("stop", &["wm-by-hand"]).input("n\n").run().ok();
    run.says("  wm-by-hand (Running, not recorded here)\n").says("Aborted.\n");
    assert_eq!(scene.status("wm-by-hand"), "Running");
    scene.on("stop", &["wm-by-hand"]).input("y\n").run().ok().says("✓ Stopped 'wm-by-hand'\n");
    assert_eq!(scene.status("wm-by-hand"), "Stopped");
}

#[test]
fn who_runs_in_a_machine_is_shown_and_ends_with_it() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let running = scene.waiting("shell", &scene.main(), "true");
    scene.stop(&[&name, "--dry-run"]).ok().says(&format!("  {name} (Running, in use)\n"));
    let all = scene.instances(&scene.stop(&["--dry-run", "--json"]).ok());
    assert_eq!(all[0]["in_use"].as_bool(), Some(true));
    scene.stop(&[&name, "--yes"]).ok().says(&format!("✓ Stopped '{name}'\n"));
    ended(&running.end(), &name);
    assert_eq!(scene.status(&name), "Stopped");
    scene.shell(&["true"]).run().ok();
    scene.assert_clean();
}
