//! Carries bytes between the user's terminal and the guest's, on a thread of its own.
//!
//! The guest's end is non-blocking and its input is buffered and bounded, so a guest that does not read cannot keep its
//! own output from being shown. The user's terminal is only read when there is something to read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use color_eyre::eyre::{Result, WrapErr as _};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{read, write};
use tokio::sync::Notify;

use super::child::Running;
use super::terminal::{Terminal, UserTerminal, set_size};
use super::typing::{Listening, Typing};

/// Typed but not yet read by the guest; beyond this the user's keys wait in the terminal.
const MAX_INPUT: usize = 64 * 1024;

/// The thread and what it is told.
pub(super) struct Pump {
    user: Option<UserTerminal>,
    master: Arc<OwnedFd>,
    stop: Arc<EventFd>,
    hangup: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// Puts the user's terminal into raw mode and starts carrying. `typing` = what else is typed for the guest.
    pub(super) fn start(terminal: Terminal, typing: Option<Arc<Typing>>) -> Result<Self> {
        let (user, master) = terminal.into_ends();
        let flags = OFlag::from_bits_retain(fcntl(&master, FcntlArg::F_GETFL)?);
        fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let master = Arc::new(master);
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let hangup = Arc::new(Notify::new());
        user.raw().wrap_err("cannot put the terminal into raw mode")?;
        let thread = std::thread::Builder::new().name("terminal".into()).spawn({
            let (master, stop, hangup) = (Arc::clone(&master), Arc::clone(&stop), Arc::clone(&hangup));
            move || carry(&master, &stop, &hangup, typing.as_deref())
        })?;
        Ok(Self { user: Some(user), master, stop, hangup, thread: Some(thread) })
    }

    /// The user's terminal is given back for as long as we are stopped.
    pub(super) fn suspend(&self) {
        if let Some(user) = &self.user {
            user.restore();
        }
    }

    pub(super) fn resume(&self) {
        if let Some(user) = &self.user {
            let _closed = user.raw();
        }
    }

    /// Passes the user's terminal's size on.
    pub(super) fn resize(&self, running: &Running) {
        if let Some(size) = self.user.as_ref().and_then(UserTerminal::size) {
            set_size(self.master.as_fd(), &size);
            running.resize(size.ws_row, size.ws_col);
        }
    }

    /// Shows what is still there and gives the terminal back.
    pub(super) fn finish(mut self) {
        let _full = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
        drop(self.user.take());
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        let _full = self.stop.write(1);
    }
}

/// Waits until the user's terminal is gone; for ever without one.
pub(super) async fn hung_up(pump: Option<&Pump>) {
    match pump {
        Some(pump) => pump.hangup.notified().await,
        None => std::future::pending().await,
    }
}

fn carry(master: &OwnedFd, stop: &EventFd, hangup: &Notify, typing: Option<&Typing>) {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let mut listening = Listening::default();
    let (mut input, mut keys_open, mut screen_open) = (Vec::new(), true, true);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let mut to_guest = PollFlags::POLLIN;
        if !input.is_empty() {
            to_guest |= PollFlags::POLLOUT;
        }
        let room = input.len() < MAX_INPUT;
        let mut fds = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN), PollFd::new(master.as_fd(), to_guest)];
        // Without wish for its keys a hung-up terminal would wake us for ever.
        let keys = (room && keys_open).then(|| {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            fds.len() - 1
        });
        let sent = typing.filter(|_| room).map(|typing| {
            fds.push(PollFd::new(typing.wake(), PollFlags::POLLIN));
            fds.len() - 1
        });
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        let ready = |i: usize| fds[i].revents().unwrap_or(PollFlags::empty());
        let (stopped, guest) = (!ready(0).is_empty(), ready(1));
        let typed = keys.map_or(PollFlags::empty(), ready);
        if let Some(typing) = typing
            && sent.is_some_and(|i| !ready(i).is_empty())
        {
            typing.take(&mut input, MAX_INPUT);
        }
        if guest.contains(PollFlags::POLLOUT) {
            match write(master, &input) {
                Ok(n) => drop(input.drain(..n)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => input.clear(),
            }
        }
        if guest.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) || stopped {
            match read(master, &mut chunk) {
                // An end that nobody holds open is the guest's last word.
                Ok(0) | Err(Errno::EIO) => return,
                Ok(n) if screen_open => {
                    if let Some(typing) = typing {
                        listening.printed(&chunk[..n], typing);
                    }
                    if show(stdout.as_fd(), &chunk[..n]).is_err() {
                        screen_open = false;
                        hangup.notify_one();
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) if stopped => return,
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => return,
            }
        }
        if keys_open && !typed.is_empty() {
            match read(&stdin, &mut chunk) {
                Ok(0) | Err(Errno::EIO) => {
                    keys_open = false;
                    hangup.notify_one();
                }
                Ok(n) => input.extend_from_slice(&chunk[..n]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => keys_open = false,
            }
        }
    }
}

/// Writes it all, also where the shell left the terminal non-blocking.
pub(crate) fn show(screen: BorrowedFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match write(screen, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::EAGAIN) => {
                poll(&mut [PollFd::new(screen, PollFlags::POLLOUT)], PollTimeout::NONE)?;
            }
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
