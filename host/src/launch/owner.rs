//! Root becomes the owner of the worktree before anything else happens, where the backend asks for it: no guest runs
//! with the kernel's uid 0, and nothing root owns is left in the user's repository.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use color_eyre::eyre::{Result, WrapErr as _};
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};

use crate::error::hinted;

/// Whose environment variables do not fit another user.
const PERSONAL: [&str; 10] = [
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "MAIL",
    "SUDO_COMMAND",
    "DBUS_SESSION_BUS_ADDRESS",
    // Root's own server lets nobody else in.
    "TMUX",
    "TMUX_PANE",
];

/// Runs this very command again as the owner of `worktree`; returns only if there is nothing to change or it failed.
pub(crate) fn become_owner(worktree: &Path) -> Result<()> {
    let owner = std::fs::metadata(worktree).wrap_err("cannot tell who owns the worktree")?.uid();
    if !Uid::effective().is_root() || owner == 0 {
        return Ok(());
    }
    let user = User::from_uid(Uid::from_raw(owner)).ok().flatten().ok_or_else(|| {
        hinted(
            format!("the worktree belongs to user {owner}, which has no account on this machine"),
            "give it to an ordinary user: chown -R USER PATH",
        )
    })?;
    crate::ui::note(&format!(
        "started as root: going on as '{}', who owns the worktree",
        crate::text::line(&user.name)
    ));
    let name = std::ffi::CString::new(user.name.as_str())?;
    initgroups(&name, Gid::from_raw(user.gid.as_raw())).wrap_err("cannot take the owner's groups")?;
    setgid(user.gid).wrap_err("cannot take the owner's group")?;
    setuid(user.uid).wrap_err("cannot become the owner")?;
    let mut again = std::process::Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env("HOME", &user.dir).env("USER", &user.name).env("LOGNAME", &user.name);
    for name in PERSONAL {
        again.env_remove(name);
    }
    Err(again.exec()).wrap_err("cannot start again as the owner")
}
