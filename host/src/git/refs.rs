//! The host's refs and `HEAD`s, read as files where they are files, and by one git process where they are not.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::GitError;
use super::oid::{DEEPEST, ObjectFormat, Oid, is_ref_name};
use super::repository::{RefFormat, Repository};

/// Full name to object.
pub(super) type Refs = BTreeMap<String, Oid>;

/// What `HEAD` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Head {
    /// A full ref name; the ref itself need not exist yet.
    Branch(String),
    /// An object.
    Detached(Oid),
}

impl Head {
    pub(super) fn parse(text: &[u8], format: ObjectFormat) -> Option<Self> {
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        if let Some(target) = line.strip_prefix(b"ref:") {
            let name = std::str::from_utf8(target).ok()?.trim();
            return is_ref_name(name).then(|| Self::Branch(name.to_owned()));
        }
        Oid::parse(line, format).map(Self::Detached)
    }

    /// As git writes it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Branch(name) => format!("ref: {name}\n"),
            Self::Detached(oid) => format!("{oid}\n"),
        }
    }

    pub(super) fn branch(&self) -> Option<&str> {
        match self {
            Self::Branch(name) => Some(name),
            Self::Detached(_) => None,
        }
    }
}

/// All that the host's refs say at one moment.
#[derive(Clone, Debug)]
pub(super) struct HostRefs {
    pub refs: Refs,
    /// Refs that name another ref.
    pub symbolic: BTreeMap<String, String>,
    /// Of the checkout in question.
    pub head: Head,
    /// Branches that other checkouts are on, and where.
    pub elsewhere: BTreeMap<String, PathBuf>,
}

impl HostRefs {
    pub(super) fn read(repo: &Repository) -> Result<Self, GitError> {
        match repo.ref_format {
            RefFormat::Files => Self::from_files(repo),
            RefFormat::Reftable => Self::from_git(repo),
        }
    }

    fn from_files(repo: &Repository) -> Result<Self, GitError> {
        let mut found = Self {
            refs: Refs::new(),
            symbolic: BTreeMap::new(),
            head: read_head(&repo.admin_dir, repo.object_format)?,
            elsewhere: elsewhere(repo),
        };
        // Loose before packed: a ref that is packed in between is then seen in one of the two.
        let mut loose = Self { refs: Refs::new(), symbolic: BTreeMap::new(), ..found.clone() };
        loose.walk(&repo.common_dir, "refs", repo.object_format, 0)?;
        let packed = repo.common_dir.join("packed-refs");
        match fs::read(&packed) {
            Ok(text) => {
                _ = parse_packed(&text, repo.object_format, |name, oid| {
                    found.refs.insert(name, oid);
                })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(GitError::io("read", packed)(e)),
        }
        found.refs.retain(|name, _| shared(name) && !loose.symbolic.contains_key(name));
        found.refs.extend(loose.refs);
        found.symbolic = loose.symbolic;
        Ok(found)
    }

    fn walk(&mut self, common: &Path, name: &str, format: ObjectFormat, depth: usize) -> Result<(), GitError> {
        let dir = common.join(name);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            // Git removes empty directories at any time.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(GitError::io("list", dir)(e)),
        };
        for entry in entries.flatten() {
            let Some(name) = entry.file_name().to_str().map(|file| format!("{name}/{file}")) else { continue };
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEEPEST && shared(&format!("{name}/")) {
                self.walk(common, &name, format, depth + 1)?;
            } else if kind.is_file() && is_ref_name(&name) {
                match fs::read(entry.path()).ok().and_then(|text| Head::parse(&text, format)) {
                    Some(Head::Detached(oid)) => _ = self.refs.insert(name, oid),
                    Some(Head::Branch(target)) => _ = self.symbolic.insert(name, target),
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn from_git(repo: &Repository) -> Result<Self, GitError> {
        let format = "--format=%(refname)%00%(objectname)%00%(symref)%00%(worktreepath)";
        let listed = repo.git("for-each-ref")?.args(["--include-root-refs", format]).run()?;
        let (mut refs, mut symbolic, mut elsewhere, mut head) = (Refs::new(), BTreeMap::new(), BTreeMap::new(), None);
        for line in listed.split(|&b| b == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let fields: Vec<_> = line.split('\0').collect();
            let [name, oid, target, checkout] = fields[..] else { continue };
            let oid = Oid::parse(oid.as_bytes(), repo.object_format);
            match (name, oid) {
                ("HEAD", _) if !target.is_empty() => head = Some(Head::Branch(target.to_owned())),
                ("HEAD", Some(oid)) => head = Some(Head::Detached(oid)),
                (name, _) if !shared(name) => {}
                (name, _) if !target.is_empty() => _ = symbolic.insert(name.to_owned(), target.to_owned()),
                (name, Some(oid)) => _ = refs.insert(name.to_owned(), oid),
                _ => {}
            }
            if !checkout.is_empty() && Path::new(checkout) != repo.worktree {
                elsewhere.insert(name.to_owned(), PathBuf::from(checkout));
            }
        }
        // A branch without a commit is not listed, and neither is a HEAD on it.
        let head = match head {
            Some(head) => head,
            None => {
                let name = repo.git("symbolic-ref")?.args(["--quiet", "HEAD"]).run()?;
                Head::parse(&[b"ref: ", &name[..]].concat(), repo.object_format)
                    .ok_or_else(|| no_head(&repo.admin_dir))?
            }
        };
        Ok(Self { refs, symbolic, head, elsewhere })
    }
}

/// Refs that belong to the repository and not to one checkout, nor to our own bookkeeping.
fn shared(name: &str) -> bool {
    name.starts_with("refs/")
        && !["refs/wm/", "refs/bisect/", "refs/worktree/", "refs/rewritten/"].iter().any(|own| name.starts_with(own))
}

/// Calls `found` for every ref of a `packed-refs` file. Lines that are no refs are passed over; says whether any was
/// neither that nor a comment nor what a tag leads to.
pub(super) fn parse_packed(text: &[u8], format: ObjectFormat, mut found: impl FnMut(String, Oid)) -> bool {
    let mut odd = false;
    for line in text.split(|&b| b == b'\n').filter(|line| !matches!(line.first(), None | Some(b'#' | b'^'))) {
        let (oid, name) = line.split_at_checked(format.bytes() * 2).unwrap_or_default();
        let name = name.strip_prefix(b" ").and_then(|name| std::str::from_utf8(name).ok());
        if let (Some(oid), Some(name)) = (Oid::parse(oid, format), name.filter(|name| is_ref_name(name))) {
            found(name.to_owned(), oid);
        } else {
            odd = true;
        }
    }
    odd
}

/// The text of a `packed-refs` file.
pub(super) fn write_packed(refs: &Refs) -> String {
    let lines = refs.iter().map(|(name, oid)| format!("{oid} {name}\n"));
    std::iter::once("# pack-refs with: sorted \n".to_owned()).chain(lines).collect()
}

pub(super) fn read_head(git_dir: &Path, format: ObjectFormat) -> Result<Head, GitError> {
    let path = git_dir.join("HEAD");
    let text = fs::read(&path).map_err(GitError::io("read", &path))?;
    Head::parse(&text, format).ok_or_else(|| no_head(git_dir))
}

fn no_head(git_dir: &Path) -> GitError {
    GitError::refused(
        format!("'{}' holds neither a branch nor a commit", git_dir.join("HEAD").display()),
        "mend the file",
    )
}

/// All other checkouts: what is theirs alone, and their roots as far as they are known.
pub(super) fn other_checkouts(repo: &Repository) -> Vec<(PathBuf, Option<PathBuf>)> {
    let mut all = Vec::new();
    if repo.is_linked() && !repo.format.bare {
        all.push((repo.common_dir.clone(), repo.main_checkout.clone()));
    }
    for entry in fs::read_dir(repo.common_dir.join("worktrees")).into_iter().flatten().flatten() {
        let dir = entry.path();
        if dir != repo.admin_dir {
            let named = fs::read_to_string(dir.join("gitdir")).unwrap_or_default();
            let root = Path::new(named.trim_end()).parent().filter(|root| root.is_absolute());
            all.push((dir, root.map(Path::to_owned)));
        }
    }
    all
}

/// The branches of all other checkouts.
fn elsewhere(repo: &Repository) -> BTreeMap<String, PathBuf> {
    let mut taken = BTreeMap::new();
    for (dir, root) in other_checkouts(repo) {
        if let Ok(Head::Branch(name)) = read_head(&dir, repo.object_format) {
            taken.insert(name, root.unwrap_or(dir));
        }
    }
    taken
}
