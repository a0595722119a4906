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
