//! What the user has confirmed: libraries outside the host's own prefix, each with the hash it had then.
//!
//! One file per library path, so that two processes never rewrite each other's answers.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use workmux_plugin_api::{Manifest, Word};

use super::Rejection;
use super::trust::{Trust, quoted};

/// Somebody to ask.
pub trait Ask: Send + Sync {
    /// Puts a question that is answered with yes or no; `None` where nobody can be asked.
    fn confirm(&self, question: &str) -> Option<bool>;
}

/// Nobody to ask: scripts.
pub(super) struct Nobody;

impl Ask for Nobody {
    fn confirm(&self, _question: &str) -> Option<bool> {
        None
    }
}

/// A confirmed library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    path: Word,
    pub(super) sha256: String,
    version: String,
}

/// Why a library may be used, or may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It came with the program, or with the system: trusted like it.
    Program,
    /// The user confirmed it as it is.
    Confirmed {
        /// Of the file, lower-case hex.
        sha256: String,
    },
    /// The user confirmed another file at its path.
    Changed {
        /// The version of that one. Clean text.
        version: String,
    },
    /// The user has not said anything.
    Unconfirmed,
}

/// The confirmed libraries.
#[derive(Debug)]
pub(super) struct Pins {
    dir: PathBuf,
}

impl Pins {
    /// Below the program's state directory.
    pub(super) fn below(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("plugins/pins") }
    }

    /// Whether this library, with this content, has been confirmed; if not, asks, and remembers a yes.
    /// `hides` is the library that would be used if this one were not there.
    pub(super) fn require(
        &self,
        trust: &Trust,
        ask: &dyn Ask,
        library: &Candidate<'_>,
        hides: Option<&Path>,
    ) -> Result<(), Rejection> {
        let known = self.get(trust, library.path)?;
        if crate::mutant::off("p74_pin") || known.as_ref().is_some_and(|pin| pin.sha256 == library.sha256) {
            return Ok(());
        }
        let path = quoted(library.path);
        let refusal = match &known {
            None => Rejection::new("it has not been confirmed yet"),
            Some(_) => Rejection::new("it has changed since it was confirmed"),
        };
        let refusal = Rejection { unconfirmed: true, ..refusal.fix(format!("workmux plugin trust {path}")) };
        match ask.confirm(&question(library, known.as_ref(), hides)) {
            Some(true) => self.put(trust, library),
            Some(false) => Err(Rejection { reason: format!("{} (you said no)", refusal.reason), ..refusal }),
            None => Err(refusal),
        }
    }

    /// What the user said of this library, and whether it still is what they said it of.
    pub(super) fn standing(&self, trust: &Trust, library: &Candidate<'_>) -> Result<Standing, Rejection> {
        Ok(match self.get(trust, library.path)? {
            None => Standing::Unconfirmed,
            Some(pin) if pin.sha256 == library.sha256 => Standing::Confirmed { sha256: pin.sha256 },
            Some(pin) => Standing::Changed { version: crate::text::line(&pin.version) },
        })
    }

    /// Forgets what was confirmed of this path; whether there was anything.
    pub(super) fn forget(&self, library: &Path) -> Result<bool, Rejection> {
        let file = self.file(library);
        match fs::remove_file(&file) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Rejection::new(format!("cannot remove {}: {e}", quoted(&file)))),
        }
    }

    /// Remembers that the user confirmed this library as it is now.
    pub(super) fn put(&self, trust: &Trust, library: &Candidate<'_>) -> Result<(), Rejection> {
        let pin = Pin {
            path: library.path.into(),
            sha256: library.sha256.to_owned(),
            version: library.manifest.version.clone(),
        };
        let failed = |e: io::Error| Rejection::new(format!("cannot remember it below {}: {e}", quoted(&self.dir)));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(failed)?;
        trust.directory(&self.dir)?;
        let text = serde_json::to_string_pretty(&pin).map_err(|e| failed(e.into()))?;
        let mut temporary = tempfile::NamedTempFile::new_in(&self.dir).map_err(failed)?;
        io::Write::write_all(&mut temporary, text.as_bytes()).map_err(failed)?;
        temporary.persist(self.file(library.path)).map_err(|e| failed(e.error))?;
        Ok(())
    }

    /// What was confirmed of this path. A record that others can write is refused; one that cannot be read is none.
    pub(super) fn get(&self, trust: &Trust, library: &Path) -> Result<Option<Pin>, Rejection> {
        let file = self.file(library);
        if !file.exists() {
            return Ok(None);
        }
        let mut text = String::new();
        let opened = trust.open(&file)?;
        let read = opened.file.take(64 * 1024).read_to_string(&mut text);
        let pin = read.ok().and_then(|_| serde_json::from_str::<Pin>(&text).ok());
        Ok(pin.filter(|pin| pin.path.as_os_str() == library.as_os_str()))
    }

    fn file(&self, library: &Path) -> PathBuf {
        let key = hex(&Sha256::digest(library.as_os_str().as_encoded_bytes()));
        self.dir.join(format!("{}.json", &key[..32]))
    }
}

/// A library that asks to be used.
pub(super) struct Candidate<'a> {
    /// Its real path.
    pub(super) path: &'a Path,
    pub(super) sha256: &'a str,
    pub(super) manifest: &'a Manifest,
}

fn question(library: &Candidate<'_>, known: Option<&Pin>, hides: Option<&Path>) -> String {
    let Manifest { name, version, summary, .. } = library.manifest;
    let mut lines = vec![format!(
        "The backend '{name}' {} ({}) comes from {}.",
        crate::text::line(version),
        crate::text::line(summary),
        crate::text::line(&quoted(library.path))
    )];
    if let Some(pin) = known {
        lines.push(format!("It has changed since you confirmed it (it was {} then).", crate::text::line(&pin.version)));
    }
    if let Some(hidden) = hides {
        lines.push(format!("It takes the place of {}.", crate::text::line(&quoted(hidden))));
    }
    lines.push("It will run with all your rights. Use it?".into());
    lines.join("\n")
}

/// SHA-256 of a whole file, lower-case hex.
pub(super) fn sha256(file: &File) -> Result<String, Rejection> {
    use std::os::unix::fs::FileExt;
    let failed = |e: io::Error| Rejection::new(format!("it cannot be read: {e}"));
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        match file.read_at(&mut chunk, at) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(read) => {
                hash.update(&chunk[..read]);
                at += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::plugins::trust::Identity;

    struct Answer(Option<bool>, Mutex<Vec<String>>);

    impl Ask for Answer {
        fn confirm(&self, question: &str) -> Option<bool> {
            self.1.lock().unwrap().push(question.into());
            self.0
        }
    }

    #[test]
    fn p74_the_first_use_is_confirmed_and_a_change_asks_again() {
        let dir = tempfile::tempdir().unwrap();
        let (pins, trust) = (Pins::below(dir.path()), Trust::new(Identity::current()));
        let text = "name='acme'\nversion='1\\u001b[2J'\nprotocol='0.1'\nsummary='s'\nisolation='vm'\n";
        let text = text.replace("'1\\u001b[2J'", "\"1\\u001b[2J\"");
        let manifest = Manifest::parse(&text).unwrap();
        let asked = |answer: Option<bool>, sha256: &str, hides: Option<&Path>| {
            let ask = Answer(answer, Mutex::default());
            let library = Candidate { path: Path::new("/p/lib.so"), sha256, manifest: &manifest };
            let result = pins.require(&trust, &ask, &library, hides);
            (result, ask.1.into_inner().unwrap().join("\n"))
        };

        let (refused, _) = asked(None, "aa", None);
        let refused = refused.unwrap_err();
        assert!(refused.reason.contains("not been confirmed"));
        assert_eq!(refused.fix.unwrap(), "workmux plugin trust '/p/lib.so'");
        assert!(asked(Some(false), "aa", None).0.unwrap_err().reason.contains("you said no"));

        let (confirmed, question) = asked(Some(true), "aa", Some(Path::new("/usr/lib/x.so")));
        confirmed.unwrap();
        assert!(question.contains("takes the place of '/usr/lib/x.so'"), "{question}");
        assert!(!question.contains('\x1b'), "{question}");
        let (again, question) = asked(None, "aa", None);
        assert!(again.is_ok() && question.is_empty(), "a confirmed one is not asked about");

        assert!(asked(None, "bb", None).0.unwrap_err().reason.contains("has changed"));
        let (changed, question) = asked(Some(true), "bb", None);
        changed.unwrap();
        assert!(question.contains("has changed since"), "{question}");
        asked(None, "bb", None).0.unwrap();
        asked(None, "aa", None).0.unwrap_err();
    }
}
