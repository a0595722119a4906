//! What a machine was started with and what is wanted of it later: what a sandbox cannot do without refuses it with the
//! command that brings it, everything else is a remark. After a stop all of it is there.

use serde_json::{Value, json};
use workmux_tests::{Finished, Sandbox, World, require_engine};

use super::case::{calls, cold, lima, look, only_machine, refused, remarks, warm};

fn configure(world: &World, more: &str, table: &str) {
    world.user_config(&Sandbox::Lima.configuration(more, table));
}

fn stop(world: &World, name: &str) {
    lima(world, "stop", &[name, "--yes"]).run().ok();
}

/// The machine runs without this; what the message says brings it.
fn brought_by_a_stop(world: &World, name: &str, missing: &str, run: impl Fn() -> workmux_tests::Run) -> Finished {
    let refusal = refused(world, run().run());
    let refusal = refusal
        .warns(&format!("the machine '{name}' runs, and was started without what this sandbox needs of the host"));
    let hint = format!("workmux sandbox stop {name}");
    refusal.warns(missing).warns(&format!("Hint: stop it (its disk stays), the next start brings it: {hint}"));
    let starts = calls(world, "start").len();
    refused(world, run().run());
    assert_eq!(calls(world, "start").len(), starts, "nothing happens by itself");
    stop(world, name);
    run().run().ok()
}

#[test]
fn a_mount_that_came_later_is_brought_by_a_stop() {
    require_engine!("lima");
    let (world, name) = warm();
    let dir = world.worktree("topic");
    let shared = world.home().join("shared");
    world.write(shared.join("file"), "shared\n");
    world.write(world.home().join("other/file"), "other\n");
    let other = world.home().join("other");
    // Something that only this disk has.
    world.shell(&["sh", "-c", "echo mine > ~/kept"]).dir(&dir).run().ok();

    configure(&world, &format!("extra_mounts: ['{}']", shared.display()), "");
    let cat = || world.shell(&["sh", "-c", &format!("cat {}/file ~/kept", shared.display())]).dir(&dir);
    let run = brought_by_a_stop(&world, &name, &format!("'{}', read-only", shared.display()), cat);
    assert_eq!(run.stdout, "shared\nmine\n");
    let write = || world.shell(&["sh", "-c", &format!("echo more >> {}/file", shared.display())]).dir(&dir);
    assert_ne!(write().run().code, Some(0), "read-only is read-only");

    // The same one, writable.
    configure(&world, &format!("extra_mounts: [{{ host_path: '{}', writable: true }}]", shared.display()), "");
    brought_by_a_stop(&world, &name, &format!("'{}', writable", shared.display()), write);
    assert_eq!(world.read(shared.join("file")), "shared\nmore\n");
    // Read-only in its sandbox again, whatever the machine could do.
    configure(&world, &format!("extra_mounts: ['{}']", shared.display()), "");
    assert_ne!(write().run().code, Some(0));
    assert_eq!(cat().run().ok().stdout, "shared\nmore\nmine\n");

    // One that went is seen by no sandbox, at once; and a second one does not take the first away.
    configure(&world, "", "");
    assert_ne!(cat().run().code, Some(0));
    configure(&world, &format!("extra_mounts: ['{}', '{}']", shared.display(), other.display()), "");
    let run = brought_by_a_stop(&world, &name, &format!("'{}', read-only", other.display()), cat);
    assert_eq!(run.stdout, "shared\nmore\nmine\n");
    assert_eq!(only_machine(&world), name);
    assert_eq!(calls(&world, "create").len(), 1);
    world.assert_clean();
}

#[test]
fn a_single_file_needs_no_other_machine() {
    require_engine!("lima");
    let (world, _) = warm();
    let file = world.home().join("single");
    world.write(&file, "one\n");
    let starts = calls(&world, "start").len();
    configure(&world, &format!("extra_mounts: ['{}']", file.display()), "");
    let cat = || world.shell(&["cat", file.to_str().unwrap()]).run().ok().stdout;
    assert_eq!(cat(), "one\n");
    world.write(&file, "two\n");
    assert_eq!(cat(), "two\n", "each run has it as it is");
    configure(&world, &format!("extra_mounts: [{{ host_path: '{}', writable: true }}]", file.display()), "");
    let run = refused(&world, world.shell(&["true"]).run());
    run.warns("machines see directories only").warns("Hint: mount the directory that it lies in");
    assert_eq!(calls(&world, "start").len(), starts);
}

#[test]
fn processors_and_memory_are_a_remark_until_a_stop() {
    require_engine!("lima");
    let (world, name) = warm();
    let numbers = || {
        let one = look(&world, &name);
        (one["cpus"].clone(), one["memory"].clone())
    };
    let gib = |n: u64| json!(n << 30);
    assert_eq!(numbers(), (json!(4), gib(4)));
    configure(&world, "", "cpus: 2, memory: 1536MiB");
    let run = world.shell(&["true"]).run().ok();
    let remark = format!(
        "workmux: machine '{name}' has 4 processors and 4GiB, not 2 and 1536MiB: that comes with its next start (workmux \
         sandbox stop {name})"
    );
    assert_eq!(remarks(&run), [remark]);
    assert_eq!((numbers(), calls(&world, "edit").len()), ((json!(4), gib(4)), 0));
    stop(&world, &name);
    assert_eq!(numbers(), (json!(4), gib(4)), "a stop changes nothing");
    let run = world.shell(&["true"]).run().ok();
    assert_eq!(remarks(&run), [""; 0]);
    assert_eq!(numbers(), (json!(2), json!(1536 << 20)));
    assert_eq!(calls(&world, "edit").len(), 1);
    stop(&world, &name);
    assert_eq!(remarks(&world.shell(&["true"]).run().ok()), [""; 0]);
    assert_eq!(calls(&world, "edit").len(), 1, "once is enough");
    // A project may ask for less, and does not get more.
    world.project_config("sandbox: { lima: { cpus: 1, memory: 512MiB } }\n");
    world.shell(&["true"]).run().ok().warns("has 2 processors and 1536MiB, not 1 and 512MiB");
    world.project_config("sandbox: { lima: { cpus: 64, memory: 512GiB } }\n");
    let run = world.shell(&["true"]).run().ok();
    run.never_says("64 processors").never_says("not 64");
    world.assert_clean();
}

#[test]
fn another_image_takes_another_machine() {
    require_engine!("lima");
    let (world, name) = warm();
    let image = "https://images.invalid/own.qcow2";
    configure(&world, &format!("image: '{image}'"), "");
    let run = world.shell(&["true"]).run().ok();
    let said = remarks(&run);
    assert!(said.len() == 1 && said[0].contains("another one takes a new machine (workmux sandbox prune)"), "{run}");
    stop(&world, &name);
    assert_eq!(remarks(&world.shell(&["true"]).run().ok()).len(), 1, "also after a stop");
    stop(&world, &name);
    lima(&world, "prune", &[]).input("y\n").run().ok();
    let run = world.shell(&["true"]).run().ok();
    assert_eq!(remarks(&run), [""; 0]);
    assert_eq!(look(&world, &name)["config"]["images"][0]["location"], image);
    // One that is not there is an error of Lima's.
    stop(&world, &name);
    lima(&world, "prune", &["--force"]).run().ok();
    configure(&world, "image: '/no/such/image.qcow2'", "");
    refused(&world, world.shell(&["true"]).run()).warns("/no/such/image.qcow2");
}

#[test]
fn what_lima_is_told_of_a_new_machine_is_what_was_configured() {
    require_engine!("lima");
    let world = cold();
    configure(&world, "", "cpus: 3, memory: 2GiB, disk: 20GiB, provision: 'echo \"a  b\" > ~/it; echo $HOME'");
    let dir = world.worktree("topic");
    let run = world.shell(&["true"]).dir(&dir).run().ok();
    let name = only_machine(&world);
    run.warns(&format!("new machine '{name}', which sees "));
    let one = look(&world, &name);
    assert_eq!((&one["cpus"], &one["memory"], &one["disk"]), (&json!(3), &json!(2u64 << 30), &json!(20u64 << 30)));
    assert_eq!(one["config"]["containerd"], json!({"system": false, "user": false}));
    let mounts: Vec<(String, bool)> = one["config"]["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| {
            let location = mount["location"].as_str().unwrap();
            let below = location.strip_prefix(world.home().to_str().unwrap()).unwrap_or(location);
            (below.to_owned(), mount["writable"] == json!(true))
        })
        .collect();
    let writable = |path: &str| mounts.iter().find(|(location, _)| location == path).map(|(_, writable)| *writable);
    // Git's own files are in it, and no machine of a linked worktree can write them.
    assert_eq!(writable("/project"), Some(false), "{mounts:?}");
    assert_eq!(writable("/project__worktrees"), Some(true), "{mounts:?}");
    let host = format!("/.local/state/workmux/backends/lima/machines/{name}/host");
    assert_eq!(writable(&host), Some(false), "{mounts:?}");
    for (location, _) in &mounts {
        let allowed = ["/project", "/project__worktrees", "/.local/state/workmux/", "/.claude"];
        assert!(allowed.iter().any(|start| location.starts_with(start)), "{location}: {mounts:?}");
    }
    let all: Value = one["config"]["mounts"].clone();
    assert!(!all.to_string().contains("/.ssh") && writable("").is_none(), "the home is not among them");
    let said = world.limactl(&["shell", "--workdir", "/", &name, "sh", "-c", "cd; cat it"]).ok();
    assert_eq!(said.stdout, "a  b\n");
}
