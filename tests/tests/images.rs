//! Pulling, by command and by itself, against a real registry on loopback; and every way in which that fails.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use workmux_tests::{
    Finished, Registry, Sandbox, Silent, World, family, on_every_engine, require_engine, trust, wait_until,
};

on_every_engine!(
    a_pull_tells_what_is_new_and_what_is_not,
    a_missing_published_image_is_pulled_by_the_first_start_and_no_other_is,
    an_old_image_is_found_out_beside_a_run_and_replaced_by_the_next,
    an_interrupted_pull_leaves_nothing,
    p62_each_failure_of_a_pull_has_its_own_message_and_step,
    p62_a_registry_that_hangs_is_given_up,
    what_was_built_here_is_never_replaced_unasked,
);

const PULL: &[&str] = &["sandbox", "pull"];
const TRUE: &[&str] = &["sandbox", "shell", "--", "true"];
/// What runs in an image that holds nothing.
const GUEST_VERSION: &[&str] = &["sandbox", "shell", "--", "workmux", "--version"];

/// A world whose published images come from a registry of the test's own.
fn published(on: Sandbox, password: bool) -> (World, Registry, String) {
    let (mut world, registry) = (on.world(), Registry::start(password));
    registry.introduce(&mut world, password.then_some(true));
    let repository = format!("{}/team/sandbox", registry.address());
    world.configure_image(None, "claude", &format!("repository: '{repository}', pull_timeout: 20"));
    let image = format!("{repository}:claude");
    (world, registry, image)
}

/// The file in which a host keeps what it knows of an image's age.
fn record(world: &World, image: &str) -> std::path::PathBuf {
    world.state().join(format!("image-freshness-{}.json", image.replace(['/', ':'], "-")))
}

fn forget(world: &World, image: &str) {
    _ = world.engine(&["rmi", "--force", image]);
}

fn a_pull_tells_what_is_new_and_what_is_not(on: Sandbox) {
    let (world, registry, image) = published(on, false);
    let pull = || world.workmux(PULL).run().ok();
    let (first, last) = (format!("Pulling image '{image}'..."), format!("Image '{image}' is up to date."));
    let updated = |run: &Finished| {
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert_eq!(
            (lines.first().copied(), lines.last().copied()),
            (Some(first.as_str()), Some(last.as_str())),
            "{run}"
        );
        assert!(run.stderr.is_empty(), "{run}");
        lines.iter().any(|line| line.starts_with("Updated to "))
    };
    registry.push(&world, "team/sandbox:claude", "one");
    assert!(updated(&pull()), "the first pull");
    let unchanged = pull();
    // podman looks at layers that it has, and says so.
    let lines: Vec<&str> = unchanged.stdout.lines().filter(|line| !line.starts_with("  ")).collect();
    assert_eq!(lines, [&first, &last], "{unchanged}");
    registry.push(&world, "team/sandbox:claude", "two");
    // Pushing forgets what the engine has of that name.
    assert!(updated(&pull()), "a new digest");
    assert!(!updated(&pull()));
    let known: Value = serde_json::from_str(&world.read(record(&world, &image))).unwrap();
    assert_eq!((known["image"].as_str(), known["is_fresh"].as_bool()), (Some(image.as_str()), Some(true)));
    forget(&world, &image);
    world.assert_clean();
}

fn a_missing_published_image_is_pulled_by_the_first_start_and_no_other_is(on: Sandbox) {
    let (world, registry, image) = published(on, false);
    registry.push(&world, "team/sandbox:claude", "content");
    let first = world.workmux(GUEST_VERSION).run().ok().warns("is not here yet: pulling it");
    assert!(first.stdout.starts_with("workmux ") && first.stdout.lines().count() == 1, "{first}");
    let second = world.workmux(GUEST_VERSION).run().ok().never_says("pulling");
    assert_eq!(second.stdout, first.stdout);
    forget(&world, &image);

    // The same image under a name of the user's own is the user's to get.
    world.configure_image(Some(&format!("{}/team/other:claude", registry.address())), "claude", "");
    registry.push(&world, "team/other:claude", "content");
    let custom = world.workmux(GUEST_VERSION).run().code(125).never_says("pulling");
    custom.warns("does not have the image").warns("workmux sandbox pull");
    world.workmux(PULL).run().ok();
    world.workmux(GUEST_VERSION).run().ok();
    forget(&world, &format!("{}/team/other:claude", registry.address()));

    // A registry without it: one error, and the run is over.
    world.configure_image(None, "codex", &format!("repository: '{}/team/sandbox'", registry.address()));
    let missing = world.workmux(GUEST_VERSION).run().code(125);
    missing.warns("could not pull image").warns("has no image").warns("Hint: ");
    world.assert_clean();
}

fn an_old_image_is_found_out_beside_a_run_and_replaced_by_the_next(on: Sandbox) {
    let (world, registry, image) = published(on, false);
    let push = |content: &str| registry.push_over(&world, &world.image(), "team/sandbox:claude", content);
    push("one");
    world.workmux(PULL).run().ok();
    let file = record(&world, &image);
    let read = || serde_json::from_str::<Value>(&world.read(&file)).unwrap();
    let change = |key: &str, value: Value| {
        let mut known = read();
        known[key] = value;
        world.write(&file, known.to_string());
    };
    let id = || world.engine(&["image", "inspect", "--format", "{{.Id}}", &image]).ok().stdout.trim().to_owned();
    // Runs a sandbox until the host has found out what it wanted to know.
    let find_out = || {
        change("checked_at", json!(1));
        let waiting = world.waiting("shell", &world.main(), "true");
        wait_until("the image's age to be known", || read()["checked_at"] != json!(1));
        waiting.go_on().wait().ok().never_says("newer");
    };
    let old = id();
    find_out();
    assert_eq!(read()["is_fresh"], true, "there is nothing new yet");

    // Another image of that name, pushed from elsewhere: this engine still has the old one.
    world.engine(&["tag", &old, "kept-meanwhile"]).ok();
    push("two");
    world.engine(&["tag", &old, &image]).ok();
    world.engine(&["rmi", "kept-meanwhile"]).ok();
    find_out();
    assert_eq!((read()["is_fresh"].as_bool(), id()), (Some(false), old.clone()), "nothing is pulled beside a run");
    world.workmux(TRUE).run().ok().warns("there is a newer image");
    assert_ne!(id(), old);
    assert_eq!(read()["is_fresh"], true);
    world.workmux(TRUE).run().ok().never_says("newer");

    // What cannot be pulled costs a warning.
    change("is_fresh", json!(false));
    change("local_image_id", json!(id()));
    drop(registry);
    world.workmux(TRUE).run().ok().warns("it could not be pulled, so the one that is here is used");
    forget(&world, &image);
    world.assert_clean();
}

fn what_was_built_here_is_never_replaced_unasked(on: Sandbox) {
    let (world, registry, image) = published(on, false);
    registry.push(&world, "team/sandbox:claude", "theirs");
    let folder = world.home().join("own");
    world.write(folder.join("Dockerfile"), "FROM scratch\nLABEL workmux.built=1\nCOPY Dockerfile /\n");
    world.engine(&["build", "--tag", &image, folder.to_str().unwrap()]).ok();
    let id = || world.engine(&["image", "inspect", "--format", "{{.Id}}", &image]).ok().stdout;
    let own = id();
    let stale = json!({"image": image, "checked_at": 1, "is_fresh": false, "local_image_id": own.trim()});
    world.write(record(&world, &image), stale.to_string());
    world.workmux(GUEST_VERSION).run().ok().never_says("pulling");
    assert_eq!(id(), own);
    // Asked, it is.
    world.workmux(PULL).run().ok().says("Updated to ");
    assert_ne!(id(), own);
    forget(&world, &image);
}

fn p62_each_failure_of_a_pull_has_its_own_message_and_step(on: Sandbox) {
    let (mut world, registry, _) = published(on, false);
    let fails = |world: &World, image: &str, words: &str, step: &str| {
        world.configure_image(Some(image), "claude", "");
        let run = world.workmux(PULL).run().code(1).says(&format!("Pulling image '{image}'...\n"));
        let run = run.warns(&format!("could not pull image '{image}'")).warns(words);
        let hint = run.stderr.lines().find(|line| line.starts_with("Hint: ")).unwrap_or_default();
        assert!(hint.contains(step), "{run}");
    };
    let address = registry.address().to_owned();
    fails(&world, &format!("{address}/team/sandbox:nope"), "has no image", "sandbox.image");
    fails(&world, &format!("{address}/Bad/Name"), "is not the name of an image", "sandbox.image");
    let engine = if on == Sandbox::Docker { "docker" } else { "podman" };

    let locked = Registry::start(true);
    locked.introduce(&mut world, Some(true));
    locked.push(&world, "team/sandbox:1", "content");
    let image = format!("{}/team/sandbox:1", locked.address());
    for password in [None, Some(false)] {
        locked.introduce(&mut world, password);
        fails(&world, &image, "to strangers", &format!("{engine} login {}", locked.address()));
    }
    locked.introduce(&mut world, Some(true));
    world.configure_image(Some(&image), "claude", "");
    world.workmux(PULL).run().ok().says("is up to date.\n");
    forget(&world, &image);
    drop(locked);
    fails(&world, &image, "cannot be reached", "network");

    if on == Sandbox::Docker {
        world.set("DOCKER_HOST", "unix:///nonexistent/docker.sock");
        fails(&world, "my-sandbox", "the docker daemon does not answer", "start it");
    }
    world.assert_clean();
}

fn p62_a_registry_that_hangs_is_given_up(on: Sandbox) {
    let (mut world, silent) = (on.world(), Silent::start());
    trust(&mut world, silent.address());
    let image = format!("{}/team/sandbox:1", silent.address());
    world.configure_image(Some(&image), "claude", "pull_timeout: 2");
    let started = Instant::now();
    let run = world.workmux(PULL).run().code(1).warns("nothing came from the registry").warns("for 2 s");
    assert!(started.elapsed() < Duration::from_secs(20), "{run}");
    // The same within a start.
    world.configure_image(None, "claude", &format!("repository: '{}/team/sandbox', pull_timeout: 2", silent.address()));
    world.workmux(GUEST_VERSION).run().code(125).warns("nothing came from the registry");
    assert!(std::fs::read_dir(world.home().join("tmp")).unwrap().next().is_none(), "temporary files are left");
    world.assert_clean();
}

fn an_interrupted_pull_leaves_nothing(on: Sandbox) {
    let (mut world, silent) = (on.world(), Silent::start());
    trust(&mut world, silent.address());
    world.configure_image(Some(&format!("{}/team/sandbox:1", silent.address())), "claude", "");
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let running = world.workmux(PULL).start();
        silent.wait_for_a_call();
        let children = family(running.pid());
        assert!(children.len() > 1, "an engine's client runs");
        running.signal(signal);
        running.wait().code(code).warns("the pull was interrupted").warns("Hint: ");
        wait_until("the engine's client to go", || !children.iter().any(|process| process.lives()));
        assert!(std::fs::read_dir(world.home().join("tmp")).unwrap().next().is_none(), "temporary files are left");
    }
    world.assert_clean();
}

#[test]
fn images_go_to_the_backend_that_has_them() {
    require_engine!("docker");
    let world = Sandbox::Docker.world();
    world.user_config("sandbox: { backend: bubblewrap }\nagent: vibe\n");
    let run = world.workmux(&["sandbox", "init-dockerfile"]).run().code(1);
    run.warns("is done by backend 'container'").warns("there is no recipe for the agent 'vibe'");
    world
        .workmux(&["sandbox", "pull", "--backend", "bubblewrap"])
        .run()
        .code(1)
        .warns("'sandbox pull' is not provided");
    world.workmux(&["sandbox", "pull", "--backend", "nope"]).run().code(1);
    world.assert_clean();
}

/// What an engine prints is shown clean and bounded, and only what moves a layer keeps it alive.
#[test]
fn p78_an_engine_that_lies_or_floods_costs_one_error() {
    require_engine!("docker");
    let world = Sandbox::Docker.world();
    world.configure_image(Some("some/image"), "claude", "pull_timeout: 2");
    let folder = world.home().join("fake");
    let pull = |script: &str| {
        let file = folder.join("docker");
        world.write(&file, format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.display());
        let run = world.workmux(PULL).env("PATH", path).run();
        assert!(!run.stdout.contains('\x1b') && !run.stderr.contains('\x1b'), "{run}");
        assert!(run.stdout.len() + run.stderr.len() < 20_000, "{} bytes", run.stdout.len() + run.stderr.len());
        run
    };
    pull(r"printf '\033]0;title\007\033[2J'; echo 'manifest unknown'; exit 1").code(1).warns("has no image");
    pull("yes 'some noise of an engine' | head -n 200000; exit 1").code(1).warns("could not pull");
    pull("yes '0b5f3e1d5d2c: Downloading 1MB/2MB'").code(1).warns("nothing came from");
    pull("while :; do echo; done").code(1).warns("nothing came from");
    pull("sleep 1000").code(1).warns("nothing came from");
    pull("kill -9 $$").code(1).warns("could not pull");
    // It says that all is well, and there is no image.
    pull(r#"[ "$1" = pull ] && echo "Status: Downloaded newer image"; exit 0"#).code(1);
    pull(r#"[ "$1" = pull ] || { echo "No such image" >&2; exit 1; }"#).code(1).warns("and does not have it");
    world.assert_clean();
}
