//! A configuration that changed while the machine runs: what the machine cannot do as it was started is refused with the
//! way out, what does not matter to a run is remarked, and the next start brings both.

use serde_json::Value;
use workmux_tests::require_engine;

use super::scene::Scene;

#[test]
fn a_mount_that_the_machine_does_not_have_takes_a_stop() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let extra = scene.home().join("extra");
    scene.write(extra.join("file"), "from the host\n");
    scene.reconfigure(&format!("extra_mounts: ['{}']", extra.display()), "");
    let file = extra.join("file");
    let cat = || scene.shell(&["cat", file.to_str().unwrap()]);
    let run = cat().run().code(125);
    assert_eq!(run.stdout, "");
    let run = run
        .warns(&format!("the machine '{name}' runs, and was started without"))
        .warns(&format!("'{}', read-only", extra.display()));
    run.warns(&format!("workmux sandbox stop {name}\n"));
    assert_eq!((scene.status(&name).as_str(), scene.count("start")), ("Running", 1));
    // Just as it says.
    scene.stop(&[&name, "--yes"]).ok();
    assert_eq!(cat().run().ok().stdout, "from the host\n");
    assert_eq!((scene.count("create"), scene.count("edit"), scene.count("start")), (1, 1, 2));
    scene.shell(&["touch", file.to_str().unwrap()]).run().code(1);

    // The same, writable.
    scene.reconfigure(&format!("extra_mounts: [{{host_path: '{}', writable: true}}]", extra.display()), "");
    cat().run().code(125).warns(&format!("'{}', writable", extra.display()));
    scene.stop(&[&name, "--yes"]).ok();
    let script = format!("echo from the guest > '{}'", file.display());
    scene.shell(&["sh", "-c", &script]).run().ok();
    assert_eq!(scene.read(&file), "from the guest\n");

    // What is wanted no more is no reason to stop anybody, and is not there.
    scene.reconfigure("", "");
    scene.shell(&["test", "!", "-e", file.to_str().unwrap()]).run().ok();
    assert_eq!(scene.count("create"), 1);
    scene.assert_clean();
}

#[test]
fn a_machine_made_for_worktrees_has_the_main_checkout_after_a_stop() {
    require_engine!("lima");
    let scene = Scene::new();
    let dir = scene.worktree("topic");
    scene.shell(&["true"]).dir(&dir).run().ok();
    let name = scene.machine();
    let run = scene.shell(&["true"]).run().code(125);
    run.warns(&format!("'{}', writable", scene.main().display())).warns(&format!("workmux sandbox stop {name}\n"));
    scene.stop(&[&name, "--yes"]).ok();
    scene.shell(&["true"]).run().ok();
    // Worktrees made later are there already.
    scene.shell(&["true"]).dir(scene.worktree("later")).run().ok();
    assert_eq!((scene.count("create"), scene.count("start")), (1, 2));
    scene.assert_clean();
}

fn sizes(scene: &Scene) -> (u64, u64) {
    let line = scene.limactl(&["list", "--json", &scene.machine()]).ok().stdout;
    let one: Value = serde_json::from_str(line.trim()).expect("an object");
    (one["cpus"].as_u64().expect("a number"), one["memory"].as_u64().expect("a number"))
}

#[test]
fn another_size_is_remarked_and_comes_with_the_next_start() {
    require_engine!("lima");
    let scene = Scene::with("", "cpus: 2, memory: 1GiB");
    scene.shell(&["true"]).run().ok();
    let name = scene.machine();
    assert_eq!(sizes(&scene), (2, 1 << 30));
    scene.shell(&["true"]).run().ok().never_says("processors");
    scene.reconfigure("", "cpus: 3, memory: 2GiB");
    let run = scene.shell(&["true"]).run().ok();
    run.warns(&format!("machine '{name}' has 2 processors and 1GiB, not 3 and 2GiB"))
        .warns(&format!("workmux sandbox stop {name}"));
    assert_eq!((sizes(&scene), scene.count("edit")), ((2, 1 << 30), 0));
    scene.stop(&[&name, "--yes"]).ok();
    scene.shell(&["true"]).run().ok().never_says("processors");
    assert_eq!((sizes(&scene), scene.count("edit")), ((3, 2 << 30), 1));
    scene.assert_clean();
}

#[test]
fn a_project_may_only_make_the_machine_smaller() {
    require_engine!("lima");
    let scene = Scene::with("", "cpus: 3");
    scene.project_config("sandbox: { lima: { cpus: 2 } }\n");
    scene.shell(&["true"]).run().ok();
    assert_eq!(sizes(&scene).0, 2);
    scene.project_config("sandbox: { lima: { cpus: 8 } }\n");
    let name = scene.machine();
    scene.stop(&[&name, "--yes"]).ok();
    let run = scene.shell(&["true"]).run();
    assert!(sizes(&scene).0 <= 3, "{run}");
}

#[test]
fn another_mount_takes_none_away() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let (one, two) = (scene.home().join("one"), scene.home().join("two"));
    for dir in [&one, &two] {
        scene.write(dir.join("file"), format!("{}\n", dir.display()));
    }
    let cat = |dir: &std::path::Path| scene.shell(&["cat", dir.join("file").to_str().unwrap()]);
    scene.reconfigure(&format!("extra_mounts: [{{host_path: '{}', writable: true}}]", one.display()), "");
    scene.stop(&[&name, "--yes"]).ok();
    cat(&one).run().ok();
    scene.reconfigure(&format!("extra_mounts: ['{}', '{}']", one.display(), two.display()), "");
    scene.refused(cat(&two).run()).warns(&format!("'{}', read-only", two.display()));
    scene.stop(&[&name, "--yes"]).ok();
    cat(&two).run().ok();
    cat(&one).run().ok();
    // The machine could write there still; this sandbox cannot.
    let script = format!("echo x > '{}/file'", one.display());
    scene.shell(&["sh", "-c", &script]).run().code(2);
    scene.assert_clean();
}

#[test]
fn a_single_file_needs_no_other_machine() {
    require_engine!("lima");
    let scene = Scene::warm();
    let file = scene.home().join("single");
    scene.reconfigure(&format!("extra_mounts: ['{}']", file.display()), "");
    for text in ["one\n", "two\n"] {
        scene.write(&file, text);
        assert_eq!(scene.shell(&["cat", file.to_str().unwrap()]).run().ok().stdout, text, "each run has it as it is");
    }
    scene.reconfigure(&format!("extra_mounts: [{{host_path: '{}', writable: true}}]", file.display()), "");
    let run = scene.refused(scene.shell(&["true"]).run());
    run.warns("machines see directories only").warns("Hint: mount the directory that it lies in");
    assert_eq!(scene.count("start"), 1);
}

#[test]
fn another_provision_is_remarked_until_there_is_another_machine() {
    require_engine!("lima");
    let scene = Scene::with("", "provision: echo one");
    let dir = scene.worktree("topic");
    let run = |table: &str| {
        scene.reconfigure("", table);
        scene.shell(&["true"]).dir(&dir).run().ok()
    };
    scene.shell(&["true"]).dir(&dir).run().ok();
    let name = scene.machine();
    let remark = format!("machine '{name}' was made with another 'provision'");
    run("provision: echo one").never_says(&remark);
    run("provision: echo two").warns(&remark);
    scene.stop(&[&name, "--yes"]).ok();
    run("provision: echo two").warns(&remark);
    scene.prune(&["--force"]).ok();
    run("provision: echo two").never_says(&remark);
    scene.assert_clean();
}

#[test]
fn a_machine_that_never_came_up_takes_another_image_by_itself() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.reconfigure("image: '/no/such/image.qcow2'", "");
    for _as_often_as_it_is_typed in 0..2 {
        scene.refused(scene.shell(&["true"]).run()).warns("/no/such/image.qcow2");
    }
    scene.reconfigure("", "");
    scene.shell(&["true"]).run().ok();
    let name = scene.machine();
    assert_ne!(scene.look(&name)["config"]["images"][0]["location"], "/no/such/image.qcow2");
    scene.assert_clean();
}

#[test]
fn another_image_takes_another_machine() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let image = "https://images.invalid/own.qcow2";
    scene.reconfigure(&format!("image: '{image}'"), "");
    for _also_after_a_stop in 0..2 {
        let run = scene.shell(&["true"]).run().ok();
        run.warns(&format!("another one takes a new machine (workmux sandbox stop {name}, then prune)"));
        scene.stop(&[&name, "--yes"]).ok();
    }
    scene.on("prune", &[]).input("y\n").run().ok();
    scene.shell(&["true"]).run().ok().never_says("another one takes");
    assert_eq!(scene.look(&name)["config"]["images"][0]["location"], image);
    scene.prune(&["--force"]).ok();
    scene.reconfigure("image: '/no/such/image.qcow2'", "");
    scene.refused(scene.shell(&["true"]).run()).warns("/no/such/image.qcow2");
}

#[test]
fn p13_what_lima_is_told_of_a_new_machine_is_what_was_configured() {
    require_engine!("lima");
    let scene = Scene::with("", "cpus: 3, memory: 2GiB, disk: 20GiB, provision: 'echo \"a  b\" > ~/it'");
    scene.shell(&["true"]).dir(scene.worktree("topic")).run().ok();
    let name = scene.machine();
    assert_eq!(scene.outside(&name, "cat ~/it"), "a  b\n");
    let one = scene.look(&name);
    let numbers = ["cpus", "memory", "disk"].map(|key| one[key].as_u64().unwrap());
    assert_eq!(numbers, [3, 2 << 30, 20 << 30]);
    assert_eq!(one["config"]["containerd"], serde_json::json!({"system": false, "user": false}));
    let mounts: Vec<(&str, bool)> = one["config"]["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| {
            let location = mount["location"].as_str().unwrap();
            (location.strip_prefix(scene.home().to_str().unwrap()).unwrap_or(location), mount["writable"] == true)
        })
        .collect();
    // Of a linked worktree's machine: nothing of git's own files can be written, and the home is not in it.
    let host = format!("/.local/state/workmux/backends/lima/machines/{name}/host");
    for wanted in [("/project", false), ("/project__worktrees", true), (host.as_str(), false)] {
        assert!(mounts.contains(&wanted), "{wanted:?}: {mounts:?}");
    }
    for (location, _) in &mounts {
        let allowed = ["/project", "/project__worktrees", host.as_str(), "/.claude"];
        assert!(allowed.contains(location) || location.starts_with("/.local/state/workmux/git/open/"), "{mounts:?}");
    }
}
