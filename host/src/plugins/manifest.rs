//! What a library says of itself, read without running it: the file beside it, else the record inside it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memchr::memmem;
use workmux_plugin_api::manifest::{MAGIC, Protocol};
use workmux_plugin_api::{Isolation, Manifest, PROTOCOL};

use super::trust::{Opened, Trust, quoted};
use super::{Rejection, pins};

/// Longest manifest.
const MAX_TEXT: usize = 64 * 1024;
/// What to do about one that is no manifest.
const REPAIR: &str = "ask its author for a version whose manifest is right";
/// Read at a time while looking for the record.
const CHUNK: usize = 256 * 1024;

/// A manifest, and whether it stands beside the library instead of inside.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) manifest: Manifest,
    beside: bool,
}

/// The manifest of the library at `path`, whose file is `library`: the one beside it where there is one.
pub(super) fn read(trust: &Trust, path: &Path, name: &str, library: &File) -> Result<Found, Rejection> {
    let (manifest, beside) = match beside(path, name, |path| trust.open(path))? {
        Some(manifest) => (manifest, true),
        None => (embedded(library)?, false),
    };
    if manifest.name != name {
        return Err(Rejection::new(format!("its manifest says it is '{}'", manifest.name))
            .fix(format!("rename it to '{}'", super::search::file_name(&manifest.name))));
    }
    serves(name, manifest.protocol)?;
    Ok(Found { manifest, beside })
}

/// The manifest inside a library that is to be copied, with its text. One that lies beside it must agree.
pub(super) fn read_to_copy(trust: &Trust, path: &Path, library: &File) -> Result<(Manifest, String), Rejection> {
    let (inside, text) = inside(library)?;
    serves(&inside.name, inside.protocol)?;
    if let Some(manifest) = beside(path, &inside.name, |path| trust.open_to_copy(path))? {
        let found = Found { manifest, beside: true };
        found.agrees(library)?;
        hash(library, &found.manifest)?;
    }
    Ok((inside, text))
}

/// The library's hash; the one its manifest names, if it names one.
pub(super) fn hash(library: &File, manifest: &Manifest) -> Result<String, Rejection> {
    let sha256 = pins::sha256(library)?;
    match &manifest.sha256 {
        Some(expected) if !expected.eq_ignore_ascii_case(&sha256) => {
            Err(Rejection::new("it is not the file that the manifest beside it describes: its hash differs")
                .fix("install both anew"))
        }
        _ => Ok(sha256),
    }
}

impl Found {
    /// The manifest inside must say the same as the one beside it: help, trust and routing were decided by that one.
    pub(super) fn agrees(&self, library: &File) -> Result<(), Rejection> {
        if !self.beside {
            return Ok(());
        }
        let inside = embedded(library)?;
        if inside == (Manifest { sha256: inside.sha256.clone(), ..self.manifest.clone() }) {
            return Ok(());
        }
        Err(Rejection::new("the manifest beside it is not the one inside it")
            .fix(format!("install both anew, or remove '{}.toml'", self.manifest.name)))
    }
}

/// Whether this program can serve a library of that protocol; the answer names both.
pub(super) fn serves(name: &str, theirs: Protocol) -> Result<(), Rejection> {
    if PROTOCOL.serves(theirs) || crate::mutant::off("p75_protocol") {
        return Ok(());
    }
    let fix = if theirs > PROTOCOL {
        format!("update workmux, or install a '{name}' built for plugin protocol {PROTOCOL}")
    } else {
        format!("install a newer '{name}', built for plugin protocol {PROTOCOL}")
    };
    Err(Rejection::new(format!("it was built for plugin protocol {theirs}, this workmux speaks {PROTOCOL}")).fix(fix))
}

/// Whether the loaded code is what the manifest promised.
pub(super) fn keeps(
    manifest: &Manifest,
    features: &workmux_plugin_api::Features,
    offered: &[workmux_plugin_api::Capability],
) -> Result<(), Rejection> {
    let list = |capabilities: &[workmux_plugin_api::Capability]| {
        let mut names: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
        names.sort();
        names.dedup();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let known: Vec<_> =
        manifest.capabilities.iter().copied().filter(|c| *c != workmux_plugin_api::Capability::Unknown).collect();
    if list(&known) != list(offered) && !crate::mutant::off("p79_claims") {
        return Err(Rejection::new(format!(
            "its manifest claims the capabilities {}, its code offers {}",
            list(&known),
            list(offered)
        ))
        .fix("ask its author for a version whose manifest is right"));
    }
    if !features.mounts && manifest.isolation != Isolation::None {
        return Err(Rejection::new(format!(
            "it claims isolation '{}' but cannot mount, so guests would work on the host's own files",
            manifest.isolation
        )));
    }
    Ok(())
}

/// `<name>.toml` in the library's directory; as dangerous as the library, so checked like it.
fn beside(
    library: &Path,
    name: &str,
    open: impl FnOnce(&Path) -> Result<Opened, Rejection>,
) -> Result<Option<Manifest>, Rejection> {
    let path = library.with_file_name(file_name(name));
    if std::fs::symlink_metadata(&path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let opened = open(&path)?;
    let size = opened.metadata.len();
    if size > MAX_TEXT as u64 {
        return Err(Rejection::new(format!("its manifest {} is too large ({size} bytes)", quoted(&path))).fix(REPAIR));
    }
    let mut text = vec![0; size as usize];
    opened
        .file
        .read_exact_at(&mut text, 0)
        .map_err(|e| Rejection::new(format!("its manifest {} cannot be read: {e}", quoted(&path))))?;
    parse(&text, &format!("its manifest {}", quoted(&path))).map(Some)
}

/// The record inside, found by its first bytes.
pub(super) fn embedded(library: &File) -> Result<Manifest, Rejection> {
    inside(library).map(|(manifest, _)| manifest)
}

/// The same, with its text.
fn inside(library: &File) -> Result<(Manifest, String), Rejection> {
    let none = || {
        Rejection::new("it is not a workmux backend: it has no manifest inside")
            .fix("build it with workmux-plugin-api's export_backend!")
    };
    let text_at = find(library)?.ok_or_else(none)?;
    let mut length = [0; 4];
    library.read_exact_at(&mut length, text_at).map_err(|_| none())?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_TEXT {
        return Err(Rejection::new(format!("the manifest inside it is too large ({length} bytes)")).fix(REPAIR));
    }
    let mut text = vec![0; length];
    library.read_exact_at(&mut text, text_at + 4).map_err(|_| none())?;
    let manifest = parse(&text, "the manifest inside it")?;
    Ok((manifest, String::from_utf8_lossy(&text).into_owned()))
}

/// The file beside a library that holds its manifest.
pub(super) fn file_name(name: &str) -> String {
    format!("{name}.toml")
}

/// What belongs into that file: the manifest's own text, with the library's hash.
pub(super) fn with_hash(manifest: &Manifest, text: &str, sha256: &str) -> Result<String, Rejection> {
    // First, as what follows a table's head belongs to the table.
    let text = format!("sha256 = \"{sha256}\"\n{text}");
    let same = Manifest { sha256: Some(sha256.to_owned()), ..manifest.clone() };
    if text.len() <= MAX_TEXT && Manifest::parse(&text).is_ok_and(|manifest| manifest == same) {
        return Ok(text);
    }
    Err(Rejection::new("the manifest inside it cannot stand beside it with a hash")
        .fix("ask its author for one that is shorter, and names no hash itself"))
}

fn parse(text: &[u8], what: &str) -> Result<Manifest, Rejection> {
    let wrong = |why: &dyn std::fmt::Display| Rejection::new(format!("{what} is wrong: {why}")).fix(REPAIR);
    let text = std::str::from_utf8(text).map_err(|e| wrong(&e))?;
    Manifest::parse(text).map_err(|e| wrong(&e))
}

/// Where the text's length stands, in constant memory.
fn find(library: &File) -> Result<Option<u64>, Rejection> {
    let finder = memmem::Finder::new(&MAGIC);
    let mut chunk = vec![0; CHUNK];
    let (mut kept, mut at) = (0, 0);
    loop {
        let read = match library.read_at(&mut chunk[kept..], at) {
            Ok(0) => return Ok(None),
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Rejection::new(format!("it cannot be read: {e}"))),
        };
        let filled = kept + read;
        at += read as u64;
        if let Some(found) = finder.find(&chunk[..filled]) {
            return Ok(Some(at - filled as u64 + (found + MAGIC.len()) as u64));
        }
        if at > super::image::MAX_SIZE {
            return Ok(None);
        }
        // The record may lie across two chunks.
        kept = filled.min(MAGIC.len() - 1);
        chunk.copy_within(filled - kept..filled, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use workmux_plugin_api::{Capability, Features};

    use super::*;
    use crate::plugins::trust::Identity;

    const TEXT: &str = "name = 'acme'\nversion = '1'\nprotocol = '0.1'\nsummary = 's'\nisolation = 'vm'\n";

    fn record(text: &str) -> Vec<u8> {
        [&MAGIC[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn the_record_is_found_wherever_it_lies() {
        for before in [0, 1, CHUNK - 40, CHUNK - 31, CHUNK - 1, CHUNK, 3 * CHUNK - 5] {
            let mut content = vec![0; before];
            content.extend(record(TEXT));
            content.extend([7; 100]);
            assert_eq!(embedded(&file(&content)).unwrap().name, "acme", "{before}");
        }
    }

    #[test]
    fn p73_wrong_records_are_named() {
        let mut endless = record("");
        endless[MAGIC.len()..].fill(0xff);
        let mut not_text = record("xx");
        not_text[MAGIC.len() + 4] = 0xff;
        for (content, word) in [
            (vec![], "no manifest inside"),
            (vec![0; 1 << 20], "no manifest inside"),
            (MAGIC.to_vec(), "no manifest inside"),
            (record(TEXT)[..100].to_vec(), "no manifest inside"),
            (endless, "too large"),
            (not_text, "utf-8"),
            (record("name = 1"), "is wrong"),
        ] {
            let error = embedded(&file(&content)).unwrap_err().reason;
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_file_beside_is_preferred_and_must_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libworkmux_backend_acme.so");
        let library = file(&record(TEXT));
        let trust = Trust::new(Identity::current());
        let read = |name: &str| read(&trust, &path, name, &library);
        assert_eq!(read("acme").unwrap().manifest.sha256, None);
        assert!(read("other").unwrap_err().reason.contains("says it is 'acme'"));

        let beside = dir.path().join("acme.toml");
        std::fs::write(&beside, format!("{TEXT}sha256 = '00'\n")).unwrap();
        let found = read("acme").unwrap();
        assert_eq!(found.manifest.sha256.as_deref(), Some("00"));
        found.agrees(&library).unwrap();

        std::fs::write(&beside, TEXT.replace("'vm'", "'none'")).unwrap();
        let error = read("acme").unwrap().agrees(&library).unwrap_err();
        assert!(error.fix.unwrap().contains("acme.toml"));
        std::fs::write(&beside, "x".repeat(MAX_TEXT + 1)).unwrap();
        assert!(read("acme").unwrap_err().reason.contains("too large"));
    }

    #[test]
    fn p75_a_refusal_names_both_versions_and_the_remedy() {
        let refusal = |version: &str| serves("acme", version.parse().unwrap()).unwrap_err();
        let (older, newer) = (refusal("0.0"), refusal("7.3"));
        for (refusal, version) in [(&older, "0.0"), (&newer, "7.3")] {
            assert!(refusal.reason.contains(version) && refusal.reason.contains(&PROTOCOL.to_string()), "{refusal}");
        }
        assert!(older.fix.unwrap().contains("newer 'acme'"));
        assert!(newer.fix.unwrap().contains("update workmux"));
    }

    #[test]
    fn p79_claims_must_be_kept() {
        let text = format!("{TEXT}capabilities = ['attach', 'teleport']\n");
        let manifest = Manifest::parse(&text).unwrap();
        let features = Features { mounts: true, ..Features::default() };
        keeps(&manifest, &features, &[Capability::Attach]).unwrap();
        for offered in [&[][..], &[Capability::Images], &[Capability::Attach, Capability::Images]] {
            let error = keeps(&manifest, &features, offered).unwrap_err().reason;
            assert!(error.contains("claims the capabilities attach"), "{error}");
        }
        let error = keeps(&manifest, &Features::default(), &[Capability::Attach]).unwrap_err().reason;
        assert!(error.contains("isolation 'vm'"), "{error}");
    }
}
