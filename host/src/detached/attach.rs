//! A person's terminal joined to a background terminal: keys go there, output comes here, `Ctrl-b d` leaves.
//!
//! The person's terminal shows it on its alternate screen and is given back as it was: its mode by
//! [`UserTerminal`], and what the command may have switched on (mouse, pasting, keypad, a hidden cursor) by [`BACK`].

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};

use super::client::{self, Silence};
use super::wire::{self, Kind};
use super::{ANSWER, Detached, Error, watched};
use crate::supervisor::{Signals, Sudden, UserTerminal, is_interactive, show, stop_ourselves};
use crate::ui;

/// A screen of our own.
const OVER: &[u8] = b"\x1b[?1049h\x1b[H\x1b[J";
/// Everything as most programs expect it, and the screen from before.
const BACK: &[u8] =
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?1l\x1b>\x1b[r\x1b[m\x1b[?25h\x1b[?1049l";

const WHAT: &str = "be attached";

/// How an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The user left; the command runs on.
    Detached,
    /// The command ended.
    Ended,
}

pub(super) fn attach(detached: &Detached) -> Result<Left, Error> {
    if !is_interactive() {
        return Err(Error::NoTerminal);
    }
    let lost = |source| Error::Lost { what: WHAT, source };
    let stream = client::open(&detached.directory, ANSWER).map_err(|why| detached.silent(WHAT, why))?;
    stream.set_nonblocking(true).map_err(lost)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(lost)?;
    let left = {
        let shown = Shown::begin().map_err(lost)?;
        let left = runtime.block_on(carry(stream, &shown.0));
        runtime.shutdown_background();
        left
    };
    let left = left.map_err(|e| detached.silent(WHAT, Silence::from(e)))?;
    ui::note(match left {
        Left::Detached => "detached",
        Left::Ended => "the command has ended",
    });
    Ok(left)
}

/// The user's terminal while it shows the other one.
struct Shown(UserTerminal);

impl Shown {
    fn begin() -> io::Result<Self> {
        let shown = Self(UserTerminal::open()?);
        shown.0.raw()?;
        show(io::stdout().as_fd(), OVER)?;
        Ok(shown)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // The mode follows, by the terminal's own drop.
        let _closed = show(io::stdout().as_fd(), BACK);
    }
}

async fn carry(stream: std::os::unix::net::UnixStream, user: &UserTerminal) -> io::Result<Left> {
    let mut signals = Signals::install()?;
    let keys = watched(io::stdin().as_fd().try_clone_to_owned()?, Interest::READABLE)?;
    let (mut from, mut to) = tokio::net::UnixStream::from_std(stream)?.into_split();
    let size = || user.size().map_or((24, 80), |size| (size.ws_row, size.ws_col));
    let announce = |kind| {
        let (rows, columns) = size();
        wire::frame(kind, &wire::size(rows, columns))
    };
    to.write_all(&announce(Kind::Attach)).await?;
    let (mut received, mut escape) = (Vec::new(), Escape::default());
    loop {
        tokio::select! {
            read = from.read_buf(&mut received) => {
                // Also where its supervisor was killed.
                if read? == 0 {
                    return Ok(Left::Ended);
                }
                while let Some(output) = wire::split(&mut received, wire::MAX_ANSWER)? {
                    show(io::stdout().as_fd(), &output.payload)?;
                }
            }
            typed = typed(&keys) => {
                let typed = typed?;
                let (keys, leave) = escape.take(&typed);
                if !keys.is_empty() {
                    to.write_all(&wire::frame(Kind::Type, &keys)).await?;
                }
                if leave || typed.is_empty() {
                    return Ok(Left::Detached);
                }
            }
            sudden = signals.next() => match sudden {
                Sudden::End(_) => return Ok(Left::Detached),
                Sudden::Resize => to.write_all(&announce(Kind::Resize)).await?,
                Sudden::Stop => {
                    show(io::stdout().as_fd(), BACK)?;
                    user.restore();
                    stop_ourselves();
                    user.raw()?;
                    show(io::stdout().as_fd(), OVER)?;
                    // What the screen shows comes again with the command's answer to a size.
                    to.write_all(&announce(Kind::Resize)).await?;
                }
            },
        }
    }
}

/// What was typed; nothing when the terminal is gone. Cancel-safe.
async fn typed(keys: &AsyncFd<OwnedFd>) -> io::Result<Vec<u8>> {
    loop {
        let mut ready = keys.readable().await?;
        // The terminal stays as it is for others who have it: a blocking one, of which only what is there is read.
        if poll(&mut [PollFd::new(keys.get_ref().as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? == 0 {
            ready.clear_ready();
            continue;
        }
        let mut chunk = vec![0; 16 * 1024];
        match read(keys.get_ref(), &mut chunk) {
            Ok(n) => {
                chunk.truncate(n);
                return Ok(chunk);
            }
            Err(Errno::EIO) => return Ok(Vec::new()),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Looks for the keys that leave. Everything else goes through, also what begins like them.
#[derive(Default)]
struct Escape {
    begun: bool,
}

impl Escape {
    const PREFIX: u8 = 0x02;

    /// What to type, and whether to leave afterwards.
    fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut keys = Vec::with_capacity(typed.len() + 1);
        for key in typed {
            match (std::mem::take(&mut self.begun), *key) {
                (true, b'd') => return (keys, true),
                // Twice is once.
                (true, Self::PREFIX) => keys.push(Self::PREFIX),
                (true, other) => keys.extend([Self::PREFIX, other]),
                (false, Self::PREFIX) => self.begun = true,
                (false, other) => keys.push(other),
            }
        }
        (keys, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_keys_leave_and_everything_else_is_typed() {
        let mut escape = Escape::default();
        assert_eq!(escape.take(b"ab\x02"), (b"ab".to_vec(), false));
        assert_eq!(escape.take(b"x\x02\x02y"), (b"\x02x\x02y".to_vec(), false));
        assert_eq!(escape.take(b"d\x02"), (b"d".to_vec(), false));
        assert_eq!(escape.take(b"drest"), (Vec::new(), true));
    }
}
