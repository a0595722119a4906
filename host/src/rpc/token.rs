//! The secret that a run's guest shows before anything else (P43, P44).
//!
//! A token lives in memory and in the guest's environment, never in an argument, a log or an error text.

use std::{fmt, io};

const DIGITS: usize = 64;

/// 256 random bits as lower-case hex. Each run has its own, and it dies with the run.
pub struct Token([u8; DIGITS]);

impl Token {
    /// A new one from the operating system.
    pub fn fresh() -> io::Result<Self> {
        let mut bits = [0; DIGITS / 2];
        getrandom::fill(&mut bits).map_err(io::Error::other)?;
        let mut digits = [0; DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bits) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        Ok(Self(digits))
    }

    /// The secret itself, for the guest's environment and nothing else.
    pub fn reveal(&self) -> &str {
        // Hex digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether `given` is this token, in the same time for every wrong one.
    pub fn is(&self, given: &str) -> bool {
        // A length is no secret: copying what was given depends on the asker's own input only.
        let mut padded = [0; DIGITS];
        let shown = &given.as_bytes()[..given.len().min(DIGITS)];
        padded[..shown.len()].copy_from_slice(shown);
        same(&self.0, &padded, |_| {}) & (given.len() == DIGITS)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if crate::mutant::off("p44_unprinted") { self.reveal() } else { "Token(…)" })
    }
}

/// Compares every byte, whatever the first ones say. `looked_at` lets a test see that.
fn same(ours: &[u8; DIGITS], given: &[u8; DIGITS], mut looked_at: impl FnMut(usize)) -> bool {
    let mut difference = 0;
    for at in 0..DIGITS {
        looked_at(at);
        difference |= std::hint::black_box(ours[at] ^ given[at]);
        if crate::mutant::off("p43_token") && difference != 0 {
            return false;
        }
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p43_tokens_are_64_hex_digits_and_never_the_same() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let token = Token::fresh().unwrap();
            let text = token.reveal().to_owned();
            assert_eq!(text.len(), 64);
            assert!(text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{text}");
            assert!(token.is(&text));
            assert!(seen.insert(text));
        }
    }

    #[test]
    fn p43_only_the_whole_token_is_the_token() {
        let token = Token::fresh().unwrap();
        let text = token.reveal().to_owned();
        let mut longer = text.clone();
        longer.push('0');
        for wrong in ["", "0", &text[..63], &text[1..], &longer, &text.to_uppercase().replace(char::is_numeric, "F")] {
            assert!(!token.is(wrong), "{wrong}");
        }
        assert!(!token.is(&"\0".repeat(64)) && !token.is(&"x".repeat(1 << 20)));
    }

    #[test]
    fn p43_every_wrong_token_is_read_to_its_end() {
        let token = Token::fresh().unwrap();
        for wrong_at in [0, 1, 31, 62, 63] {
            let mut given = token.0;
            given[wrong_at] ^= 1;
            let mut count = 0;
            assert!(!same(&token.0, &given, |_| count += 1));
            assert_eq!(count, DIGITS, "a token wrong at {wrong_at}");
        }
    }

    #[test]
    fn p44_a_token_does_not_print_itself() {
        let token = Token::fresh().unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
