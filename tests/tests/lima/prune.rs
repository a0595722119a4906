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
