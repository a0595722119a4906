//! The configured hooks: commands of the user's, or of the project's that the user confirmed, run on the host. Never for
//! a guest (P20).

use std::path::Path;
use std::process::{Command, Stdio};

use color_eyre::eyre::{Result, WrapErr as _};

use crate::config::Config;
use crate::error::hinted;
use crate::text;

/// Whose configured commands to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// In a new worktree.
    PostCreate,
    /// Before a merge.
    PreMerge,
    /// Before a worktree goes.
    PreRemove,
}

/// What hooks are told, as variables.
#[derive(Debug, Clone)]
pub(crate) struct About<'a> {
    /// The worktree's handle.
    pub handle: &'a str,
    /// Its root; hooks run there.
    pub worktree: &'a Path,
    /// The main checkout.
    pub main: &'a Path,
    /// Where the project's file is.
    pub config: &'a Path,
    /// Its branch.
    pub branch: &'a str,
    /// What it is merged into.
    pub target: Option<&'a str>,
}

/// Variables that make a guest of whoever has them: no host command gets them.
const GUESTS: [&str; 4] = ["WM_SANDBOX_GUEST", "WM_RPC_HOST", "WM_RPC_PORT", "WM_RPC_TOKEN"];

impl Hook {
    fn key(self) -> &'static str {
        match self {
            Self::PostCreate => "post_create",
            Self::PreMerge => "pre_merge",
            Self::PreRemove => "pre_remove",
        }
    }

    fn commands(self, config: &Config) -> &[String] {
        match self {
            Self::PostCreate => &config.post_create,
            Self::PreMerge => &config.pre_merge,
            Self::PreRemove => &config.pre_remove,
        }
    }

    /// Runs them one after the other; the first that fails is the last. Their output is the user's to see.
    pub(crate) fn run(self, config: &Config, about: &About) -> Result<()> {
        let commands = self.commands(config);
        let Some((shell, arguments)) = config.hook_shell.split_first().filter(|_| !commands.is_empty()) else {
            return Ok(());
        };
        for text in commands {
            crate::ui::note(&format!("{}: {}", self.key(), text::line(text)));
            let mut command = Command::new(shell);
            command.args(arguments).arg(text).current_dir(about.worktree).stdin(Stdio::null());
            command.stdout(crate::ui::standard_error()?);
            command.env("WORKMUX_HANDLE", about.handle).env("WM_HANDLE", about.handle);
            command.env("WM_WORKTREE_PATH", about.worktree).env("WM_PROJECT_ROOT", about.main);
            command.env("WM_CONFIG_DIR", about.config).env("WM_BRANCH_NAME", about.branch);
            if let Some(target) = about.target {
                command.env("WM_TARGET_BRANCH", target);
            }
            // Git's own variables would lead its commands to another repository.
            for (name, _) in std::env::vars_os() {
                let text = name.to_string_lossy();
                if GUESTS.contains(&&*text) || text.starts_with("GIT_") {
                    command.env_remove(&name);
                }
            }
            let status = command
                .status()
                .wrap_err_with(|| format!("'{}' of 'hook_shell' cannot be started", text::line(shell)))?;
            if !status.success() {
                return Err(hinted(
                    format!("the hook '{}' of '{}' failed: {status}", text::line(text), self.key()),
                    "mend it, or go on without: --no-hooks",
                ));
            }
        }
        Ok(())
    }
}
