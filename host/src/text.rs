//! Text that is not ours, made fit to show: from guests, repositories, plugins and engines.
//!
//! Everything printed or handed to the multiplexer that came from outside goes through here first. Nothing here
//! protects a *value*: paths, refs and arguments travel as bytes, and are cleaned only where a person reads them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Longest title, in characters.
pub const MAX_TITLE: usize = 120;
/// Longest single line shown, in characters.
pub const MAX_LINE: usize = 400;
/// Longest multi-line text shown, in characters.
pub const MAX_BLOCK: usize = 16 * 1024;

/// A window title out of what a guest asked for, or nothing when nothing is left of it.
///
/// `#` is removed, not escaped: a multiplexer may expand a stored literal later, in the user's own status line.
pub fn title(text: &str) -> Option<String> {
    let keeps_hash = crate::mutant::off("p1_title");
    let without: String = text.chars().filter(|&c| c != '#' || keeps_hash).collect();
    let title: String = one_line(&without).chars().take(MAX_TITLE).collect();
    let title = title.trim_end();
    (!title.is_empty()).then(|| title.to_owned())
}

/// One printable line: no control characters, no runs of blanks that could look like columns, bounded.
pub fn line(text: &str) -> String {
    shorten(one_line(&without_sequences(text)), MAX_LINE)
}

/// A guest's text as one line of at most so many characters: white space becomes single blanks, what a terminal would
/// act on is gone. Only the beginning of a longer text is looked at.
pub fn short(text: &str, most: usize) -> String {
    let head: String = text.chars().take(most.saturating_mul(4)).collect();
    one_line(&head).chars().take(most).collect()
}

/// Several printable lines, such as a tool's error output: line ends and tabs stay, control characters go. When it is
/// too long its end is kept, because that is where tools say what went wrong.
pub fn block(text: &str) -> String {
    let visible = lines(text);
    match visible.chars().count().checked_sub(MAX_BLOCK) {
        None | Some(0) => visible,
        Some(surplus) => format!("…{}", visible.chars().skip(surplus).collect::<String>()),
    }
}

/// As [`block`], for a caller with a bound of its own.
pub fn lines(text: &str) -> String {
    let plain = without_sequences(text).replace("\r\n", "\n").replace('\r', "\n");
    let visible: String = plain.chars().filter(|&c| matches!(c, '\n' | '\t') || !hidden(c)).collect();
    visible.trim_end().to_owned()
}

/// The whole text with everything invisible spelled out: what a person is asked to agree to. Continued lines are
/// indented, so that none can pass for the start of something else.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\n  "),
            c if hidden(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// A word as a person would type it into a shell. Only for showing: no shell ever gets text of ours.
pub fn quote(word: &OsStr) -> String {
    let bytes = word.as_bytes();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(b);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    match word.to_str() {
        Some(text) if !text.chars().any(hidden) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => format!("$'{}'", bytes.utf8_chunks().map(escape_chunk).collect::<String>()),
    }
}

/// The alphabet of handles and of every name derived from them: `a–z`, `0–9` and single dashes. May be empty.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        let ascii = if c.is_ascii() { None } else { deunicode::deunicode_char(c) };
        let mut utf8 = [0; 4];
        for c in ascii.unwrap_or(c.encode_utf8(&mut utf8)).chars() {
            match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9') => slug.push(c),
                c if crate::mutant::off("p2_slug") => slug.push(c),
                _ if slug.ends_with('-') || slug.is_empty() => {}
                _ => slug.push('-'),
            }
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// Characters that change what a reader sees without being seen: C0, DEL, C1, bidi controls, line separators.
fn hidden(c: char) -> bool {
    if crate::mutant::off("p3_hidden") {
        return false;
    }
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Line ends and other white space as single blanks, without what is hidden.
fn one_line(text: &str) -> String {
    let visible: String =
        text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|&c| !hidden(c)).collect();
    visible.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn shorten(text: String, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text,
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// Drops whole terminal sequences, so that colour codes do not leave their letters behind.
fn without_sequences(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\u{1b}', Some('[')) => {
                rest.next();
                // The final byte ends a sequence; anything that cannot belong to one does too, and stays.
                while rest.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                rest.next_if(|c| matches!(c, '@'..='~'));
            }
            ('\u{1b}', Some(']')) => {
                while rest.next_if(|c| !matches!(c, '\u{7}' | '\u{1b}' | '\n')).is_some() {}
                if rest.next_if_eq(&'\u{1b}').is_some() {
                    rest.next_if_eq(&'\\');
                }
            }
            _ => plain.push(c),
        }
    }
    plain
}

fn escape_chunk(chunk: std::str::Utf8Chunk) -> String {
    let mut escaped = String::new();
    for c in chunk.valid().chars() {
        match c {
            '\n' => escaped.push_str(r"\n"),
            '\t' => escaped.push_str(r"\t"),
            '\'' | '\\' => escaped.extend(['\\', c]),
            c if hidden(c) => {
                let mut utf8 = [0; 4];
                escaped.extend(c.encode_utf8(&mut utf8).bytes().map(|b| format!(r"\x{b:02x}")));
            }
            c => escaped.push(c),
        }
    }
    escaped.extend(chunk.invalid().iter().map(|b| format!(r"\x{b:02x}")));
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p1_a_title_keeps_no_format_and_no_control() {
        for (raw, clean) in [
            ("fix #(touch /tmp/x) now", "fix (touch /tmp/x) now"),
            ("##{pane_pid}#[fg=red]", "{pane_pid}[fg=red]"),
            ("a\u{1b}]0;evil\u{7}b\u{9b}31m", "a]0;evilb31m"),
            ("left\u{202e}right\u{2066}\u{200f}\u{2028}x", "leftright x"),
            ("fix\tthe \r\n build\u{85}now", "fix the build now"),
            ("  many \u{a0}\u{3000} blanks  ", "many blanks"),
            ("del\u{7f}ete", "delete"),
        ] {
            assert_eq!(title(raw).as_deref(), Some(clean), "{raw:?}");
        }
        for nothing in ["", "  ", "###", "#\u{1b}\n\u{2029}#"] {
            assert_eq!(title(nothing), None, "{nothing:?}");
        }
        assert_eq!(title(&"é".repeat(500)).unwrap().chars().count(), MAX_TITLE);
    }

    #[test]
    fn p3_no_printed_text_holds_a_control_character() {
        let everything: String = (0..=0x2100).filter_map(char::from_u32).collect();
        // Not by the function under test.
        let foul = |c: char| {
            let steers = "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}";
            c.is_control() || steers.contains(c) || ('\u{2066}'..='\u{2069}').contains(&c)
        };
        assert!(!line(&everything).chars().any(foul));
        assert!(!block(&everything).chars().any(|c| foul(c) && !"\n\t".contains(c)));
        assert!(!quote(OsStr::new(&everything)).chars().any(foul));
    }

    #[test]
    fn a_line_stays_one_line_without_false_columns() {
        assert_eq!(line("name\t\t  Running\r\n\u{1b}[31mred\u{1b}[0m"), "name Running red");
        assert_eq!(line(&"x".repeat(5000)).chars().count(), MAX_LINE + 1);
    }

    #[test]
    fn a_block_keeps_its_lines_and_its_end() {
        assert_eq!(block("one\r\ntwo\rthree\n\u{1b}]0;title\u{7}\tfour\u{8}\n\n"), "one\ntwo\nthree\n\tfour");
        let long = format!("{}the reason", "noise\n".repeat(10_000));
        assert!(block(&long).ends_with("the reason"));
        assert_eq!(block(&long).chars().count(), MAX_BLOCK + 1);
    }

    #[test]
    fn quoting_shows_what_to_type() {
        for (raw, shown) in [
            (&b"/plain/path-1.x"[..], "/plain/path-1.x"),
            (b"", "''"),
            (b"two words", "'two words'"),
            (b"it's", r"'it'\''s'"),
            (b"$(x)\xff'", r"$'$(x)\xff\''"),
            (b"a\nb\x1b", r"$'a\nb\x1b'"),
        ] {
            assert_eq!(quote(OsStr::from_bytes(raw)), shown);
        }
    }

    #[test]
    fn p2_a_slug_has_its_own_alphabet() {
        for (raw, slugged) in [
            ("prj-4120/create-tags", "prj-4120-create-tags"),
            ("Größe ÄÖ", "grosse-ao"),
            ("--x__$(touch${IFS}y)--", "x-touch-ifs-y"),
            ("北京", "bei-jing"),
            ("\u{10ffff}#", ""),
        ] {
            assert_eq!(slug(raw), slugged, "{raw}");
        }
    }
}
