//! A backend the host has never heard of, in the user's own plugin directory: trust at the command line, and every
//! command through it. Installing and removing one, and watching it, are in files of their own.

mod third_party {
    mod installing;
    mod tracing;
}

use std::fs;
use std::os::unix::fs::PermissionsExt;

use workmux_tests::{World, wait_until};

/// A world whose user installed the example backend and said that it may be used.
fn trusting() -> World {
    let world = World::new();
    let library = world.install_plugin("minimal");
    world.workmux(&["plugin", "trust"]).arg(library).run().ok().says("Trusted backend 'minimal'");
    world
}

#[test]
fn p74_a_plugin_is_used_after_its_user_said_so_and_not_before() {
    let world = World::new();
    let library = world.install_plugin("minimal");
    let trust = format!("workmux plugin trust '{}'", library.display());
    let shell = |world: &World| world.workmux(&["sandbox", "shell", "--backend", "minimal", "--", "echo", "ran"]).run();

    let refused = shell(&world).code(125);
    assert_eq!(refused.stdout, "");
    refused.warns("it has not been confirmed yet").warns(&trust);
    world.workmux(&["plugin", "list"]).run().ok().says("rejected").says("not been confirmed").says(&trust);
    world.workmux(&["plugin", "info", "minimal"]).run().ok().says("not been confirmed");

    world.workmux(&["plugin", "trust"]).arg(&library).run().ok();
    assert_eq!(shell(&world).ok().stdout, "ran\n");
    let list = world.workmux(&["plugin", "list"]).run().ok().stdout;
    assert!(list.lines().any(|line| line.starts_with("minimal ") && line.contains(" used ")), "{list}");

    // Another file under the same name asks again; the same file back does not.
    let original = fs::read(&library).unwrap();
    let mut changed = original.clone();
    changed.push(0);
    world.write(&library, &changed);
    shell(&world).code(125).warns("changed").warns(&trust);
    // The guard is what refuses it.
    assert_eq!(shell_without(&world, "p74_pin"), "ran\n");
    world.write(&library, &original);
    shell(&world).ok();

    // A file that others can write is not used, whatever was said.
    fs::set_permissions(&library, PermissionsExt::from_mode(0o666)).unwrap();
    shell(&world).code(125).warns("every user can change");
    assert_eq!(shell_without(&world, "p72_owner"), "ran\n");
    world.workmux(&["plugin", "trust"]).arg(&library).run().code(1);
}

fn shell_without(world: &World, guard: &str) -> String {
    let words = ["sandbox", "shell", "--backend", "minimal", "--", "echo", "ran"];
    world.workmux(&words).mutant(guard).run().ok().stdout
}

#[test]
fn p72_a_plugin_in_the_project_or_the_current_directory_is_nothing() {
    let world = World::new();
    let library = world.install_plugin("minimal");
    let name = library.file_name().unwrap();
    for folder in ["", ".workmux/plugins", "plugins", "lib/workmux/plugins"] {
        world.write(world.main().join(folder).join(name), fs::read(&library).unwrap());
    }
    fs::remove_file(&library).unwrap();
    let list = world.workmux(&["plugin", "list"]).env("WORKMUX_PLUGIN_PATH", "plugins:.").run().ok();
    list.never_says("minimal");
    world.workmux(&["sandbox", "shell", "--backend", "minimal", "--", "true"]).run().code(125).warns("no backend");
}

#[test]
fn every_command_works_through_a_third_partys_backend_or_says_that_it_does_not() {
    let world = trusting();
    world.user_config("sandbox: { backend: minimal }\n");
    let dir = world.worktree("topic");
    for command in ["shell", "agent"] {
        let words =
            ["sandbox", command, "--", "sh", "-c", "pwd; printf '[%s]' \"$@\"; exit 7", "sh", "a  b", "", "$(c)"];
        let run = world.workmux(&words).dir(&dir).run().code(7);
        assert_eq!(run.stdout, format!("{}\n[a  b][][$(c)]", dir.display()));
        run.warns("backend 'minimal' does not isolate");
    }
    let run = world.workmux(&["sandbox", "run"]).arg(&dir).args(["--", "sh", "-c", "kill -9 $$"]).run();
    run.code(137);
    world.shell(&["cat"]).input("a\0b").run().ok().says("a\0b");
    world.agent(&["workmux", "heartbeat"]).run().ok();
    world.agent(&["workmux", "add", "branch"]).run().ok().says("✓ Spawned agent: branch");
    world.workmux(&["remove", "--force", "branch"]).run().ok();
    world.shell(&["no-such-program"]).run().code(127);
    world.workmux(&["sandbox", "agent", "--dry-run", "--", "true"]).run().ok().says("backend 'minimal'");

    // P81: one uniform error, naming the operation and who has it.
    for (command, code) in [
        (&["build"][..], 1),
        (&["pull"], 1),
        (&["init-dockerfile"], 1),
        (&["stop"], 1),
        (&["stop", "--all", "--yes"], 1),
        (&["stop", "wm-x"], 1),
        (&["prune"], 1),
        (&["prune", "--force"], 1),
        (&["install-dev"], 1),
        (&["shell", "--exec", "--", "true"], 125),
    ] {
        let name = if command[0] == "shell" { "shell --exec" } else { command[0] };
        // Without a name the others go to a backend that has them.
        for named in [true, false].into_iter().filter(|named| *named || command[0] == "shell") {
            let backend: &[&str] = if named { &["--backend", "minimal"] } else { &[] };
            let words = [&["sandbox", command[0]], backend, &command[1..]].concat();
            let run = world.workmux(&words).dir(&dir).run().code(code);
            assert_eq!(run.stdout, "", "{words:?}");
            run.warns(&format!("Error: 'sandbox {name}' is not provided by backend 'minimal'")).warns("Hint: ");
        }
    }
    assert_eq!(world.git(&dir, &["status", "--porcelain"]).ok().stdout, "");
    world.assert_clean();
}

#[test]
fn p81_who_has_the_operation_is_named() {
    let world = trusting();
    let run = world.workmux(&["sandbox", "shell", "--exec", "--backend", "minimal"]).run().code(125);
    run.warns("is not provided by backend 'minimal'").warns("backends that provide it: bubblewrap");
    // Shown able to fail: without the check the backend's missing capability is not what is said.
    let words = ["sandbox", "shell", "--exec", "--backend", "minimal"];
    world.workmux(&words).mutant("p81_missing").run().never_says("is not provided");
    for command in ["stop", "prune", "build", "pull", "init-dockerfile", "install-dev"] {
        let run = world.workmux(&["sandbox", command, "--backend", "bubblewrap"]).run().code(1);
        run.warns("is not provided by backend 'bubblewrap'").warns("backends that provide it: container");
    }
    for command in ["build", "pull", "init-dockerfile", "install-dev"] {
        world.workmux(&["sandbox", command, "--backend", "nope"]).run().code(1).warns("no backend 'nope'");
    }
}

#[test]
fn a_backend_without_isolation_is_never_chosen_unasked() {
    let world = trusting();
    // No default backend has its tool here.
    let folder = world.home().join("bin");
    world.folder(&folder);
    for program in ["git", "sh", "env"] {
        let path = world.program("sh").args(["-c", &format!("command -v {program}")]).run().ok().stdout;
        std::os::unix::fs::symlink(path.trim(), folder.join(program)).unwrap();
    }
    let run = world.shell(&["true"]).env("PATH", &folder).run().code(125);
    run.warns("no sandbox backend can be used").warns("'bubblewrap' needs bwrap");
    // A project cannot choose it either; nobody is there to confirm.
    world.project_config("sandbox: { backend: minimal }\n");
    let run = world.shell(&["echo", "ran"]).run();
    assert!(!run.stderr.contains("does not isolate"), "{run}");
    run.warns("sandbox.backend");
}

#[test]
fn p75_the_lifeline_holds_without_isolation_too() {
    let world = trusting();
    world.user_config("sandbox: { backend: minimal }\n");
    let waiting = world.waiting("agent", &world.main(), "");
    let members = workmux_tests::family(waiting.pid());
    assert!(members.len() > 2, "{members:?}");
    waiting.signal(nix::sys::signal::Signal::SIGKILL);
    waiting.end();
    wait_until("everything to end", || members.iter().all(|process| !process.lives()));
    world.shell(&["true"]).run().ok();
    world.assert_clean();
}

#[test]
fn p73_bad_files_cost_a_line_and_nothing_else() {
    let world = trusting();
    let folder = world.home().join(".local/share/workmux/plugins");
    let bad = [("text", &b"hello"[..]), ("empty", b""), ("half", b"\x7fELF\x02\x01\x01")];
    for (name, content) in bad {
        world.write(folder.join(format!("libworkmux_backend_{name}.so")), content);
    }
    world.write(folder.join("notes.txt"), "nothing to do with it");
    let list = world.workmux(&["plugin", "list"]).run().ok();
    for (name, _) in bad {
        let reason = format!("libworkmux_backend_{name}.so' is not used: ");
        assert!(list.stdout.contains(&reason), "{list}");
    }
    assert!(!list.stdout.contains("notes.txt"), "{list}");
    // Without our own look at it, a file that is no library gets further, to whoever looks next.
    let reason = |list: &str| list.lines().find(|line| line.contains("_text.so' is not used")).map(str::to_owned);
    let further = world.workmux(&["plugin", "list"]).mutant("p73_elf").run().ok();
    assert_ne!(reason(&further.stdout), reason(&list.stdout), "{further}");
    assert!(list.stdout.lines().any(|line| line.starts_with("minimal ") && line.contains(" used ")), "{list}");
    let json = world.workmux(&["plugin", "list", "--json"]).run().ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let states = json.as_array().expect("a list").iter().filter(|entry| entry["state"] == "rejected").count();
    assert_eq!(states, 3, "{json}");
    world.workmux(&["sandbox", "shell", "--backend", "minimal", "--", "true"]).run().ok();
    world.workmux(&["sandbox", "shell", "--backend", "text", "--", "true"]).run().code(125);
}

/// A third party's images get the same commands, and what it says of them is shown and never believed.
#[test]
fn p78_image_commands_work_with_any_backend_that_has_images() {
    let world = World::new();
    let library = world.install_plugin("hostile");
    world.workmux(&["plugin", "trust"]).arg(library).run().ok();
    let run = |command: &str, sin: &str| {
        let run = world.workmux(&["sandbox", command, "--backend", "hostile"]).env("WORKMUX_HOSTILE", sin).run();
        assert!(!run.stdout.contains('\x1b') && !run.stderr.contains('\x1b'), "{run}");
        run
    };
    let pull = run("pull", "none").ok().stdout;
    assert_eq!(pull, "Pulling image 'hostile'...\nUpdated to new line.\nImage 'hostile' is up to date.\n");
    run("build", "none").ok().says("✓ Built image 'hostile'");
    run("init-dockerfile", "none").ok().says("2. Build it: make it");
    assert_eq!(world.read(world.main().join("Dockerfile.sandbox")), "FROM scratch\n");
    for sin in ["recipe-up", "recipe-absolute", "recipe-dots", "recipe-huge"] {
        run("init-dockerfile", sin).code(1).warns("could not say how the image is built");
    }
    assert!(!world.home().join("outside").exists() && !std::path::Path::new("/tmp/outside").exists());
    for (command, verb) in [("pull", "pull"), ("build", "build"), ("init-dockerfile", "recipe")] {
        run(command, &format!("panic@{verb}")).code(1).warns("the backend panicked");
        run(command, &format!("exit@{verb}")).code(125).warns("the backend 'hostile'");
    }
    run("pull", "image-up").code(1).warns("names its image");
}
