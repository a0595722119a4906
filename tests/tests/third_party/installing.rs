//! `workmux plugin install` and `remove` as their user types them: what is said, asked and refused.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use workmux_tests::{Running, World, wait_until};

/// A backend where a build would leave it, below the directory that commands start in.
fn built(world: &World, name: &str) -> PathBuf {
    let installed = world.install_plugin(name);
    let path = world.main().join("target/release").join(installed.file_name().expect("a name"));
    world.write(&path, fs::read(&installed).expect("it is there"));
    fs::remove_file(installed).expect("it was there");
    path
}

fn installed(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.home().join(".local/share/workmux/plugins")).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

const BOTH: [&str; 2] = ["libworkmux_backend_minimal.so", "minimal.toml"];

#[test]
fn a_backend_is_installed_used_and_removed() {
    let world = World::new();
    built(&world, "minimal");
    let install = || world.workmux(&["plugin", "install", "target/release"]).run().ok();
    install().says("✓ Installed backend 'minimal' 0.1.0, trusted as it is now: '").never_says("takes the place");
    assert_eq!(installed(&world), BOTH);
    install().says("installed and trusted already");
    let shell = || world.workmux(&["sandbox", "shell", "--backend", "minimal", "--", "echo", "ran"]).run();
    assert_eq!(shell().ok().stdout, "ran\n");
    let info = world.workmux(&["plugin", "info", "minimal"]).run().ok();
    info.says("confirmed by you as it is, SHA-256 ").says("It has no settings of its own");

    // Nobody is asked where nobody is; no is no.
    let remove = ["plugin", "remove", "minimal"];
    world
        .workmux(&remove)
        .run()
        .code(1)
        .warns("nobody is there to say")
        .warns("Hint: workmux plugin remove --yes minimal");
    let mut asked = world.pty(&remove);
    asked.wait_for("Remove it? [y/N] ");
    asked.send("n\r");
    let (code, seen) = asked.wait();
    assert!(code == 0 && seen.contains("Aborted."), "{seen}");
    assert_eq!(installed(&world), BOTH);

    let mut asked = world.pty(&remove);
    asked.wait_for("minimal.toml");
    asked.wait_for("Remove it? [y/N] ");
    asked.send("y\r");
    let (code, seen) = asked.wait();
    assert!(code == 0 && seen.contains("✓ Removed backend 'minimal'"), "{seen}");
    assert_eq!(installed(&world), [""; 0]);
    shell().code(125).warns("no backend 'minimal'");
    world.workmux(&remove).run().code(1).warns("there is no such backend").warns("Hint: you installed none");
}

#[test]
fn what_an_installed_one_hides_is_said_and_comes_back() {
    let world = World::new();
    let path = built(&world, "minimal");
    let chosen = world.home().join("chosen");
    world.write(chosen.join(BOTH[0]), fs::read(&path).expect("it is there"));
    let first = world.workmux(&["plugin", "install"]).arg(&path).env("WORKMUX_PLUGIN_PATH", &chosen).run().ok();
    first.warns("it is not used: '").warns("chosen/libworkmux_backend_minimal.so' is found first");
    let run = world.workmux(&["plugin", "remove", "-y", "bubblewrap"]).run().code(1);
    run.warns("Error: cannot remove the backend 'bubblewrap': it came with the program: '").warns("Hint: ");
}

#[test]
fn p73_what_cannot_be_installed_is_refused_in_one_message() {
    let world = World::new();
    let path = built(&world, "minimal");
    world.write(world.main().join("script.so"), "#!/bin/sh\n");
    world.folder(&world.main().join("empty"));
    let library = fs::read(&path).expect("it is there");
    world.write(world.main().join("half.so"), &library[..library.len() / 2]);
    world.write(world.main().join("two/libworkmux_backend_a.so"), &library);
    world.write(world.main().join("two/libworkmux_backend_b.so"), &library);
    std::os::unix::fs::symlink(&path, world.main().join("link.so")).expect("a link");
    for (given, why) in [
        ("nowhere.so", "there is no such file or directory"),
        ("script.so", "it is not a shared library"),
        ("half.so", "it is cut short"),
        ("empty", "no backend lies in this directory"),
        ("two", "several backends lie in this directory: a, b"),
        ("link.so", "it is a link"),
    ] {
        let run = world.workmux(&["plugin", "install", given]).run().code(1);
        assert_eq!(run.stdout, "", "{given}");
        run.warns(&format!("Error: cannot install '{given}': {why}")).warns("\nHint: ");
    }
    assert_eq!(installed(&world), [""; 0]);
    // Where people stand who built one.
    let run = world.workmux(&["plugin", "install", "."]).run().code(1);
    run.warns("Hint: workmux plugin install ").warns("/target/release");

    let mut other = library;
    other.push(0);
    world.workmux(&["plugin", "install"]).arg(&path).run().ok();
    world.write(&path, other);
    let run = world.workmux(&["plugin", "install"]).arg(&path).run().code(1);
    run.warns("another 'minimal', version 0.1.0, is there already").warns("workmux plugin install --force ");
    world.workmux(&["plugin", "install", "--force"]).arg(&path).run().ok();
    world.workmux(&["sandbox", "shell", "--backend", "minimal", "--", "true"]).run().ok();
}

/// A run of the hostile backend that lasts.
fn lasting(world: &World) -> Running {
    let words = ["sandbox", "shell", "--backend", "hostile", "--", "true"];
    let run = world.workmux(&words).env("WORKMUX_HOSTILE", "forever@session").start();
    let records = || fs::read_dir(world.state().join("runs")).into_iter().flatten().flatten();
    let text = |run: fs::DirEntry| fs::read_to_string(run.path().join("record.json")).unwrap_or_default();
    wait_until("the instance", || records().any(|run| text(run).contains("\"instance\":{")));
    run
}

#[test]
fn a_backend_in_use_is_not_removed() {
    let world = World::new();
    let path = built(&world, "hostile");
    world.workmux(&["plugin", "install"]).arg(path).run().ok();
    let run = lasting(&world);
    let remove = || world.workmux(&["plugin", "remove", "--yes", "hostile"]).run();
    remove().code(1).warns("a sandbox of it is running, of '").warns("Hint: end what runs there");
    run.signal(Signal::SIGTERM);
    run.wait().code(143);
    remove().ok().warns("sandboxes that it keeps would stay: workmux sandbox prune --backend hostile");
}

#[test]
fn trust_can_be_taken_back() {
    let world = World::new();
    let library = world.install_plugin("minimal");
    let trust = |words: &[&str]| world.workmux(&["plugin", "trust"]).args(words).arg(&library).run().ok();
    let shell = || world.workmux(&["sandbox", "shell", "--backend", "minimal", "--", "true"]).run();
    trust(&["--remove"]).says("You had not trusted '");
    trust(&[]);
    shell().ok();
    trust(&["--remove"]).says("is not used any more");
    shell().code(125).warns("it has not been confirmed yet");
}
