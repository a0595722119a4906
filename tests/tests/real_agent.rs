//! A real agent, installed the way its users install it, starts inside a sandbox.

use std::path::PathBuf;

use workmux_tests::{Sandbox, World, on_every_engine, require_engine};

on_every_engine!(claude_code_from_npm_says_its_version_in_a_container);

/// The machine's own list of authorities, which may know one that npm does not bring.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Installs Claude Code below the home directory; what was downloaded is kept for later runs of the tests.
fn install_claude(world: &World) -> PathBuf {
    let prefix = world.home().join(".npm-global");
    let user = &world.given().user;
    let root = world.sandbox() == Sandbox::Podman;
    let kept = world.given().worlds.with_file_name(if root { "npm-cache-root" } else { "npm-cache" });
    if !kept.exists() {
        // Another test may be a moment faster.
        let _made = std::fs::create_dir(&kept);
        if user.borrowed && !root {
            nix::unistd::chown(&kept, Some(user.uid), Some(user.gid)).expect("root may give it away");
        }
    }
    let mut npm = world.program("npm").args(["install", "--global", "--no-audit", "--no-fund", "--prefer-offline"]);
    npm = npm.arg("--prefix").arg(&prefix).arg("--cache").arg(&kept);
    if std::path::Path::new(AUTHORITIES).exists() {
        npm = npm.args(["--cafile", AUTHORITIES]).env("NODE_EXTRA_CA_CERTS", AUTHORITIES);
    }
    let patience = std::time::Duration::from_secs(240);
    npm.arg("@anthropic-ai/claude-code").within(patience).run().ok();
    prefix.join("bin")
}

#[test]
fn claude_code_from_npm_says_its_version_inside() {
    require_engine!("bubblewrap");
    require_engine!("npm");
    let world = World::bubblewrap();
    let bin = install_claude(&world);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
    let version = world.program(bin.join("claude")).arg("--version").env("PATH", &path).run().ok().stdout;
    assert!(version.contains("Claude Code"), "{version}");

    let dir = world.worktree("topic");
    let inside = world.agent(&["claude", "--version"]).dir(&dir).env("PATH", &path).run().ok();
    assert_eq!(inside.stdout, version);
    // As the configured agent, from a sub-directory, without a network.
    world.user_config("sandbox: { backend: bubblewrap, network: { policy: deny } }\nagent: claude --version\n");
    let folder = dir.join("sub dir");
    world.folder(&folder);
    let inside = world.workmux(&["sandbox", "agent"]).dir(&folder).env("PATH", &path).run().ok();
    assert_eq!(inside.stdout, version);
    world.assert_clean();
}

/// An image brings its agents itself; here the host's is mounted into one.
fn claude_code_from_npm_says_its_version_in_a_container(on: Sandbox) {
    require_engine!("npm");
    let world = on.world();
    let bin = install_claude(&world);
    let mounts = serde_json::json!([bin.parent()]);
    world.configure(&format!("extra_mounts: {mounts}, network: {{ policy: deny }}"));
    let claude = bin.join("claude");
    let inside = world.agent(&[claude.to_str().expect("UTF-8"), "--version"]).run().ok();
    assert!(inside.stdout.contains("Claude Code"), "{inside}");
    world.assert_clean();
}
