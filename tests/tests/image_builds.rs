//! Building images by the real recipes on real engines, the file to build one's own from, and development builds.
//!
//! One build at a time: what a failed one leaves is seen by what is there before and after.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use workmux_tests::{Finished, Sandbox, World, family, require_engine, wait_for, wait_until};

/// What a build may take on a slow machine and a slow network.
const PATIENCE: Duration = Duration::from_secs(600);
/// Newer versions of these need packages that not every mirror of the registry has.
const PINNED: [(&str, &str); 2] = [("pi", "0.87.1"), ("omp", "18.2.3")];

fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A test for each engine that root's builds run on.
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn docker() {
                if workmux_tests::Sandbox::Docker.is_ready() {
                    let _one = super::one_at_a_time();
                    super::$name(workmux_tests::Sandbox::Docker);
                }
            }

            #[test]
            fn podman() {
                if workmux_tests::Sandbox::Podman.is_ready() {
                    let _one = super::one_at_a_time();
                    super::$name(workmux_tests::Sandbox::Podman);
                }
            }
        }
    )+};
}

on_both_engines!(
    a_development_build_is_laid_over_the_image,
    a_failed_build_names_stage_and_step_and_leaves_nothing,
    an_interrupted_build_leaves_nothing_and_a_second_one_replaces_the_first,
    the_file_of_ones_own_builds_and_works,
);

fn build(world: &World) -> Finished {
    world.workmux(&["sandbox", "build"]).within(PATIENCE).run()
}

/// An image's name of this world's own.
fn name(world: &World) -> String {
    let unique = world.home().file_name().unwrap().to_str().unwrap().to_lowercase();
    format!("localhost/wm-test-{unique}")
}

/// Everything that a build could leave: containers, images without a name, temporary files.
fn leftovers(world: &World) -> Vec<String> {
    let ask = |words: &[&str]| world.engine(words).ok().stdout.lines().map(str::to_owned).collect::<Vec<_>>();
    let mut all = match world.sandbox() {
        Sandbox::Docker => ask(&["ps", "--all", "--quiet"]),
        _ => ask(&["ps", "--all", "--quiet", "--external"]),
    };
    all.extend(ask(&["images", "--quiet", "--filter", "dangling=true"]));
    let files = std::fs::read_dir(world.home().join("tmp")).unwrap().flatten();
    all.extend(files.map(|entry| entry.path().display().to_string()));
    all.sort();
    all
}

fn recipe_works(agent: &str) {
    require_engine!("docker");
    let _one = one_at_a_time();
    let world = Sandbox::Docker.world();
    let pinned = PINNED.iter().find(|(of, _)| *of == agent);
    let table = pinned.map(|(_, version)| format!("build_args: {{ AGENT_VERSION: '{version}' }}")).unwrap_or_default();
    let image = name(&world);
    world.configure_image(Some(&image), agent, &table);
    let built = build(&world).ok();
    assert!(
        built.stdout.starts_with(&format!("Building image '{image}' for agent '{agent}'...\n  base 1/")),
        "{built}"
    );
    for part in [format!("\n  {agent} 1/"), format!("\n✓ Built image '{image}'\n"), "sandbox pull".to_owned()] {
        assert!(built.stdout.contains(&part), "{built}");
    }
    assert!(built.stderr.is_empty(), "{built}");
    world.configure_image(Some(&image), agent, "");
    let version = world.shell(&[agent, "--version"]).run().ok();
    assert!((version.stdout + &version.stderr).contains(|c: char| c.is_ascii_digit()));
    // The one that is in the image is of this very version.
    let own = world.shell(&["/usr/local/bin/workmux", "--version"]).run().ok();
    assert_eq!(own.stdout, world.shell(&["workmux", "--version"]).run().ok().stdout);
    // A login shell finds it too.
    world.shell(&["bash", "-lc", "command -v workmux"]).run().ok().says("/run/workmux/bin/workmux");
    world.engine(&["rmi", "--force", &image]).ok();
    world.assert_clean();
}

// Claude Code is built for the test in which it really works.
#[test]
fn the_recipe_of_codex_works() {
    recipe_works("codex");
}

#[test]
fn the_recipe_of_gemini_works() {
    recipe_works("gemini");
}

#[test]
fn the_recipe_of_opencode_works() {
    recipe_works("opencode");
}

#[test]
fn the_recipe_of_pi_works() {
    recipe_works("pi");
}

#[test]
fn the_recipe_of_omp_works() {
    recipe_works("omp");
}

#[test]
fn an_agent_without_a_recipe_is_refused_before_anything_is_said() {
    require_engine!("docker");
    let world = Sandbox::Docker.world();
    for command in ["build", "init-dockerfile"] {
        world.configure_image(Some("x"), "vibe", "");
        let run = world.workmux(&["sandbox", command]).run().code(1).warns("there is no recipe for the agent 'vibe'");
        assert!(run.stdout.is_empty() && run.stderr.contains("claude, codex, gemini, opencode, pi, omp"), "{run}");
    }
}

fn a_failed_build_names_stage_and_step_and_leaves_nothing(on: Sandbox) {
    let mut world = on.world();
    let image = name(&world);
    world.configure_image(Some(&image), "claude", "");
    world.engine(&["tag", &world.image(), &image]).ok();
    let id = || world.engine(&["image", "inspect", "--format", "{{.Id}}", &image]).ok().stdout;
    let (before, there) = (id(), leftovers(&world));
    // A proxy that is not there. docker's daemon learns of it by its client's own file, podman by its environment.
    let proxy = "http://127.0.0.1:1";
    world.write(
        world.home().join("engine/config.json"),
        format!(r#"{{"proxies": {{"default": {{"httpProxy": "{proxy}", "httpsProxy": "{proxy}"}}}}}}"#),
    );
    world.set("DOCKER_CONFIG", world.home().join("engine"));
    world.set("https_proxy", proxy);
    world.set("http_proxy", proxy);
    let failed = build(&world).code(1).warns(&format!("could not build image '{image}'")).warns("Hint: ");
    let stage = failed.stderr.lines().find(|line| line.contains("the stage '")).unwrap_or_default();
    assert!(stage.contains(" of 2) at step ") && stage.contains("failed"), "{failed}");
    let id = world.engine(&["image", "inspect", "--format", "{{.Id}}", &image]).ok().stdout;
    assert_eq!((id, leftovers(&world)), (before, there), "{failed}");
    world.engine(&["rmi", &image]).ok();
    world.assert_clean();
}

fn an_interrupted_build_leaves_nothing_and_a_second_one_replaces_the_first(on: Sandbox) {
    let world = on.world();
    let image = name(&world);
    world.configure_image(Some(&image), "opencode", "");
    build(&world).ok();
    let there = leftovers(&world);

    let running = world.workmux(&["sandbox", "build"]).within(PATIENCE).start();
    // Once the second stage downloads. Its processes are the daemon's children where there is one.
    let downloads = || workmux_tests::processes().into_iter().find(|process| process.words.contains("npm-unpack"));
    let download = wait_for("the download", downloads);
    let children = family(running.pid());
    running.signal(Signal::SIGINT);
    running.wait().code(130).warns("the build was interrupted");
    wait_until("what it started to end", || !download.lives() && !children.iter().any(|process| process.lives()));
    wait_until("what it made to go", || {
        // What is done already is kept, so that the next build goes on from there.
        let kept = world.engine(&["images", "--quiet", "--filter", "dangling=true"]).ok().stdout;
        leftovers(&world).iter().all(|one| there.contains(one) || kept.contains(one.as_str()))
    });

    let id = || world.engine(&["image", "inspect", "--format", "{{.Id}}", &image]).ok().stdout.trim().to_owned();
    let old = id();
    build(&world).ok();
    assert_ne!(id(), old);
    world.engine(&["image", "inspect", &old]).code(if on == Sandbox::Docker { 1 } else { 125 });
    world.engine(&["rmi", "--force", &image]).ok();
    world.assert_clean();
}

fn the_file_of_ones_own_builds_and_works(on: Sandbox) {
    let world = on.world();
    let (image, engine) = (name(&world), if on == Sandbox::Docker { "docker" } else { "podman" });
    world.configure_image(None, "opencode", "");
    let folder = world.home().join("folder");
    world.folder(&folder);
    let init = |words: &[&str]| world.workmux(&["sandbox", "init-dockerfile"]).args(words).dir(&folder).run();
    let run = init(&[]).ok();
    for part in [
        "✓ Dockerfile.sandbox\n",
        &format!("{engine} build -t my-sandbox -f Dockerfile.sandbox ."),
        "image: my-sandbox",
    ] {
        assert!(run.stdout.contains(part), "{run}");
    }
    let file = folder.join("Dockerfile.sandbox");
    let text = world.read(&file);
    assert!(text.contains("\n# Agent: opencode\n") && text.ends_with('\n') && !text.contains("${BASE}"), "{text}");
    world.write(&file, "mine");
    init(&[]).code(1).warns("'Dockerfile.sandbox' exists already").warns("--force");
    assert_eq!(world.read(&file), "mine");
    init(&["--force"]).ok();
    assert_eq!(world.read(&file), text);

    let words = ["build", "-t", &image, "-f", file.to_str().unwrap(), folder.to_str().unwrap()];
    world.program(engine).args(words).dir(&folder).within(PATIENCE).run().ok();
    world.configure_image(Some(&image), "opencode", "");
    world.shell(&["opencode", "--version"]).run().ok();
    let script = "git status --short && workmux --version && whoami; id -u";
    world.shell(&["sh", "-c", script]).run().ok().says("workmux ");
    world.engine(&["rmi", "--force", &image]).ok();
    world.assert_clean();
}

/// What stands for this program's checkout: the guest program's package, with nothing in it.
fn checkout(world: &World) -> PathBuf {
    let root = world.home().join("checkout");
    world.write(root.join("Cargo.toml"), "[workspace]\nmembers = ['guest']\nresolver = '3'\n");
    let manifest = "[package]\nname = 'workmux-guest'\nversion = '0.0.1'\nedition = '2024'\n";
    world.write(root.join("guest/Cargo.toml"), manifest);
    world.write(root.join("guest/src/main.rs"), "fn main() { println!(\"a development build\"); }\n");
    root
}

/// The programs that build: wherever they are here, they are not part of this world.
fn with_cargo(world: &World, root: &Path, words: &[&str]) -> Finished {
    // In a home of its own: what root makes in the user's would not be the user's.
    let developer = world.home().join("developer");
    let config = ".config/workmux/config.yaml";
    world.write(developer.join(config), world.read(world.home().join(config)));
    let mut run =
        world.workmux(&["sandbox", "install-dev"]).args(words).dir(root).within(PATIENCE).env("HOME", &developer);
    for name in ["CARGO_HOME", "RUSTUP_HOME"] {
        if let Some(value) = std::env::var_os(name) {
            run = run.env(name, value);
        }
    }
    let home = std::env::var_os("HOME").unwrap_or_default();
    if std::env::var_os("RUSTUP_HOME").is_none() {
        run = run.env("RUSTUP_HOME", Path::new(&home).join(".rustup"));
    }
    run = run.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    run = run.env("CARGO", std::env::var_os("CARGO").unwrap_or("cargo".into()));
    // The toolchain belongs to whoever runs these tests.
    if world.given().user.borrowed { run.as_root().run() } else { run.run() }
}

fn a_development_build_is_laid_over_the_image(on: Sandbox) {
    let world = on.world();
    let image = name(&world);
    world.configure_image(Some(&image), "claude", "");
    let root = checkout(&world);
    let arch = std::env::consts::ARCH;
    let program = root.join(format!("target/{arch}-unknown-linux-gnu/debug/workmux-guest"));

    // Nothing is built, nothing is here, and this is no checkout.
    with_cargo(&world, &world.main(), &[]).code(1).warns("not a checkout of workmux");
    with_cargo(&world, &root, &["--skip-build"]).code(1).warns("there is no built program").warns("workmux-guest");
    with_cargo(&world, &root, &[]).code(1).warns("there is nothing to install it into").warns("sandbox pull");
    assert!(program.is_file());

    world.engine(&["tag", &world.image(), &image]).ok();
    let label = |name: &str| {
        let format = format!("{{{{index .Config.Labels \"{name}\"}}}}");
        world.engine(&["image", "inspect", "--format", &format, &image]).ok().stdout.trim().to_owned()
    };
    let layers = || world.engine(&["image", "inspect", "--format", "{{len .RootFS.Layers}}", &image]).ok().stdout;
    let before = layers();
    for round in 0..2 {
        let run = with_cargo(&world, &root, &["--skip-build"]).ok();
        assert!(run.stdout.contains(&format!("✓ image '{image}'\n")), "{run}");
        assert!(!label("workmux.dev").is_empty(), "round {round}");
    }
    let layers: u32 = layers().trim().parse().unwrap();
    assert_eq!(layers, before.trim().parse::<u32>().unwrap() + 1, "a second time lays it over the same image");
    let theirs = world.shell(&["sh", "-c", "command -v workmux; workmux"]).run().ok().stdout;
    assert_eq!(theirs, "/usr/local/bin/workmux\na development build\n");
    // Still ours: the first process, and what an image says.
    world
        .shell(&["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; echo $IMAGE_SAYS"])
        .run()
        .ok()
        .says("/run/workmux/bin/workmux init")
        .says("hello");
    world.engine(&["rmi", "--force", &image]).ok();
    world.assert_clean();
}
