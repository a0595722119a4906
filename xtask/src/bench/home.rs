//! A home with one repository, and commands in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;
use crate::{Result, process};

/// The home of the ordinary user while we measure.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) account: Account,
    pub(super) path: PathBuf,
}

impl Home {
    /// Makes it below `folder`.
    pub(super) fn make(account: &Account, folder: &Path) -> Result<Self> {
        let home = Self { account: account.clone(), path: account.folder(&folder.join("bench"))? };
        for name in ["run", "project", ".claude"] {
            account.folder(&home.path.join(name))?;
        }
        process::output(home.command("git").args(["init", "--quiet", "--initial-branch=main"]))?;
        let commit = ["-c", "user.name=b", "-c", "user.email=b@example.invalid", "commit", "--quiet", "--allow-empty"];
        process::output(home.command("git").args(commit).arg("--message=first"))?;
        Ok(home)
    }

    /// A command in the repository.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.account.command(program, &self.path);
        command.env("XDG_RUNTIME_DIR", self.path.join("run")).current_dir(self.path.join("project"));
        command
    }

    /// A user's configuration in a folder of its own; the value for `XDG_CONFIG_HOME`.
    pub(super) fn configuration(&self, name: &str, yaml: &str) -> Result<PathBuf> {
        let folder = self.path.join(format!("config-{name}"));
        let file = folder.join("workmux/config.yaml");
        std::fs::create_dir_all(folder.join("workmux"))
            .and_then(|()| std::fs::write(&file, yaml))
            .map_err(|e| format!("could not write '{}': {e}", file.display()))?;
        if self.account.borrowed {
            let (uid, gid) = (Some(self.account.uid), Some(self.account.gid));
            for path in [&folder, &folder.join("workmux"), &file] {
                std::os::unix::fs::chown(path, uid, gid).map_err(|e| format!("'{}': {e}", path.display()))?;
            }
        }
        Ok(folder)
    }
}
