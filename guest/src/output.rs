//! Everything the guest program prints, in one place, and how an error looks.
//!
//! A stream that is closed is nobody's concern here: the exit code carries the result.

use std::io::{self, Write};

/// One line on standard output.
pub(crate) fn line(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// One line on standard error.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// An error of ours on standard error: what failed and, where known, why. Answers the exit code 1.
pub(crate) fn error(what: &str, why: Option<&str>) -> u8 {
    note(&format!("Error: {}", printable(what)));
    if let Some(why) = why {
        note(&format!("\nCaused by:\n    {}", printable(why)));
    }
    1
}

/// An error in how the program was called. Answers the exit code 2.
pub(crate) fn usage(what: &str) -> u8 {
    error(what, None);
    note("\nFor more information, try '--help'.");
    2
}

/// The text without what would move a terminal's cursor: it may hold names that nobody has checked.
pub(crate) fn printable(text: &str) -> String {
    clean(text, |c| c == '\n' || c == '\t')
}

/// As [`printable`], for a place where a line must stay one.
pub(crate) fn printable_line(text: &str) -> String {
    clean(text, |_| false)
}

fn clean(text: &str, stays: fn(char) -> bool) -> String {
    text.chars().map(|c| if c.is_control() && !stays(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
