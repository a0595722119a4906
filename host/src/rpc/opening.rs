//! The first line of a connection: who is there (P43, P47), and which version it speaks (P50).

use workmux_guest::words::{Code, PROTOCOL};

use super::json::{Value, object};
use super::limits::Limits;
use super::{Refusal, Token};

/// Oldest version this host still speaks.
const OLDEST: i64 = 1;

/// Whether what has arrived so far can become a first line of ours. Other protocols are told so at their first byte.
pub(super) fn plausible(so_far: &[u8]) -> bool {
    match so_far.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r')) {
        None => true,
        Some(byte) => *byte == b'{',
    }
}

/// The refusal of a first line that is not ours at all.
pub(super) fn not_ours() -> Refusal {
    Refusal::new(Code::Malformed, r#"the first line must be {"token":"…"}"#)
}

/// Checks the first line. `Some` = the guest offered a version and is told this one.
pub(super) fn check(line: &[u8], token: &Token, limits: &Limits) -> Result<Option<u32>, Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| not_ours())?;
    let mut fields = object(line, limits)?;
    let mut take = |name: &str| fields.iter().position(|(n, _)| n == name).map(|at| fields.swap_remove(at).1);
    let Some(Value::Text(given)) = take("token") else { return Err(not_ours()) };
    if !token.is(&given) && !crate::mutant::off("p45_own_token") {
        // Guests know this text.
        return Err(Refusal::new(Code::Auth, "Invalid token"));
    }
    match take("protocol") {
        None => Ok(None),
        Some(Value::Whole(offered)) if offered >= OLDEST || crate::mutant::off("p50_version") => {
            Ok(Some(u32::try_from(offered).unwrap_or(u32::MAX).min(PROTOCOL)))
        }
        Some(Value::Whole(offered)) => Err(Refusal::new(
            Code::Version,
            format!("the guest offers protocol {offered}, this host speaks {OLDEST} to {PROTOCOL}"),
        )),
        Some(_) => Err(Refusal::new(Code::BadField, "field 'protocol' must be a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p50_versions_are_agreed_on_or_both_named() {
        let token = Token::fresh().unwrap();
        let ask = |more: &str| {
            check(format!(r#"{{"token":"{}"{more}}}"#, token.reveal()).as_bytes(), &token, &Limits::default())
        };
        assert_eq!(ask(""), Ok(None));
        assert_eq!(ask(r#","client":"old","extra":[1]"#), Ok(None));
        assert_eq!(ask(r#","protocol":1"#), Ok(Some(1)));
        assert_eq!(ask(r#","protocol":7"#), Ok(Some(PROTOCOL)));
        assert_eq!(ask(r#","protocol":9000000000000"#), Ok(Some(PROTOCOL)));
        let refusal = ask(r#","protocol":0"#).unwrap_err();
        assert_eq!(refusal.code, Code::Version);
        assert!(refusal.message.contains("protocol 0") && refusal.message.contains("1 to 1"), "{refusal}");
        assert_eq!(ask(r#","protocol":"1""#).unwrap_err().code, Code::BadField);
        assert_eq!(ask(r#","protocol":1e999"#).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn p47_the_first_byte_tells_another_protocol() {
        for (bytes, ours) in [
            (&b""[..], true),
            (b" \t\r", true),
            (b"  {\"tok", true),
            (b"GET / HTTP/1.1\r\n", false),
            (b"\x16\x03\x01", false),
            (b"\n{", false),
            (b"\xef\xbb\xbf{", false),
        ] {
            assert_eq!(plausible(bytes), ours, "{bytes:?}");
        }
    }
}
