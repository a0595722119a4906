//! The object directories a repository borrows from: a guest needs them at the paths its git will look at.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// As deep as git follows them.
const DEEPEST: usize = 5;
const MOST: usize = 64;

/// (real directory, path git looks at) of everything `objects` borrows from.
pub(super) fn of(objects: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    collect(objects, 0, &mut found);
    found
}

fn collect(objects: &Path, depth: usize, found: &mut Vec<(PathBuf, PathBuf)>) {
    let text = fs::read_to_string(objects.join("info/alternates")).unwrap_or_default();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // A path in quotes holds characters no mount of ours carries; git will say what it misses.
        if line.starts_with('"') || found.len() == MOST {
            continue;
        }
        let looked_at = plain(&objects.join(line));
        let Ok(real) = looked_at.canonicalize() else { continue };
        if real.is_dir() && !found.iter().any(|(_, path)| *path == looked_at) {
            found.push((real, looked_at.clone()));
            if depth < DEEPEST {
                collect(&looked_at, depth + 1, found);
            }
        }
    }
}

/// Without `.` and `..`, as text: a guest has no links of the host's to resolve.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut done, part| {
        match part {
            Component::ParentDir => _ = done.pop(),
            Component::CurDir => {}
            other => done.push(other),
        }
        done
    })
}
