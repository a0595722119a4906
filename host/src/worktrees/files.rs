//! What a new worktree gets from the main checkout: copies and links, as configured.
//!
//! Both sides may hold a guest's files, so neither is followed anywhere: links are copied as links, and what would leave
//! either checkout is an error that names it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use color_eyre::eyre::{Result, WrapErr as _};
use glob::{MatchOptions, Pattern};

use super::beneath::{Kind, Root};
use crate::config::types::Files;
use crate::error::hinted;
use crate::text;

/// Directories in each other; beyond that it is no tree but a trap.
const DEEPEST: usize = 64;
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Copies and links what is configured. Answers lines for the user: what was not there.
pub(crate) fn provide(files: &Files, main: &Path, worktree: &Path) -> Result<Vec<String>> {
    if files.copy.is_empty() && files.symlink.is_empty() {
        return Ok(Vec::new());
    }
    let from = Root::open(main).wrap_err("cannot open the main checkout")?;
    let to = Root::open(worktree).wrap_err("cannot open the new worktree")?;
    let mut notes = Vec::new();
    for (key, patterns, link) in [("files.copy", &files.copy, false), ("files.symlink", &files.symlink, true)] {
        for pattern in patterns {
            let failed = || format!("'{key}': cannot provide '{}'", text::line(pattern));
            let found = find(&from, pattern).wrap_err_with(failed)?;
            if found.is_empty() {
                notes.push(format!("'{key}': the main checkout has no '{}'", text::line(pattern)));
            }
            for path in found {
                let done = if link { link_one(&path, main, &to) } else { copy_one(&from, &path, &to, 0) };
                done.wrap_err_with(|| text::quote(path.as_os_str())).wrap_err_with(failed)?;
            }
        }
    }
    Ok(notes)
}

/// What a pattern names, relative to the checkout.
fn find(from: &Root, pattern: &str) -> Result<Vec<PathBuf>> {
    let parts: Vec<&OsStr> = Path::new(pattern.trim_end_matches('/'))
        .components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) if name != ".git" => Ok(name),
            _ => Err(hinted(
                "it does not stay in the checkout",
                "name files relative to the main checkout, without '..'",
            )),
        })
        .collect::<Result<_>>()?;
    let mut found = Vec::new();
    look(from, Path::new(""), &parts, &mut found, 0)?;
    found.sort();
    found.dedup();
    Ok(found)
}

fn look(here: &Root, at: &Path, parts: &[&OsStr], found: &mut Vec<PathBuf>, depth: usize) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if depth > DEEPEST {
        return Ok(());
    }
    let text = part.to_str().unwrap_or_default();
    let anywhere = text == "**";
    if anywhere {
        look(here, at, rest, found, depth + 1)?;
    }
    let names = if text.contains(['*', '?', '[']) {
        let pattern = Pattern::new(if anywhere { "*" } else { text }).wrap_err("it is no pattern")?;
        let fits = |name: &OsStr| name.to_str().is_some_and(|name| pattern.matches_with(name, MATCHING));
        here.names()?.into_iter().filter(|name| name != ".git" && fits(name)).collect()
    } else {
        vec![(*part).to_owned()]
    };
    for name in names {
        let path = at.join(&name);
        let Some(kind) = here.kind(&name)? else { continue };
        match (kind, rest.is_empty() && !anywhere) {
            (Kind::Other, _) => {}
            (_, true) => found.push(path),
            (Kind::Directory, false) => {
                let below = here.directory(Path::new(&name))?;
                look(&below, &path, if anywhere { parts } else { rest }, found, depth + 1)?;
            }
            // Beyond a link is somewhere else.
            _ => {}
        }
    }
    Ok(())
}

/// Copies a file, a link as a link, or a directory with all in it. What the worktree has already stays.
fn copy_one(from: &Root, path: &Path, to: &Root, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other("the directories in it are too deep").into());
    }
    let above = from.directory(path.parent().unwrap_or(Path::new("")))?;
    let Some(name) = path.file_name() else { return Ok(()) };
    let done = match above.kind(name)? {
        Some(Kind::File) => {
            let mut file = above.read(Path::new(name))?;
            let mode = file.metadata()?.permissions().mode();
            to.write_new(path, mode, &mut file)
        }
        Some(Kind::Link) => to.link_new(path, &above.link(name)?),
        Some(Kind::Directory) => {
            let there = to.make_directory(path.parent().unwrap_or(Path::new("")))?;
            if there.kind(name)?.is_some_and(|kind| kind != Kind::Directory) {
                return Ok(());
            }
            to.make_directory(path)?;
            for below in above.directory(Path::new(name))?.names()? {
                if below != ".git" {
                    copy_one(from, &path.join(below), to, depth + 1)?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    };
    kept(done)
}

/// Links to the main checkout's own.
fn link_one(path: &Path, main: &Path, to: &Root) -> Result<()> {
    kept(to.link_new(path, &main.join(path)))
}

/// What git has checked out there is newer than what the main checkout happens to hold.
fn kept(done: io::Result<()>) -> Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn files(copy: &[&str], link: &[&str]) -> Files {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Files { copy: all(copy), symlink: all(link) }
    }

    fn checkouts() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let all = tempfile::tempdir().unwrap();
        let (main, new) = (all.path().join("main"), all.path().join("new"));
        fs::create_dir_all(main.join("conf/deep/deeper")).unwrap();
        fs::create_dir(&new).unwrap();
        for (name, content) in [(".env", "a"), ("conf/.env", "b"), ("conf/deep/x.env", "c"), ("run.sh", "d")] {
            fs::write(main.join(name), content).unwrap();
        }
        fs::set_permissions(main.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        (all, main, new)
    }

    #[test]
    fn files_directories_and_patterns_are_copied_and_linked() {
        let (_all, main, new) = checkouts();
        fs::write(new.join(".env"), "git's").unwrap();
        let notes =
            provide(&files(&[".env", "run.sh", "**/*.env", "none*"], &["conf/deep/deeper/"]), &main, &new).unwrap();
        assert_eq!(notes, ["'files.copy': the main checkout has no 'none*'"]);
        assert_eq!(fs::read_to_string(new.join(".env")).unwrap(), "git's");
        assert_eq!(fs::read_to_string(new.join("conf/.env")).unwrap(), "b");
        assert_eq!(fs::read_to_string(new.join("conf/deep/x.env")).unwrap(), "c");
        assert_eq!(fs::metadata(new.join("run.sh")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_link(new.join("conf/deep/deeper")).unwrap(), main.join("conf/deep/deeper"));
        fs::remove_file(new.join("conf/deep/deeper")).unwrap();
        provide(&files(&["conf"], &["conf/deep/deeper"]), &main, &new).unwrap();
        assert!(new.join("conf/deep/deeper").is_dir() && !new.join("conf/deep/deeper").is_symlink());
    }

    #[test]
    fn p9_neither_side_leads_elsewhere() {
        let (all, main, new) = checkouts();
        let secret = all.path().join("secret");
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("key"), "private").unwrap();
        symlink(secret.join("key"), main.join("env.local")).unwrap();
        symlink(&secret, main.join("linked")).unwrap();
        // The guest's branch has a link where the copy would go.
        symlink(&secret, new.join("conf")).unwrap();
        provide(&files(&["env.local", "linked/key", "linked/*"], &[]), &main, &new).unwrap();
        assert!(new.join("env.local").is_symlink(), "copied as the link it is");
        assert!(!new.join("linked").exists());
        assert!(provide(&files(&["conf/.env"], &[]), &main, &new).is_err());
        assert!(provide(&files(&[], &["conf/.env"]), &main, &new).is_err());
        for outside in ["../secret/key", "/etc/passwd", ".git/config", "a/../../secret"] {
            assert!(provide(&files(&[outside], &[]), &main, &new).is_err(), "{outside}");
        }
        assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
    }
}
