//! What can be known of a backend without running its code.
//!
//! The manifest is a TOML text that [`export_backend!`](crate::export_backend) embeds in the library as a plain byte
//! record, and that packaging writes beside it as `<name>.toml` together with the library's SHA-256.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Capability;

/// The protocol this build of the API speaks. Its own number, not the crate's: majors break, minors add.
pub const PROTOCOL: Protocol = Protocol { major: 0, minor: 1 };

/// A manifest. Unknown keys are ignored, so that a newer backend can say more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// The backend's name: `a-z`, `0-9`, `-`, beginning with a letter, at most 32. Equal to the one in the file name.
    pub name: String,
    /// The backend's own version.
    pub version: String,
    /// The protocol it was built for.
    pub protocol: Protocol,
    /// One line for listings: what its sandboxes are.
    pub summary: String,
    /// How strong the boundary is.
    pub isolation: Isolation,
    /// What it offers beyond running commands. Must equal what its accessors answer.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// Programs it is built around; the backend counts as present where any of them is on the search path.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Programs it can use.
    #[serde(default)]
    pub optional_tools: Vec<String>,
    /// The only variables its tools get besides `PATH`.
    #[serde(default)]
    pub tool_env: Vec<String>,
    /// What to do when the host runs as root.
    #[serde(default)]
    pub root: Root,
    /// What one of its instances is called in help and messages, such as `container`.
    #[serde(default = "default_noun")]
    pub noun: String,
    /// JSON Schema of its table `sandbox.<name>`. Each property may carry `x-project`: what a project's file may do
    /// (`no`, `ask`, `yes`, `lower`, `add`, `subset`, `only VALUE`; absent = `no`).
    #[serde(default)]
    pub config: Value,
    /// SHA-256 of the library, lower-case hex. Only in the file beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

fn default_noun() -> String {
    "sandbox".into()
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// What is wrong with the text, with its line.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text).map_err(|e| ManifestError(e.to_string().trim().to_owned()))?;
        if !valid_name(&manifest.name) {
            return Err(ManifestError(format!("'{}' is not a backend name: a-z, 0-9 and '-'", manifest.name)));
        }
        Ok(manifest)
    }
}

/// Whether this is a backend name.
pub fn valid_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A manifest that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError(String);

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ManifestError {}

/// How strong a backend's boundary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// No boundary: for tests and demonstrations. Used only where the user's own file or `--backend` asks for it.
    None,
    /// Namespaces around a process.
    Process,
    /// A container of an engine.
    Container,
    /// A virtual machine.
    Vm,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Process => "process",
            Self::Container => "container",
            Self::Vm => "vm",
        })
    }
}

/// What a host that runs as root does before anything else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// It stays root: the backend's tools need it, and guests get another user.
    #[default]
    Keep,
    /// It becomes the owner of the worktree, unless that is root too.
    BecomeOwner,
}

/// A protocol version, `major.minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Protocol {
    /// Different majors do not understand each other.
    pub major: u32,
    /// Minors only add. While the major is 0, minors must be equal too.
    pub minor: u32,
}

impl Protocol {
    /// Whether a host of protocol `self` can serve a backend of protocol `theirs`.
    pub fn serves(self, theirs: Self) -> bool {
        self.major == theirs.major && (self.major != 0 || self.minor == theirs.minor)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Protocol {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, ManifestError> {
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? }))
            .ok_or_else(|| ManifestError(format!("'{text}' is not a protocol version such as \"{PROTOCOL}\"")))
    }
}

impl Serialize for Protocol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What stands before an embedded manifest. Followed by the text's length (four bytes, little-endian) and the text.
pub const MAGIC: [u8; 32] = *b"\0workmux backend manifest\0\x8f\x1d\xa6\x93\xe2\x57";

/// A manifest as it lies in a library: plain bytes that are read from the file without loading it.
#[doc(hidden)]
#[repr(C)]
pub struct EmbeddedManifest<const N: usize> {
    magic: [u8; 32],
    len: [u8; 4],
    text: [u8; N],
}

/// Makes the record at compile time.
#[doc(hidden)]
pub const fn embed<const N: usize>(text: &str) -> EmbeddedManifest<N> {
    let bytes = text.as_bytes();
    let mut copy = [0; N];
    let mut i = 0;
    while i < N {
        copy[i] = bytes[i];
        i += 1;
    }
    EmbeddedManifest { magic: MAGIC, len: (N as u32).to_le_bytes(), text: copy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_and_unknown_keys_are_ignored() {
        let text = "name = 'acme'\nversion = '1.2.3'\nprotocol = '0.1'\nsummary = 's'\nisolation = 'vm'\nfuture = 1\n\
                    capabilities = ['attach', 'teleport']\n[config.properties.cpus]\ntype = 'integer'\nx-project = 'lower'\n";
        let m = Manifest::parse(text).unwrap();
        assert_eq!(m.capabilities, [Capability::Attach, Capability::Unknown]);
        assert_eq!(m.config["properties"]["cpus"]["x-project"], "lower");
        assert_eq!((m.root, m.noun.as_str()), (Root::Keep, "sandbox"));
    }

    #[test]
    fn wrong_manifests_say_what_is_wrong() {
        for (text, word) in [
            ("", "name"),
            ("name = 'A'\nversion = '1'\nprotocol = '0.1'\nsummary = ''\nisolation = 'vm'", "'A'"),
            ("name = 'a'\nversion = '1'\nprotocol = 'x'\nsummary = ''\nisolation = 'vm'", "'x'"),
            ("name = 'a'\nversion = '1'\nprotocol = '0.1'\nsummary = ''\nisolation = 'strong'", "strong"),
        ] {
            let error = Manifest::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn p75_zero_protocols_must_be_equal_and_later_minors_only_add() {
        let p = |s: &str| s.parse::<Protocol>().unwrap();
        assert!(p("0.1").serves(p("0.1")) && !p("0.1").serves(p("0.2")) && !p("0.2").serves(p("0.1")));
        assert!(p("1.0").serves(p("1.5")) && p("1.5").serves(p("1.0")) && !p("1.0").serves(p("2.0")));
    }
}
