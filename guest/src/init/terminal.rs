//! The terminal on standard input: making it ours, and making a process group its foreground.
//!
//! Three situations, one rule. A container engine makes its first process a session leader that already owns the
//! terminal; a sandbox on the user's own terminal lies inside a session that began outside (its id reads as 0 here)
//! and must stay in it to keep job control; a fresh pty belongs to nobody. So: leave a terminal alone that is ours
//! already, else begin a session and take it.

use std::io::stdin;
use std::os::fd::AsFd;

use nix::sys::termios::tcgetsid;
use nix::unistd::{Pid, getpid, setpgid, setsid, tcsetpgrp};

/// Makes the terminal the controlling terminal of this process's session.
pub(super) fn acquire() -> nix::Result<()> {
    let terminal = stdin();
    if tcgetsid(terminal.as_fd()).is_ok() {
        return Ok(());
    }
    // Fails for a group leader; if that leads a session too, the terminal can still be taken.
    let _ = setsid();
    crate::sys::take_controlling_terminal(terminal.as_fd())
}

/// In the child: a process group of its own, in the terminal's foreground.
pub(super) fn enter_foreground() -> nix::Result<()> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    make_foreground(getpid())
}

/// Makes this group the one that reads from the terminal and gets its Ctrl-C.
pub(super) fn make_foreground(group: Pid) -> nix::Result<()> {
    tcsetpgrp(stdin().as_fd(), group)
}
