//! A world whose user installed the bridge and named a program for it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use workmux_tests::{Finished, World, checkout};

/// What wrong programs begin with: they say who they are, and go on with what is wrong.
const HONEST: &str = r#"#!/bin/sh
read -r line
id=${line#*'"id":'}; id=${id%%,*}
verb=${line#*'"verb":"'}; verb=${verb%%'"'*}
ok() { printf '{"id":%s,"ok":%s}\n' "$id" "$1"; }
if [ "$verb" = describe ]; then
    ok '{"protocol":"0.1","isolation":"process","features":{"mounts":true,"networks":["none"]}}'
    exit
fi
"#;

/// A world whose user trusts the bridge.
pub(super) fn world() -> World {
    let world = World::new();
    let library = world.install_plugin("bridge");
    world.workmux(&["plugin", "trust"]).arg(library).run().ok();
    world
}

/// Where the user's program lies.
pub(super) fn program(world: &World) -> PathBuf {
    world.home().join("programs/backend")
}

/// Puts a program of the user's there.
pub(super) fn put(world: &World, path: &PathBuf, text: &str) {
    world.write(path, text);
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("it is ours");
}

/// Makes this the user's program; `more` are further keys of the bridge's table.
pub(super) fn asks(world: &World, text: &str, more: &str) {
    put(world, &program(world), text);
    configure(world, &program(world).display().to_string(), more);
}

/// The user's configuration that names a program.
pub(super) fn configure(world: &World, executable: &str, more: &str) {
    world.user_config(&format!(
        "sandbox: {{ backend: bridge, network: {{ policy: deny }}, bridge: {{ executable: '{executable}'{more} }} }}\n"
    ));
}

/// Makes a program that does this, after an honest `describe`, the user's.
pub(super) fn does(world: &World, script: &str, more: &str) {
    asks(world, &format!("{HONEST}{script}\n"), more);
}

/// A world whose user took the sample.
pub(super) fn sampling() -> World {
    let world = world();
    asks(&world, &sample(&world), "");
    world
}

/// The sample's text.
pub(super) fn sample(world: &World) -> String {
    world.read(checkout().join("examples/bridge/sample.py"))
}

/// Runs `true` in a sandbox, which does not come to be. The message is short, clean and names `named`, and nothing is
/// left.
pub(super) fn fails(world: &World, named: &str) -> Finished {
    let finished = world.shell(&["true"]).run().code(125).warns(named);
    assert_eq!(finished.stdout, "", "{finished}");
    assert!(finished.stderr.lines().count() <= 15 && finished.stderr.len() < 8000, "{finished}");
    assert!(!finished.stderr.contains(|c: char| c.is_control() && c != '\n'), "{finished}");
    world.assert_clean();
    finished
}
