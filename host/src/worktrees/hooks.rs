//! The configured hooks: commands of the user's, or of the project's that the user confirmed, run on the host. Never for
//! a guest (P20).

use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use color_eyre::eyre::{Report, Result, WrapErr as _};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait;
use crate::config::Config;
use crate::error::hinted;
use crate::runs::ProcessIdentity;
use crate::supervisor::Interrupted;
use crate::task::{self, Stop};
use crate::text;
use crate::tool::{family, pidfd_open};

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
/// What a hook gets to end by itself after the key that has told it already.
const HEARD: Duration = Duration::from_secs(1);
/// And once it was asked.
const TIDY: Duration = Duration::from_secs(3);

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

    /// Which signals end it. Before a worktree goes, the terminal may go first.
    fn ended_by(self) -> fn(Signal) -> bool {
        match self {
            Self::PostCreate => |_| true,
            Self::PreMerge | Self::PreRemove => |signal| signal != Signal::SIGHUP,
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
            let failed = || format!("'{}' of 'hook_shell' cannot be started", text::line(shell));
            let ended =
                task::stoppable_by(self.ended_by(), |stop| attend(command.spawn().wrap_err_with(failed)?, stop));
            let interrupted = || format!("the hook '{}' of '{}' was ended", text::line(text), self.key());
            let status = ended.map_err(|failure| match failure.report.downcast::<Interrupted>() {
                Ok(signal) => Report::new(signal).wrap_err(interrupted()),
                Err(report) => report,
            })?;
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

/// Waits for the end of a hook. A signal ends it with all that it started.
fn attend(mut hook: Child, stop: &Stop) -> Result<ExitStatus> {
    let over = pidfd_open(hook.id()).wrap_err("cannot watch the hook")?;
    loop {
        let mut fds = [PollFd::new(over.as_fd(), PollFlags::POLLIN), PollFd::new(stop.event(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).wrap_err("cannot wait for the hook"),
        }
        if fds[0].revents().is_some_and(|ready| !ready.is_empty()) {
            let status = hook.wait().wrap_err("cannot wait for the hook")?;
            // The terminal's keys tell it and us: whichever is noticed first.
            let key = status.signal().and_then(|signal| Signal::try_from(signal).ok());
            return match key.filter(|key| matches!(key, Signal::SIGINT | Signal::SIGQUIT)) {
                Some(key) => Err(Interrupted(key).into()),
                None => Ok(status),
            };
        }
        if let Some(signal) = stop.signal() {
            end(&mut hook, matches!(signal, Signal::SIGINT | Signal::SIGQUIT)).wrap_err("cannot end the hook")?;
            return Err(Interrupted(signal).into());
        }
    }
}

/// Ends a hook and everything below it. It is in our process group, so that it can ask at the terminal: that group is
/// nothing to send a signal to. `told` = by the key that ended us.
fn end(hook: &mut Child, told: bool) -> std::io::Result<()> {
    let all = |root| family::below(root).into_iter().chain([root]).filter_map(ProcessIdentity::of).collect::<Vec<_>>();
    let mut known = all(hook.id());
    let gone_within = |known: &[ProcessIdentity], time: Duration| {
        let until = Instant::now() + time;
        known.iter().all(|one| wait::ended(one, until.saturating_duration_since(Instant::now())))
    };
    let send = |known: &[ProcessIdentity], signal| {
        for one in known.iter().filter(|one| crate::runs::alive(one)) {
            let _gone = kill(Pid::from_raw(one.pid as i32), signal);
        }
    };
    if !(told && gone_within(&known, HEARD)) {
        known.extend(all(hook.id()));
        send(&known, Signal::SIGTERM);
        if !gone_within(&known, TIDY) {
            known.extend(all(hook.id()));
            send(&known, Signal::SIGKILL);
        }
    }
    hook.wait().map(drop)
}
