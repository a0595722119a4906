//! One word of a command line or environment: any bytes but NUL, in JSON a string where it is UTF-8.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A word that reaches `execve` byte for byte.
///
/// On the wire it is a JSON string, or `{"hex": "…"}` where the bytes are not UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(OsString);

impl Word {
    /// The word as the operating system wants it.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// The word's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The word's bytes, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

impl<T: Into<OsString>> From<T> for Word {
    fn from(word: T) -> Self {
        Self(word.into())
    }
}

impl AsRef<OsStr> for Word {
    fn as_ref(&self) -> &OsStr {
        &self.0
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => Hex { hex: self.as_bytes().iter().map(|b| format!("{b:02x}")).collect() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Bytes(Hex),
        }
        let bytes = match Either::deserialize(deserializer)? {
            Either::Text(text) => text.into_bytes(),
            Either::Bytes(Hex { hex }) => {
                unhex(&hex).ok_or_else(|| serde::de::Error::custom("'hex' must be an even number of hex digits"))?
            }
        };
        if bytes.contains(&0) {
            return Err(serde::de::Error::custom("a word must not contain NUL"));
        }
        Ok(Self(OsString::from_vec(bytes)))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hex {
    hex: String,
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.remainder().is_empty().then_some(())?;
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_but_nul_survive_the_wire() {
        for bytes in [&b"a b"[..], b"", b"\xff\xfe", "ü".as_bytes()] {
            let word = Word::from(OsString::from_vec(bytes.to_vec()));
            let json = serde_json::to_string(&word).unwrap();
            assert_eq!(serde_json::from_str::<Word>(&json).unwrap(), word, "{json}");
        }
        for wrong in [r#""\u0000""#, r#"{"hex":"0"}"#, r#"{"hex":"00"}"#, r#"{"hex":"zz"}"#, "1"] {
            assert!(serde_json::from_str::<Word>(wrong).is_err(), "{wrong}");
        }
    }
}
