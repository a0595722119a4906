//! Quoting: as Go's `%q` and `%#q` for messages, as `shellescape` for what a shell in the guest reads.

/// As `%q`.
pub(crate) fn double(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// As `%#q`.
pub(crate) fn back(text: &str) -> String {
    let plain = text.chars().all(|c| c != '`' && (c == '\t' || !c.is_control()));
    if plain { format!("`{text}`") } else { double(text) }
}

/// One word for a POSIX shell.
pub(crate) fn shell(word: &[u8]) -> Vec<u8> {
    if word.is_empty() {
        return b"''".to_vec();
    }
    if word.iter().all(|b| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(b)) {
        return word.to_vec();
    }
    let mut quoted = b"'".to_vec();
    for b in word {
        match b {
            b'\'' => quoted.extend_from_slice(b"'\"'\"'"),
            b => quoted.push(*b),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_quotes() {
        assert_eq!(double("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\x01é\"");
        assert_eq!(back("x"), "`x`");
        assert_eq!(back("a`b"), "\"a`b\"");
    }

    #[test]
    fn a_shell_reads_one_word() {
        assert_eq!(shell(b""), b"''");
        assert_eq!(shell(b"a/b=c"), b"a/b=c");
        assert_eq!(shell(b"it's $x"), b"'it'\"'\"'s $x'");
    }
}
