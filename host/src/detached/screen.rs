//! What the terminal shows, and what has scrolled out of it: the emulator, and nothing of where the bytes come from.
//!
//! What it is fed is a stranger's. The emulator holds a bounded number of lines; it is built so that unended control
//! strings do not grow in it (see its features in the root `Cargo.toml`). Should it panic, a new one takes its place:
//! a screen is lost then, and neither the terminal nor the log.

use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};

use vt100::Parser;

/// Rows and columns before anybody attaches.
pub(super) const SIZE: (u16, u16) = (50, 200);
/// Lines kept of what scrolled out.
const SCROLLBACK: usize = 2000;
/// A client may claim to be of any size: memory grows with it.
const MAX_SIZE: u16 = 1000;

/// The emulator.
pub(super) struct Screen {
    parser: Parser,
    size: (NonZeroU16, NonZeroU16),
}

impl Screen {
    pub(super) fn new() -> Self {
        let size = (within(SIZE.0), within(SIZE.1));
        Self { parser: Parser::new(size.0, size.1, SCROLLBACK), size }
    }

    /// Shows what the command printed.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.guarded(|parser| parser.process(bytes));
    }

    /// Takes another size, within bounds, and answers which.
    pub(super) fn resize(&mut self, rows: u16, columns: u16) -> (u16, u16) {
        let size = (within(rows), within(columns));
        self.size = size;
        self.guarded(|parser| parser.screen_mut().set_size(size.0, size.1));
        (size.0.get(), size.1.get())
    }

    /// What draws the screen as it is on another terminal, modes of the keyboard and the mouse included.
    pub(super) fn redraw(&mut self) -> Vec<u8> {
        self.guarded(|parser| parser.screen().state_formatted()).unwrap_or_default().into_bytes()
    }

    /// The last lines as plain text, blank ones at the end left out.
    pub(super) fn text(&mut self, lines: usize) -> String {
        self.guarded(|parser| last_rows(parser, lines)).unwrap_or_default().join("\n")
    }

    fn guarded<T>(&mut self, work: impl FnOnce(&mut Parser) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut self.parser)));
        if done.is_err() {
            self.parser = Parser::new(self.size.0, self.size.1, SCROLLBACK);
        }
        done.ok()
    }
}

/// The last rows, blank ones at the end left out. Looks no further back than it has to: this is asked often.
fn last_rows(parser: &mut Parser, lines: usize) -> Vec<String> {
    let screen = parser.screen_mut();
    let (height, width) = screen.size();
    let (height, width, kept) = (usize::from(height.get()), width.get(), screen.scrollback_len());
    let mut newest_first: Vec<String> = Vec::new();
    let (mut above, mut shown) = (0, height);
    while newest_first.len() < lines && shown > 0 {
        let window: Vec<String> = screen.rows(0, width).take(shown).map(|row| plain(&row)).collect();
        for row in window.into_iter().rev() {
            if !(newest_first.is_empty() && row.is_empty()) {
                newest_first.push(row);
            }
        }
        shown = height.min(kept - above);
        above += shown;
        screen.set_scrollback(above);
    }
    screen.set_scrollback(0);
    newest_first.truncate(lines);
    newest_first.reverse();
    newest_first
}

fn plain(row: &str) -> String {
    let row: String = row.chars().filter(|c| !c.is_control()).collect();
    row.trim_end().to_owned()
}

fn within(cells: u16) -> NonZeroU16 {
    // The emulator has had faults with a single cell.
    NonZeroU16::new(cells.clamp(2, MAX_SIZE)).unwrap_or(NonZeroU16::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_was_shown_without_its_colours() {
        let mut screen = Screen::new();
        screen.take(b"one\r\n\x1b[1;31mtwo\x1b[0m  \r\n\x1b]0;title\x07three\x1b[?25l\r\n\r\n");
        assert_eq!(screen.text(100), "one\ntwo\nthree");
        assert_eq!(screen.text(2), "two\nthree");
        assert_eq!(screen.text(0), "");
    }

    #[test]
    fn what_scrolled_out_is_kept_in_order_and_bounded() {
        let mut screen = Screen::new();
        for line in 0..5000 {
            screen.take(format!("{line}\r\n").as_bytes());
        }
        let text = screen.text(usize::MAX);
        let lines: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert!(lines.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{lines:?}");
        assert_eq!(lines.last(), Some(&4999));
        assert_eq!(lines.len(), SCROLLBACK + usize::from(SIZE.0) - 1);
        // Looking back changes nothing of what is shown.
        screen.take(b"more");
        assert!(screen.text(1) == "more" && screen.redraw().windows(4).any(|w| w == b"more"));
    }

    #[test]
    fn no_size_and_no_bytes_break_it() {
        let mut screen = Screen::new();
        for size in [(0, 0), (1, 1), (u16::MAX, 2), (2, u16::MAX), (24, 80)] {
            let (rows, columns) = screen.resize(size.0, size.1);
            assert!((2..=MAX_SIZE).contains(&rows) && (2..=MAX_SIZE).contains(&columns));
            screen.take("wide 漢字 e\u{301}\x1b[999;999H\x1b[2S\x1b[5T\x1b[3L\x1b[?1049h\x1b[1;0r\nx".as_bytes());
            screen.text(10);
        }
        // A control string that never ends.
        screen.take(b"\x1b]0;");
        for _ in 0..1000 {
            screen.take(&[b'a'; 4096]);
        }
        screen.take(b"\x07\x1b[?1049l\x1bcgood");
        assert_eq!(screen.text(1), "good");
    }
}
