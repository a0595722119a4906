//! A real agent, installed the way its users install it, starts inside a sandbox.

use std::path::PathBuf;

use workmux_tests::{World, require_engine};

/// The machine's own list of authorities, which may know one that npm does not bring.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Installs Claude Code below the home directory; what was downloaded is kept for later runs of the tests.
fn install_claude(world: &World) -> PathBuf {
    let prefix = world.home().join(".npm-global");
    let kept = world.given().worlds.with_file_name("npm-cache");
    let user = &world.given().user;
    if !kept.exists() {
        std::fs::create_dir(&kept).expect("a folder for downloads");
        if user.borrowed {
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
