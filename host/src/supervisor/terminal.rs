//! The user's terminal during a run: the guest gets a terminal of its own, and the user's is put into raw mode and
//! back.
//!
//! A guest never holds a descriptor of the user's terminal: it could push input into it or leave it broken. The pair
//! made here is the guest's (`pipes` serves runs that are not interactive); `pump` carries the bytes. However a run ends,
//! [`UserTerminal`] restores the mode and takes the foreground back.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use color_eyre::eyre::{Result, WrapErr as _};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcsetpgrp};

/// Whether this run is for a person: standard input and output are both terminals.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The rows and columns of the terminal on standard input.
pub fn terminal_size() -> Option<(u16, u16)> {
    size_of(io::stdin().as_fd()).map(|size| (size.ws_row, size.ws_col))
}

/// The guest's terminal and the user's, before the command runs.
pub(super) struct Terminal {
    user: UserTerminal,
    master: OwnedFd,
    slave: File,
}

impl Terminal {
    /// Makes the guest's terminal like the user's. The user's is not changed yet.
    pub(super) fn take() -> Result<Self> {
        let user = UserTerminal::open().wrap_err("cannot read the terminal's mode")?;
        let size = user.size();
        let OpenptyResult { master, slave } =
            openpty(size.as_ref(), &user.saved).wrap_err("cannot make a terminal for the sandbox")?;
        for fd in [master.as_fd(), slave.as_fd()] {
            use nix::fcntl::{FcntlArg, FdFlag, fcntl};
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        Ok(Self { user, master, slave: slave.into() })
    }

    /// The guest's standard input, output and error; the last is absent where the user sent it elsewhere.
    pub(super) fn guest_side(&self) -> io::Result<(OwnedFd, OwnedFd, Option<OwnedFd>)> {
        let slave = || self.slave.try_clone().map(OwnedFd::from);
        Ok((slave()?, slave()?, if io::stderr().is_terminal() { Some(slave()?) } else { None }))
    }

    /// The user's terminal and our end of the guest's. Our copy of the guest's end is closed.
    pub(super) fn into_ends(self) -> (UserTerminal, OwnedFd) {
        (self.user, self.master)
    }
}

/// The user's terminal, restored when dropped.
pub(crate) struct UserTerminal {
    saved: Termios,
}

impl UserTerminal {
    /// The one on standard input, as it is now.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { saved: tcgetattr(io::stdin())? })
    }

    /// Keys go to the guest as bytes.
    pub(crate) fn raw(&self) -> io::Result<()> {
        let mut raw = self.saved.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(())
    }

    /// As it was found, with us in the foreground.
    pub(crate) fn restore(&self) {
        // From the background the kernel would stop us for trying.
        let mut blocked = SigSet::empty();
        blocked.add(Signal::SIGTTOU);
        let mut before = SigSet::empty();
        let _always = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut before));
        let _closed = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.saved);
        let _closed = tcsetpgrp(io::stdin(), getpgrp());
        let _always = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }

    pub(crate) fn size(&self) -> Option<Winsize> {
        size_of(io::stdin().as_fd())
    }
}

impl Drop for UserTerminal {
    fn drop(&mut self) {
        self.restore();
    }
}

#[expect(unsafe_code, reason = "terminal sizes have no safe wrapper in nix")]
fn size_of(fd: BorrowedFd) -> Option<Winsize> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call fills exactly this structure.
    (unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } == 0).then_some(size)
}

/// Gives the guest's terminal a size; its foreground group gets the signal from the kernel.
#[expect(unsafe_code, reason = "terminal sizes have no safe wrapper in nix")]
pub(crate) fn set_size(master: BorrowedFd, size: &Winsize) {
    // SAFETY: the call reads exactly this structure. Failing means the guest is gone.
    let _gone = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(size)) };
}
