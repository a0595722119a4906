//! Git's pointer files (`.git`, `commondir`, `gitdir`): read as plain text, refused where they could mislead (P17).

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::GitError;

/// Longer than any path the kernel takes, with its label.
const LONGEST: u64 = 8 * 1024;

/// The one line of a pointer file. It must be a regular file of its own: no link, no second name.
pub(super) fn read(path: &Path) -> Result<String, GitError> {
    let mut file = open(path)?;
    let meta = file.metadata().map_err(GitError::io("look at", path))?;
    if !crate::mutant::off("p17_pointers") {
        if !meta.is_file() {
            return Err(odd(path, "is not a regular file"));
        }
        if meta.nlink() != 1 {
            return Err(odd(path, "has a second name (hard link)"));
        }
    }
    let mut text = String::new();
    Read::by_ref(&mut file).take(LONGEST + 1).read_to_string(&mut text).map_err(GitError::io("read", path))?;
    let line = text.trim_end_matches(['\n', '\r']);
    if text.len() as u64 > LONGEST || line.is_empty() || line.contains(['\n', '\0']) {
        return Err(odd(path, "does not hold one path"));
    }
    Ok(line.to_owned())
}

fn open(path: &Path) -> Result<File, GitError> {
    let follow = if crate::mutant::off("p17_pointers") { 0 } else { libc::O_NOFOLLOW };
    // Without O_NONBLOCK a FIFO in its place would hold us for ever.
    let opened = OpenOptions::new().read(true).custom_flags(follow | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    opened.map_err(|source| match source.raw_os_error() {
        Some(libc::ELOOP) => odd(path, "is a symbolic link"),
        _ => GitError::Io { what: "open", path: path.to_owned(), source },
    })
}

/// Where the pointer file at `path` leads: its text without `label`, relative to the file's directory, canonical.
pub(super) fn follow(path: &Path, label: &str) -> Result<PathBuf, GitError> {
    let line = read(path)?;
    let Some(target) = line.strip_prefix(label) else {
        return Err(odd(path, &format!("does not begin with '{}'", label.trim_end())));
    };
    let target = path.parent().unwrap_or(Path::new("/")).join(target);
    target.canonicalize().map_err(GitError::io("find", &target))
}

/// Refuses pointers that do not lead to each other.
pub(super) fn must_agree(path: &Path, leads_to: &Path, expected: &Path) -> Result<(), GitError> {
    if leads_to != expected && !crate::mutant::off("p17_pointers") {
        return Err(odd(path, &format!("leads to '{}' and not to '{}'", leads_to.display(), expected.display())));
    }
    Ok(())
}

pub(super) fn odd(path: &Path, why: &str) -> GitError {
    GitError::refused(
        format!("'{}' {why}", path.display()),
        "no sandbox is started on a repository whose own files lead elsewhere; 'git worktree repair' may mend it",
    )
}
