//! Hidden files: from the words of a configuration to masks at every path where a guest could see the file (P66).

use std::fs;
use std::path::{Component, Path, PathBuf};

use color_eyre::eyre::Result;
use workmux_plugin_api::{Mask, MaskKind};

use super::Checkout;
use crate::error::hinted;

/// Masks for files named relative to the worktree's root. A missing file is no mask, and said by the caller; what is
/// not a plain file stops the start.
pub(super) fn resolve(checkout: &Checkout, names: &[String]) -> Result<Vec<Mask>> {
    let mut masks = Vec::new();
    for name in names {
        let relative = relative(name)?;
        let roots = if crate::mutant::off("p66_every_place") { 1 } else { usize::MAX };
        for root in std::iter::once(&checkout.worktree).chain(&checkout.main).take(roots) {
            masks.extend(at(root, &relative, name)?);
        }
    }
    masks.dedup();
    Ok(masks)
}

fn relative(name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    if name.is_empty() || !plain || name.contains(['*', '?', '[', '\n', '\0']) {
        return Err(hinted(
            format!("'{}' cannot be hidden: it must name one file relative to the checkout", crate::text::line(name)),
            "name each file, without '..' and without patterns",
        ));
    }
    Ok(path.to_owned())
}

fn at(root: &Path, relative: &Path, name: &str) -> Result<Option<Mask>> {
    let refuse = |what: &str| {
        Err(hinted(
            format!(
                "'{}' cannot be hidden: it is {what}, and what it stands for would still be seen",
                crate::text::line(name)
            ),
            "name a plain file that is reached without links",
        ))
    };
    // Each step by itself: a link anywhere on the way leads to a file that has another path.
    let mut path = root.to_owned();
    let mut steps = relative.components().peekable();
    while let Some(step) = steps.next() {
        path.push(step);
        let last = steps.peek().is_none();
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
            Ok(m) if m.is_symlink() => return refuse("a link"),
            Ok(m) if last && m.is_dir() => return refuse("a directory"),
            Ok(m) if last && !m.is_file() => return refuse("not a plain file"),
            Ok(_) => {}
        }
    }
    Ok(Some(Mask { target: path, kind: MaskKind::File }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p66_a_file_is_hidden_at_every_path_and_odd_entries_stop_the_start() {
        let root = tempfile::tempdir().unwrap();
        let (worktree, main) = (root.path().join("wt"), root.path().join("main"));
        for dir in [&worktree, &main] {
            fs::create_dir_all(dir.join("sub")).unwrap();
            fs::write(dir.join("sub/.env"), "secret").unwrap();
        }
        std::os::unix::fs::symlink("sub/.env", worktree.join("link")).unwrap();
        std::os::unix::fs::symlink("sub", worktree.join("dir")).unwrap();
        let checkout = Checkout {
            worktree: worktree.clone(),
            cwd: worktree.clone(),
            main: Some(main.clone()),
            git: vec![],
            worktrees: None,
        };
        let masks = |name: &str| resolve(&checkout, &[name.to_owned()]);
        let targets: Vec<_> = masks("sub/.env").unwrap().into_iter().map(|m| m.target).collect();
        assert_eq!(targets, [worktree.join("sub/.env"), main.join("sub/.env")]);
        assert!(masks("absent").unwrap().is_empty());
        for odd in ["sub", "link", "dir/.env", "../main/sub/.env", "/etc/passwd", "*.env", ""] {
            assert!(masks(odd).is_err(), "{odd}");
        }
    }
}
