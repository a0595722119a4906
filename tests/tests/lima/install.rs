//! `install-dev`: a guest program of the user's own in the machines that run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use workmux_tests::require_engine;

use super::scene::Scene;

#[test]
fn a_development_build_is_put_into_the_machines_that_run() {
    require_engine!("lima");
    let scene = Scene::new();
    let root = scene.home().join("checkout");
    for manifest in ["Cargo.toml", "guest/Cargo.toml"] {
        scene.write(root.join(manifest), "");
    }
    let program = root.join(format!("target/{}-unknown-linux-gnu/debug/workmux-guest", std::env::consts::ARCH));
    let install = || scene.on("install-dev", &["--skip-build"]).dir(&root).run();
    install().code(1).warns("there is no built program");
    let build = |says: &str| {
        scene.write(&program, format!("#!/bin/sh\necho {says}\n"));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    };
    build("first");
    install().code(1).warns("there is nothing to install it into");

    scene.shell(&["true"]).run().ok();
    let name = scene.machine();
    let stopped = scene.second();
    scene.stop(&[&stopped, "--yes"]).ok();
    let theirs = || scene.shell(&["sh", "-c", "command -v workmux; workmux"]).run().ok().stdout;
    for says in ["first", "second"] {
        build(says);
        assert_eq!(install().ok().stdout, format!("✓ machine '{name}'\n"));
        let said = theirs();
        assert!(said.ends_with(&format!("/.local/bin/workmux\n{says}\n")), "{said}");
    }
    // The first process is the host's all the same.
    scene.shell(&["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"]).run().ok().says("/run/workmux/bin/workmux init");
    // It lies on the disk.
    scene.stop(&[&name, "--yes"]).ok();
    assert!(theirs().ends_with("\nsecond\n"));
    scene.made_by_hand("wm-by-hand");
    scene.limactl(&["start", "--tty=false", "wm-by-hand"]).ok();
    install().ok().says(&format!("✓ machine '{name}'\n")).never_says("wm-by-hand");
    scene.assert_clean();
}

#[test]
fn a_machine_that_does_not_take_it_is_listed_and_the_others_are_served() {
    require_engine!("lima");
    let scene = Scene::warm();
    let (one, (second, two)) = (scene.machine(), scene.another("second"));
    let root = scene.home().join("checkout");
    let program = format!("target/{}-unknown-linux-gnu/debug/workmux-guest", std::env::consts::ARCH);
    for (file, text) in [("Cargo.toml", ""), ("guest/Cargo.toml", ""), (&program, "#!/bin/sh\necho mine\n")] {
        scene.write(root.join(file), text);
    }
    fs::set_permissions(root.join(&program), fs::Permissions::from_mode(0o755)).unwrap();
    // A guest has put something in its place.
    scene.shell(&["sh", "-c", "mkdir -p ~/.local && rm -rf ~/.local/bin && ln -s /etc ~/.local/bin"]).run().ok();
    let run = scene.on("install-dev", &["--skip-build"]).dir(&root).run().code(1);
    let run = run.says(&format!("✗ machine '{one}'\n")).says(&format!("✓ machine '{two}'\n"));
    run.warns(&format!("machine '{one}': not installed")).warns(&format!("limactl shell {one}"));
    assert_eq!(scene.outside(&one, "ls -A /etc | grep -c workmux; true"), "0\n", "no link is followed");
    let word = |dir: &std::path::Path| scene.agent(&["workmux", "--version"]).dir(dir).run().ok().stdout;
    assert_eq!(word(&second), "mine\n");
    assert!(word(&scene.main()).contains("(guest)"));
    scene.assert_clean();
}
