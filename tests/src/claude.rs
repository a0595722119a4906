//! Claude Code, installed the way its users install it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sandbox::Sandbox;
use crate::world::World;

/// The machine's own list of authorities, which may know one that npm does not bring.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

impl World {
    /// Installs it below the home directory, and says where its program lies; what was downloaded is kept for later runs
    /// of the tests.
    ///
    /// # Panics
    /// When npm cannot.
    pub fn install_claude(&self) -> PathBuf {
        let prefix = self.home().join(".npm-global");
        let user = &self.given().user;
        let root = self.sandbox() == Sandbox::Podman;
        let kept = self.given().worlds.with_file_name(if root { "npm-cache-root" } else { "npm-cache" });
        if !kept.exists() {
            // Another test may be a moment faster.
            let _made = std::fs::create_dir(&kept);
            if user.borrowed && !root {
                nix::unistd::chown(&kept, Some(user.uid), Some(user.gid)).expect("root may give it away");
            }
        }
        let mut npm = self.program("npm").args(["install", "--global", "--no-audit", "--no-fund", "--prefer-offline"]);
        npm = npm.arg("--prefix").arg(&prefix).arg("--cache").arg(&kept);
        if Path::new(AUTHORITIES).exists() {
            npm = npm.args(["--cafile", AUTHORITIES]).env("NODE_EXTRA_CA_CERTS", AUTHORITIES);
        }
        npm.arg("@anthropic-ai/claude-code").within(Duration::from_secs(240)).run().ok();
        prefix.join("bin")
    }
}
