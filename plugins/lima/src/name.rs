//! What machines are called. The names are those of existing machines and must never change: people and other programs
//! know them, and a machine is found by nothing else.

use std::hash::Hasher as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use siphasher::sip::SipHasher13;

use crate::settings::Isolation;

/// What the names of all our machines begin with.
pub(crate) const PREFIX: &str = "wm-";
/// The longest readable part.
const READABLE: usize = 18;

/// The machine of a repository, given git's directory that its worktrees share.
pub(crate) fn of(repository: &Path, isolation: Isolation) -> String {
    if isolation == Isolation::Shared {
        return format!("{PREFIX}{}", hash(b"global"));
    }
    let root = root(repository);
    let readable = readable(&root.file_name().unwrap_or_default().to_string_lossy());
    let dash = if readable.is_empty() { "" } else { "-" };
    format!("{PREFIX}{readable}{dash}{}", hash(root.as_os_str().as_bytes()))
}

/// The project's directory: what holds `.git`, or a bare repository itself.
fn root(repository: &Path) -> PathBuf {
    match (repository.file_name(), repository.parent()) {
        (Some(name), Some(parent)) if name == ".git" => parent.to_owned(),
        _ => repository.to_owned(),
    }
}

/// Letters and digits in lower case, everything else one dash.
fn readable(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let cut: String = out.trim_matches('-').chars().take(READABLE).collect();
    cut.trim_matches('-').to_owned()
}

/// Eight hex digits: enough for the projects of one user.
fn hash(bytes: &[u8]) -> String {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(bytes);
    // How text ends, where it is hashed as text.
    hasher.write(&[0xff]);
    let all = format!("{:016x}", hasher.finish());
    all[..8].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_existing_machines() {
        let of = |path: &str| of(Path::new(path), Isolation::Project);
        assert_eq!(of("/home/u/proj/.git"), "wm-proj-f7ec17cf");
        assert_eq!(super::of(Path::new("/home/u/proj/.git"), Isolation::Shared), "wm-42ef9897");
    }

    #[test]
    fn the_readable_part_is_short_and_plain_and_may_be_missing() {
        for (name, wanted) in [
            ("My Project", "my-project"),
            ("--x__y--", "x-y"),
            ("ünï", "n"),
            ("日本", ""),
            ("a-very-long-name-of-a-project", "a-very-long-name-o"),
            ("abcdefghijklmnopq-rst", "abcdefghijklmnopq"),
        ] {
            assert_eq!(readable(name), wanted);
        }
        let nameless = of(Path::new("/日本/.git"), Isolation::Project);
        assert!(nameless.starts_with("wm-") && nameless.len() == "wm-12345678".len(), "{nameless}");
    }

    #[test]
    fn bare_repositories_side_by_side_have_machines_of_their_own() {
        let of = |path: &str| of(Path::new(path), Isolation::Project);
        assert_ne!(of("/srv/a.git"), of("/srv/b.git"));
        assert!(of("/srv/a.git").starts_with("wm-a-git-"));
    }
}
