//! What one side of the boundary says: refs, `HEAD`, index, a merge in progress. Three of these decide a sync.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::GitError;
use super::guest_files;
use super::index::Index;
use super::oid::{ObjectFormat, Oid};
use super::refs::{Head, HostRefs, Refs};
use super::repository::Repository;

/// One side at one moment. Refs are branches, tags and remote-tracking branches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Side {
    pub refs: Refs,
    pub head: Head,
    /// Digest of the index's entries.
    pub index: String,
    pub merge: Option<Merge>,
}

/// A merge that waits for its commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Merge {
    pub heads: Vec<Oid>,
    pub message: String,
    pub mode: String,
}

/// The files of a merge in progress.
pub(super) const MERGE_FILES: [&str; 3] = ["MERGE_HEAD", "MERGE_MSG", "MERGE_MODE"];
/// Longer merge messages are not carried across.
pub(super) const MERGE_LIMIT: u64 = 64 * 1024;

/// Bytes of the largest index we read.
pub(super) const INDEX_LIMIT: u64 = 1 << 30;

/// A digest and the state of the file it was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamped {
    pub stamp: String,
    pub digest: String,
}

/// Whether this ref may go from guest to host.
pub(super) fn travels(name: &str) -> bool {
    name.starts_with("refs/heads/") || name.starts_with("refs/tags/")
}

/// Whether this ref goes from host to guest. What a guest fetches itself stays with it.
pub(super) fn shown(name: &str) -> bool {
    travels(name) || name.starts_with("refs/remotes/")
}

impl Merge {
    /// From the texts of the three files; `None` where there is no merge, an error word where it is no honest one.
    pub(super) fn parse(texts: [Option<Vec<u8>>; 3], format: ObjectFormat) -> Result<Option<Self>, &'static str> {
        let [Some(heads), message, mode] = texts else { return Ok(None) };
        let lines = heads.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        let heads: Option<Vec<_>> = lines.map(|line| Oid::parse(line, format)).collect();
        let heads = heads.filter(|h| (1..=64).contains(&h.len())).ok_or("MERGE_HEAD holds no object names")?;
        let text = |bytes: Option<Vec<u8>>| {
            let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
            text.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), " ")
        };
        let mode = text(mode);
        if !matches!(mode.trim_end(), "" | "no-ff") {
            return Err("MERGE_MODE is unknown");
        }
        Ok(Some(Self { heads, message: text(message), mode: mode.trim_end().to_owned() }))
    }

    /// The contents of the three files.
    pub(super) fn texts(&self) -> [String; 3] {
        [self.heads.iter().map(|oid| format!("{oid}\n")).collect(), self.message.clone(), self.mode.clone()]
    }
}

/// The host's side, with what a sync needs besides.
#[derive(Debug)]
pub(super) struct Host {
    pub side: Side,
    pub refs: HostRefs,
    pub index: Stamped,
}

impl Host {
    /// Reads the host; `known` saves taking the index apart when its file has not been touched.
    pub(super) fn read(repo: &Repository, known: &Stamped) -> Result<Self, GitError> {
        let refs = HostRefs::read(repo)?;
        let index = host_index(repo, known)?;
        let texts = MERGE_FILES.map(|name| fs::read(repo.admin_dir.join(name)).ok());
        let side = Side {
            refs: refs.refs.iter().filter(|(name, _)| shown(name)).map(|(n, o)| (n.clone(), o.clone())).collect(),
            head: refs.head.clone(),
            index: index.digest.clone(),
            merge: Merge::parse(texts, repo.object_format).unwrap_or_default(),
        };
        Ok(Self { side, refs, index })
    }
}

fn host_index(repo: &Repository, known: &Stamped) -> Result<Stamped, GitError> {
    let stamp = file_stamp(&repo.admin_dir.join("index"))?;
    if stamp == known.stamp && !known.digest.is_empty() {
        return Ok(known.clone());
    }
    Ok(Stamped { stamp, digest: parse_host_index(repo)?.digest() })
}

/// The state of a file of the host's; empty where there is none.
pub(super) fn file_stamp(path: &Path) -> Result<String, GitError> {
    match fs::File::open(path) {
        Ok(file) => guest_files::stamp(&file).map_err(GitError::io("look at", path)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(GitError::io("open", path)(e)),
    }
}

/// The host's index, taken apart.
pub(super) fn parse_host_index(repo: &Repository) -> Result<Index, GitError> {
    let path = repo.admin_dir.join("index");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(GitError::io("read", &path)(e)),
    };
    match Index::parse(&bytes, repo.object_format) {
        Ok(index) => Ok(index),
        // Split and sparse ones: git knows how to tell their entries.
        Err(_) => {
            let listed = repo.git("ls-files")?.args(["-v", "--stage", "-z", "--full-name"]).run()?;
            Index::from_listing(&listed, repo.object_format).map_err(|why| {
                GitError::refused(
                    format!("'{}' cannot be used: {why}", path.display()),
                    "'git read-tree HEAD' makes it anew",
                )
            })
        }
    }
}
