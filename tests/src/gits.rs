//! The versions of git that this machine has: the boundary must hold with an old one and with a new one.

use std::path::Path;

/// One git, chosen through the search path, on the host and in the guest alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Git {
    /// The search path that finds it first.
    pub search_path: &'static str,
}

/// Those that are there; at least one.
///
/// # Panics
/// When there is none.
pub fn gits() -> Vec<Git> {
    let places = [
        ("/usr/local/bin/git", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
        ("/usr/bin/git", "/usr/bin:/bin:/usr/sbin:/sbin"),
    ];
    let found: Vec<Git> = places
        .iter()
        .filter(|(program, _)| Path::new(program).exists())
        .map(|(_, search_path)| Git { search_path })
        .collect();
    assert!(!found.is_empty(), "there is no git in /usr/local/bin or /usr/bin");
    found
}
