//! Text that somebody else than the user types for a guest: it goes into the guest's terminal and nowhere else, so that
//! it can never reach a shell of the host's, whatever the window shows by then.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Waiting to be typed; more is refused until the guest has read some.
pub const MOST: usize = 1024 * 1024;
/// What a program prints to have pasted text marked as such, and to have it no more.
const MARKS: [(&[u8], bool); 2] = [(b"\x1b[?2004h", true), (b"\x1b[?2004l", false)];
const LONGEST_MARK: usize = 8;

/// The guest does not read what is typed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not read what is typed for it")]
pub struct Full;

/// What is to be typed, shared by who types and who carries.
#[derive(Debug)]
pub struct Typing {
    queue: Mutex<VecDeque<u8>>,
    wake: EventFd,
    /// The program in the terminal wants pasted text marked.
    marked: AtomicBool,
}

impl Typing {
    /// Nothing typed yet.
    pub fn new() -> io::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { queue: Mutex::default(), wake, marked: AtomicBool::new(false) })
    }

    /// Types a text and the Return key after it, as one paste where the program knows pastes.
    pub fn enter(&self, text: &[u8]) -> Result<(), Full> {
        let keys = keys(text, self.marked.load(Ordering::Relaxed));
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() + keys.len() > MOST + LONGEST_MARK * 2 {
            return Err(Full);
        }
        queue.extend(keys);
        drop(queue);
        let _full = self.wake.write(1);
        Ok(())
    }

    /// Readable when there is something to take.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The next keys, at most so many; answers whether there are more.
    pub(super) fn take(&self, input: &mut Vec<u8>, most: usize) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.len().min(most);
        input.extend(queue.drain(..count));
        if queue.is_empty() {
            let _none = self.wake.read();
        }
        !queue.is_empty()
    }
}

/// The bytes of these keys.
fn keys(text: &[u8], marked: bool) -> Vec<u8> {
    if marked {
        return [b"\x1b[200~", text, b"\x1b[201~\r"].concat();
    }
    // The key of a terminal that ends a line.
    let mut keys: Vec<u8> = text.iter().map(|b| if *b == b'\n' { b'\r' } else { *b }).collect();
    keys.push(b'\r');
    keys
}

/// Follows what a program prints, to know whether it wants pastes marked.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// The end of what was printed last, where a mark may begin.
    rest: Vec<u8>,
}

impl Listening {
    /// The program printed this.
    pub(super) fn printed(&mut self, bytes: &[u8], typing: &Typing) {
        self.rest.extend_from_slice(bytes);
        let last = MARKS
            .iter()
            .filter_map(|(mark, wanted)| Some((memchr::memmem::rfind(&self.rest, mark)?, *wanted)))
            .max_by_key(|(at, _)| *at);
        if let Some((_, wanted)) = last {
            typing.marked.store(wanted, Ordering::Relaxed);
        }
        let keep = self.rest.len().saturating_sub(LONGEST_MARK - 1);
        self.rest.drain(..keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_knows_pastes_gets_one() {
        let typing = Typing::new().unwrap();
        let mut listening = Listening::default();
        let typed = |text: &[u8]| {
            let mut input = Vec::new();
            typing.enter(text).unwrap();
            assert!(!typing.take(&mut input, usize::MAX));
            String::from_utf8(input).unwrap()
        };
        assert_eq!(typed(b"one\ntwo"), "one\rtwo\r");
        for part in [&b"hello\x1b[?20"[..], b"04", b"h there"] {
            listening.printed(part, &typing);
        }
        assert_eq!(typed(b"one\ntwo"), "\x1b[200~one\ntwo\x1b[201~\r");
        listening.printed(b"\x1b[?2004l bye", &typing);
        assert_eq!(typed(b"x"), "x\r");
    }

    #[test]
    fn p51_who_does_not_read_gets_no_more() {
        let typing = Typing::new().unwrap();
        typing.enter(&vec![b'x'; MOST]).unwrap();
        assert_eq!(typing.enter(&[b'x'; 64]), Err(Full));
        let mut input = Vec::new();
        assert!(typing.take(&mut input, 10) && input.len() == 10);
    }
}
