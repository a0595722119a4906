//! Starting the program as the first process of the new namespace, and waiting for it.
//!
//! The namespace lives as long as both: when the program ends, so does this process with its code, and when this
//! process dies, the kernel kills the program and with it everything in the namespace.

use std::io::stdin;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::termios::tcgetsid;
use nix::unistd::{ForkResult, chdir, execve, getpid, pipe2};

use super::options::Program;
use crate::{confine, sys};

/// Runs the program to its end: its exit code, or 128 and the signal.
pub(super) fn run(program: &Program) -> Result<u8, String> {
    release_terminal().map_err(|e| format!("could not give up the terminal: {}", e.desc()))?;
    chdir("/").map_err(|e| format!("could not change to '/': {}", e.desc()))?;
    // Whoever started this may have ignored it, and then nobody could be waited for.
    let waitable = sys::signal_action(Signal::SIGCHLD, SigHandler::SigDfl);
    waitable.map_err(|e| format!("could not take over signals: {}", e.desc()))?;
    let (alive, held) = pipe2(OFlag::O_CLOEXEC).map_err(|e| format!("could not make a pipe: {}", e.desc()))?;
    match sys::fork().map_err(|e| format!("could not start a process: {}", e.desc()))? {
        ForkResult::Child => {
            drop(held);
            let why = become_first(program, &alive);
            sys::exit_now(super::failed(&why).into())
        }
        ForkResult::Parent { child } => {
            drop(alive);
            // It lies in the same namespaces as the program, and does nothing any more.
            let _ = prctl::set_dumpable(false);
            let _ = confine::drop_privileges();
            let status = sys::wait_for(child).map_err(|e| format!("could not wait: {}", e.desc()))?;
            drop(held);
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            Ok(u8::try_from(code).unwrap_or(u8::MAX))
        }
    }
}

/// A terminal belongs to one session, and the program is to begin its own: if this process leads the one that has it,
/// it lets go. The kernel tells the whole foreground group of that, which is this process.
fn release_terminal() -> nix::Result<()> {
    if tcgetsid(stdin().as_fd()) != Ok(getpid()) {
        return Ok(());
    }
    let before = sys::signal_action(Signal::SIGHUP, SigHandler::SigIgn)?;
    let released = sys::give_up_controlling_terminal(stdin().as_fd());
    sys::signal_action(Signal::SIGHUP, before)?;
    released
}

/// Terminals of its own: those that are there are other people's, who type into them. The one it was given, if it was
/// given one, stays open.
fn own_terminals() -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), "/dev/pts", Some("devpts"), flags, Some("newinstance,ptmxmode=0666,mode=0600"))
}

/// In the child: becomes the program. Comes back with the reason where it cannot. `alive` ends with the parent.
fn become_first(program: &Program, alive: &OwnedFd) -> String {
    let steps = || -> Result<(), (&str, nix::errno::Errno)> {
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| ("could not tie it to this process", e))?;
        // The parent's pid reads as 0 here, dead or alive.
        let mut fds = [PollFd::new(alive.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO) != Ok(0) {
            sys::exit_now(128 + libc::SIGKILL);
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).map_err(|e| ("could not mount '/proc'", e))?;
        own_terminals().map_err(|e| ("could not mount '/dev/pts'", e))?;
        confine::drop_privileges().map_err(|(step, e)| (step.what(), e))?;
        sys::close_on_exec_from(3);
        sys::default_signal_actions();
        SigSet::empty().thread_set_mask().map_err(|e| ("could not unblock signals", e))
    };
    if let Err((what, why)) = steps() {
        return format!("{what}: {}", why.desc());
    }
    match program.words.as_slice() {
        words @ [path, ..] => {
            let Err(why) = execve(path, words, &program.environment);
            format!("could not start '{}': {}", path.to_string_lossy(), why.desc())
        }
        [] => "there is no program to start".to_owned(),
    }
}
