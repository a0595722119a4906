//! Object names and ref names: what git calls things, checked before anybody uses them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a repository hashes its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectFormat {
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
}

impl ObjectFormat {
    /// Bytes of one object name.
    pub fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// As `extensions.objectFormat` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
}

/// The name of an object: lower-case hex of the repository's length, never all zeros.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Oid(String);

impl Oid {
    /// `text` as an object name, if it is one.
    pub fn parse(text: &[u8], format: ObjectFormat) -> Option<Self> {
        let hex = text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let real = hex && text.len() == format.bytes() * 2 && text.iter().any(|&b| b != b'0');
        real.then(|| Self(String::from_utf8_lossy(text).into_owned()))
    }

    /// The name of these raw bytes.
    pub(super) fn from_raw(raw: &[u8]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(raw.len() * 2);
        for byte in raw {
            let _infallible = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The bytes it stands for.
    pub(super) fn to_raw(&self) -> Vec<u8> {
        let digit = |b: u8| if b <= b'9' { b - b'0' } else { b - b'a' + 10 };
        self.0.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As much of it as a person reads.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest ref name taken from a guest.
const LONGEST: usize = 200;
/// Directories below `refs` that such a name can have: every one takes a letter and a slash.
pub(super) const DEEPEST: usize = LONGEST / 2;

/// Whether git itself would take `name` as a full ref name.
pub fn is_ref_name(name: &str) -> bool {
    let forbidden = |b: u8| b <= b' ' || b == 0x7f || b"~^:?*[\\".contains(&b);
    name.starts_with("refs/")
        && !name.bytes().any(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

/// Whether a guest may bring `name` into existence on the host: git's rules and a plain alphabet.
pub fn is_plain_ref_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._/+@=-".contains(&b);
    let short = name.split_once('/').and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, short)| short);
    is_ref_name(name)
        && name.len() <= LONGEST
        && name.bytes().all(plain)
        && name.split('/').all(|part| !part.starts_with('-'))
        && !matches!(short, "" | "HEAD" | "@")
        && !short.starts_with("refs/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_object_names_are_object_names() {
        let good = "0123456789abcdef0123456789abcdef01234567";
        assert!(Oid::parse(good.as_bytes(), ObjectFormat::Sha1).is_some());
        assert!(Oid::parse(good.as_bytes(), ObjectFormat::Sha256).is_none());
        assert!(Oid::parse(good.to_uppercase().as_bytes(), ObjectFormat::Sha1).is_none());
        assert!(Oid::parse(&[b'0'; 40], ObjectFormat::Sha1).is_none());
        assert!(Oid::parse(format!("{}/", &good[..39]).as_bytes(), ObjectFormat::Sha1).is_none());
    }

    #[test]
    fn p6_ref_tricks_are_refused() {
        let hostile = [
            "refs/heads/",
            "refs/heads/HEAD",
            "refs/heads/@",
            "refs/heads/-D",
            "refs/heads/a/-b",
            "refs/heads/a..b",
            "refs/heads/a.lock",
            "refs/heads/a.lock/b",
            "refs/heads/.a",
            "refs/heads/a.",
            "refs/heads/a@{0}",
            "refs/heads/refs/heads/x",
            "refs/heads/x$(touch${IFS}y)",
            "refs/heads/a b",
            "refs/heads/a\n",
            "HEAD",
            "refs/heads//a",
            "refs/heads/a\\b",
            "refs/heads/#x",
            "refs/heads/ü",
            "refs/heads/a;b",
            "refs/heads/`x`",
        ];
        for name in hostile {
            assert!(!is_plain_ref_name(name), "{name:?}");
        }
        assert!(!is_plain_ref_name(&format!("refs/heads/{}", "x".repeat(200))));
        for name in ["refs/heads/main", "refs/heads/fix/a-b_c+1@2=3", "refs/tags/v1.0"] {
            assert!(is_plain_ref_name(name), "{name}");
        }
    }
}
