//! `sandbox prune`: what is shown of each machine, which are deleted, and what is forgotten with them.

use std::time::{SystemTime, UNIX_EPOCH};

use workmux_tests::{Process, require_engine};

use super::dying::ended;
use super::scene::{Scene, exists};

const QUESTION: &str = "Delete 1 Lima VM(s)? [y/N] ";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[test]
fn an_unused_machine_is_shown_and_deleted_after_a_question() {
    require_engine!("lima");
    let before = now();
    let scene = Scene::warm();
    let name = scene.machine();
    let dir = scene.dir_of(&name);
    scene.stop(&[&name, "--yes"]).ok();

    assert!(exists(scene.remembered(&name)));
    let look = || {
        let all = scene.instances(&scene.prune(&["--dry-run", "--json"]).ok());
        assert_eq!(all.len(), 1);
        all[0].clone()
    };
    let one = look();
    assert_eq!((one["name"].as_str(), one["status"].as_str()), (Some(name.as_str()), Some("Stopped")));
    assert_eq!((one["running"].as_bool(), one["recorded"].as_bool()), (Some(false), Some(true)));
    for key in ["created", "last_used"] {
        let time = one[key].as_u64().unwrap_or_else(|| panic!("{one}"));
        assert!((before..=now()).contains(&time), "{key}: {one}");
    }
    // What is allocated counts, and no holes, and nothing that a link leads to.
    let size = one["size"].as_u64().unwrap();
    scene.write(dir.join("more"), vec![1; 1 << 20]);
    let hole = std::fs::File::create(dir.join("hole")).unwrap();
    hole.set_len(1 << 30).unwrap();
    std::os::unix::fs::symlink("/usr", dir.join("link")).unwrap();
    let more = look()["size"].as_u64().unwrap();
    assert!((1 << 20..(1 << 20) + 65536).contains(&(more - size)), "{size} and {more}");

    let run = scene.prune(&["--dry-run"]).ok();
    let run = run.says(&format!("1. {name} (Stopped)\n   Size: ")).says(" MiB\n   Age: ").says("\n   Last accessed: ");
    run.says("Would delete 1 Lima VM(s).\n");
    for answer in ["", "n\n"] {
        let run = scene.on("prune", &[]).input(answer).run().ok();
        run.warns(QUESTION).says("Aborted.\n");
    }
    assert_eq!((scene.count("delete"), scene.status(&name).as_str()), (0, "Stopped"));

    let run = scene.on("prune", &[]).input("y\n").run().ok();
    run.warns(QUESTION).says(&format!("✓ Deleted '{name}'\n"));
    assert!(!exists(&dir));
    assert_eq!(scene.machines(), [] as [String; 0]);
    assert!(!exists(scene.remembered(&name)));
    assert_eq!(scene.prune(&[]).ok().stdout, "No workmux Lima VMs found.\n");
    assert_eq!(scene.prune(&["--force"]).ok().stdout, "No workmux Lima VMs found.\n");
    assert_eq!(scene.instances(&scene.prune(&["--json", "--dry-run"]).ok()).len(), 0);
    // And a new one is made.
    scene.shell(&["true"]).run().ok();
    assert_eq!((scene.machine(), scene.count("create")), (name, 2));
}

#[test]
fn machines_in_use_are_kept() {
    require_engine!("lima");
    let scene = Scene::warm();
    let used = scene.machine();
    let run = scene.on("prune", &[]).input("y\n").run().ok();
    let run = run.says(&format!("1. {used} (Running, in use)\n"));
    run.says("No unused workmux Lima VMs; those in use are kept.\n").never_says("Delete");
    let unused = scene.second();
    scene.stop(&[&unused, "--yes"]).ok();
    let all = scene.instances(&scene.prune(&["--json", "--dry-run"]).ok());
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["name"].as_str(), Some(unused.as_str()));
    let run = scene.on("prune", &[]).input("y\n").run().ok();
    let run = run.says(&format!(". {used} (Running, in use)\n")).says(&format!(". {unused} (Stopped)\n"));
    run.warns(QUESTION).says(&format!("✓ Deleted '{unused}'\n"));
    assert_eq!(scene.machine(), used);
    assert_eq!(scene.status(&used), "Running");
}

#[test]
fn force_deletes_all_and_says_what_was_in_use() {
    require_engine!("lima");
    let scene = Scene::warm();
    let (used, stopped) = (scene.machine(), scene.second());
    scene.stop(&[&stopped, "--yes"]).ok();
    let running = scene.waiting("shell", &scene.main(), "true");
    let warning = format!("'{used}' is in use and is deleted all the same");
    let run = scene.prune(&["--force", "--dry-run"]).ok().warns(&warning);
    run.says("Would delete 2 Lima VM(s).\n").never_says(&format!("'{stopped}' is"));
    assert_eq!(scene.machines().len(), 2);
    let run = scene.prune(&["--force"]).ok().warns(&warning).never_says("[y/N]");
    run.says(&format!("✓ Deleted '{used}'\n")).says(&format!("✓ Deleted '{stopped}'\n"));
    assert_eq!(scene.machines(), [] as [String; 0]);
    ended(&running.end(), &used);
    scene.shell(&["true"]).run().ok();
    scene.assert_clean();
}

#[test]
fn a_broken_machine_is_unused_and_nothing_of_it_stays() {
    require_engine!("lima");
    let scene = Scene::broken();
    let name = scene.machine();
    let agent: i32 = scene.read(scene.dir_of(&name).join("ha.pid")).trim().parse().unwrap();
    let agent = Process::find(nix::unistd::Pid::from_raw(agent)).unwrap();
    let run = scene.on("prune", &[]).input("y\n").run().ok();
    run.says(&format!("1. {name} (Broken)\n")).says(&format!("✓ Deleted '{name}'\n"));
    assert_eq!(scene.machines(), [] as [String; 0]);
    assert!(!agent.lives());
}

#[test]
fn p59_a_machine_made_by_hand_is_asked_for_by_name() {
    require_engine!("lima");
    let scene = Scene::warm();
    let ours = scene.machine();
    scene.stop(&[&ours, "--yes"]).ok();
    scene.made_by_hand("wm-by-hand");
    scene.made_by_hand("another");
    let all = scene.instances(&scene.prune(&["--json", "--dry-run"]).ok());
    let recorded = |name: &str| all.iter().find(|one| one["name"] == name).and_then(|one| one["recorded"].as_bool());
    assert_eq!((recorded("wm-by-hand"), recorded(&ours), recorded("another")), (Some(false), Some(true), None));
    let question = "Delete 'wm-by-hand', which is not recorded here? [y/N] ";
    let run = scene.on("prune", &[]).input("y\nn\n").run().ok();
    let run = run.warns(QUESTION).warns(question).says("wm-by-hand (Stopped, not recorded here)\n");
    run.says(&format!("✓ Deleted '{ours}'\n")).never_says("another");
    assert_eq!(scene.machines(), ["another", "wm-by-hand"]);
    let run = scene.on("prune", &[]).input("y\n").run().ok().never_says(QUESTION);
    run.warns(question).says("✓ Deleted 'wm-by-hand'\n");
    assert_eq!(scene.machines(), ["another"]);
}

#[test]
fn a_protected_machine_stays_and_the_way_out_is_said() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    scene.limactl(&["protect", &name]).ok();
    // Stopping takes nothing away.
    scene.stop(&[&name, "--yes"]).ok();
    for (words, answer) in [(&[][..], "y\n"), (&["--force"], "")] {
        let run = scene.on("prune", words).input(answer).run().code(1);
        let run = run.says(&format!("✗ '{name}'\n")).warns(&format!("'{name}': "));
        run.warns("protected").warns("limactl unprotect");
        assert_eq!(scene.machine(), name);
    }
    assert!(exists(scene.remembered(&name).join("record.json")), "what we know of it stays too");
    scene.limactl(&["unprotect", &name]).ok();
    scene.prune(&["--force"]).ok().says(&format!("✓ Deleted '{name}'\n"));
    assert_eq!(scene.machines(), [] as [String; 0]);
}

/// What is allocated for the files below a directory.
fn allocated(scene: &Scene, name: &str) -> u64 {
    let words = ["!", "-type", "d", "-printf", "%b\n"];
    let list = scene.program("find").arg(scene.dir_of(name)).args(words).run().ok().stdout;
    list.lines().map(|blocks| blocks.parse::<u64>().expect("a number") * 512).sum()
}

#[test]
fn a_machine_that_nobody_uses_ages_however_often_it_is_looked_at() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    scene.stop(&[&name, "--yes"]).ok();
    let dir = scene.dir_of(&name);
    scene.write(dir.join("big"), vec![1; 5 << 20]);
    let size = allocated(&scene, &name);
    let run = scene.prune(&["--dry-run"]).ok();
    let run = run.says(&format!("   Size: {:.1} MiB\n", size as f64 / f64::from(1 << 20)));
    run.says("   Age: just now\n").says("   Last accessed: just now\n");

    let files = std::fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path());
    for file in files.chain([dir.clone(), scene.remembered(&name).join("host/runs")]) {
        scene.program("touch").args(["--no-dereference", "--date=50 hours ago"]).arg(file).run().ok();
    }
    for _look in 0..2 {
        scene.prune(&["--dry-run"]).ok().says("   Last accessed: 2 days ago\n");
    }
    scene.shell(&["true"]).run().ok();
    scene.prune(&["--dry-run"]).ok().says("   Last accessed: just now\n");
}

#[test]
fn what_a_run_uses_is_in_use_whatever_its_machine_says() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let waiting = scene.waiting("agent", &scene.worktree("topic"), "exit 3");
    scene.kill(&name, "ha.pid");
    assert_eq!(scene.instances(&scene.prune(&["--json", "--dry-run"]).ok()).len(), 0);
    let run = scene.on("prune", &[]).input("y\n").run().ok();
    let run = run.says(&format!("1. {name} (Broken, in use)\n"));
    run.says("No unused workmux Lima VMs; those in use are kept.\n").never_says("[y/N]");
    waiting.go_on().wait().code(3);
    let run = scene.prune(&["--force"]).ok().says(&format!("1. {name} (Broken)\n"));
    run.never_says("all the same");
}

#[test]
fn a_failure_is_listed_the_others_go_and_nothing_is_forgotten() {
    require_engine!("lima");
    let scene = Scene::warm();
    let (one, two) = (scene.machine(), scene.second());
    scene.stop(&["--all", "--yes"]).ok();
    let path = scene.instead(&format!(
        "case \"$*\" in delete*{one}) echo 'time=\"x\" level=fatal msg=\"device is busy\"' >&2; exit 1 ;; esac\n\
         exec \"$REAL\" \"$@\""
    ));
    let run = scene.on("prune", &[]).input("y\n").env("PATH", &path).run().code(1);
    let run = run.says(&format!("✗ '{one}'\n")).says(&format!("✓ Deleted '{two}'\n")).warns("device is busy");
    assert_eq!(run.stderr.matches("Error: ").count(), 1, "{run}");
    assert_eq!((exists(scene.remembered(&one)), exists(scene.remembered(&two))), (true, false));
    // One that says that it did, and did not.
    let path = scene.instead("case $1 in delete) exit 0 ;; esac\nexec \"$REAL\" \"$@\"");
    scene.on("prune", &["--force"]).env("PATH", &path).run().code(1).says(&format!("✗ '{one}'\n"));
    assert!(exists(scene.remembered(&one).join("record.json")));
    // Lima is told no more than is needed.
    scene.prune(&["--force"]).ok();
    assert_eq!(scene.asked("delete"), [two, one]);
}

/// Machines beside what another backend has: one list, one question.
#[test]
fn all_backends_are_asked_at_once() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    // No engine of this computer is asked.
    let path = scene.instead("exec \"$REAL\" \"$@\"");
    for engine in ["docker", "podman"] {
        let file = scene.home().join("instead").join(engine);
        scene.write(&file, "#!/bin/sh\nexit 1\n");
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let library = scene.install_plugin("hostile");
    scene.workmux(&["plugin", "trust", library.to_str().unwrap()]).run().ok();
    let all = |words: &[&str]| {
        scene.workmux(&["sandbox"]).args(words).env("PATH", &path).env("WORKMUX_HOSTILE", "strangers-running")
    };
    let run = all(&["stop", "--all", "-y"]).run().ok();
    let run = run.says("To be stopped, 3 sandbox(s):\n").says("  one (").says(&format!("  {name} (Running)\n"));
    run.says("✓ Stopped 'one'").says("✓ Stopped 'two'").says(&format!("✓ Stopped '{name}'"));
    assert_eq!(scene.status(&name), "Stopped");
    let found = scene.instances(&all(&["prune", "--dry-run", "--json", "--force"]).run().ok());
    let backends: Vec<_> = found.iter().map(|one| &one["backend"]).collect();
    assert_eq!(backends, ["hostile", "hostile", "lima"]);

    // Where one cannot be asked the others are, and one line says so.
    std::fs::rename(scene.home().join("instead/limactl"), scene.home().join("limactl")).unwrap();
    let run = all(&["stop", "--all", "-y"]).run().ok().says("✓ Stopped 'one'");
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.contains("limactl")).collect();
    assert!(lines.len() == 1 && lines[0].starts_with("workmux: warning: "), "{run}");
    std::fs::rename(scene.home().join("limactl"), scene.home().join("instead/limactl")).unwrap();
    all(&["stop", &name]).run().ok().says(&format!("'{name}' is already stopped (Stopped)"));
    let run = all(&["prune"]).input("y\n").run().ok();
    run.says(&format!("✓ Deleted '{name}'")).never_says("Deleted 'one'");
    assert!(!exists(scene.remembered(&name)));
}

#[test]
fn nothing_is_made_by_looking() {
    require_engine!("lima");
    let scene = Scene::new();
    for words in [&["prune"][..], &["prune", "--force"], &["prune", "--dry-run", "--json"], &["stop", "--all", "-y"]] {
        scene.on(words[0], &words[1..]).run().ok();
    }
    let dir = scene.worktree("topic");
    let shown = || scene.workmux(&["sandbox", "shell", "--dry-run"]).dir(&dir).run().ok().stdout;
    assert!(shown().contains("backend 'lima'"));
    assert_eq!((scene.machines(), scene.calls().iter().filter(|words| words[0] != "list").count()), (vec![], 0));
    assert!(!exists(scene.state().join("backends/lima/machines")));
    // Nor does a run in a machine that is known ask anybody.
    scene.shell(&["true"]).dir(&dir).run().ok();
    let before = scene.calls().len();
    shown();
    scene.shell(&["true"]).dir(&dir).run().ok();
    assert_eq!(scene.calls().len(), before);
}
