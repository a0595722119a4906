//! A further command in a sandbox that runs: a process of the host's that enters the first process's namespaces.
//!
//! `nsenter` cannot do this for an ordinary user here. bwrap leaves the guest in a user namespace nested in the one that
//! owns everything else, and an outsider may enter the two only at once; so the host does ([`Plan::enter`]). What it
//! starts there is `unshare --fork`, used for its fork alone: the first child is the one that is inside the process
//! namespace.

use std::fs;
use std::path::Path;

use workmux_plugin_api::{AttachRequest, Error, ErrorKind, Plan, Result, Word};

use crate::Tools;
use crate::sandbox::Sandbox;

/// Answers how.
pub(crate) fn plan(request: &AttachRequest, tools: &Tools) -> Result<Plan> {
    let gone = || {
        Error::new(ErrorKind::NotFound, format!("the sandbox '{}' does not run", request.instance.name))
            .hint("start one in this worktree first, without '--exec'")
    };
    let pid = request.first_process.filter(|pid| *pid > 1 && is_in_namespaces_of_its_own(*pid)).ok_or_else(gone)?;
    let sandbox = Sandbox::from_state(&request.instance.state)?;
    let unshare =
        tools.unshare.clone().filter(|u| u.starts_with("/usr") || u.starts_with("/bin")).ok_or_else(|| {
            Error::new(ErrorKind::MissingTool, "'unshare' is not installed below '/usr'")
                .hint("install it: apt-get install util-linux")
        })?;
    let mut args: Vec<Word> = ["--fork", "--kill-child", "--"].map(Word::from).into();
    if let Some(limit) = &sandbox.processes {
        args.extend(limit.prefix());
    }
    args.extend(request.command.argv.iter().cloned());
    Ok(Plan {
        program: unshare,
        args,
        env: request.command.env.clone(),
        cwd: request.command.cwd.clone(),
        enter: Some(pid),
        ..Plan::default()
    })
}

/// Alive, and not a process of the host's own that got the number later.
fn is_in_namespaces_of_its_own(pid: u32) -> bool {
    let namespace = |process: &str| fs::read_link(Path::new("/proc").join(process).join("ns/user"));
    match (namespace(&pid.to_string()), namespace("self")) {
        (Ok(theirs), Ok(ours)) => theirs != ours,
        _ => false,
    }
}
