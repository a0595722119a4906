//! What a user names to have a backend installed: a library, or the directory it lies in. Finds the one file that is
//! meant and checks it, without running any of it; where it goes is [`super::install`]'s business.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use workmux_plugin_api::Manifest;

use super::trust::{Opened, Trust, quoted};
use super::{Rejection, image, manifest, search};

/// Where builds and archives have libraries below the directory that people name.
const BELOW: [&str; 3] = ["target/release", "target/debug", "lib/workmux/plugins"];
/// Names in one message.
const MAX_NAMED: usize = 8;

/// A library that can be installed here.
pub(super) struct Source {
    pub(super) opened: Opened,
    pub(super) manifest: Manifest,
    /// Of the library.
    pub(super) sha256: String,
    /// The manifest for the directory it goes to.
    pub(super) beside: String,
}

impl Source {
    /// Finds and checks what `given` names. What is wrong with it goes on from its path.
    pub(super) fn find(trust: &Trust, given: &Path) -> Result<Self, Rejection> {
        let given = std::path::absolute(given).map_err(|e| Rejection::new(format!("it is no path: {e}")))?;
        let found = look(&given)?;
        let path = if found.is_dir() { only(&given)? } else { given };
        let opened = trust.open_to_copy(&path)?;
        image::check(&opened.file, opened.metadata.len()).map_err(named_wrongly)?;
        let (manifest, text) = manifest::read_to_copy(trust, &path, &opened.file)?;
        let sha256 = manifest::hash(&opened.file, &manifest)?;
        let beside = manifest::with_hash(&manifest, &text, &sha256)?;
        Ok(Self { opened, manifest, sha256, beside })
    }
}

/// What is there, as long as it can be a library or a directory.
fn look(path: &Path) -> Result<Metadata, Rejection> {
    let found = fs::symlink_metadata(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Rejection::new("there is no such file or directory")
            .fix(format!("name the library, {}, or the directory it lies in", search::file_name("NAME"))),
        _ => Rejection::new(format!("it cannot be read: {e}")),
    })?;
    if found.is_symlink() {
        // What it leads to may be another file by the time it is read; the user is to see which file it is.
        let fix = match path.canonicalize() {
            Ok(real) => type_next(&real),
            Err(_) => "it leads nowhere: name the library itself".to_owned(),
        };
        return Err(Rejection::new("it is a link").fix(fix));
    }
    if !found.is_dir() && !found.is_file() {
        return Err(Rejection::new("it is neither a file nor a directory").fix("name the library itself"));
    }
    Ok(found)
}

/// The one library in a directory.
fn only(dir: &Path) -> Result<PathBuf, Rejection> {
    fs::read_dir(dir).map_err(|e| Rejection::new(format!("it cannot be read: {e}")))?;
    let found = search::candidates(dir);
    match found.as_slice() {
        [(_, path)] => {
            let found = look(path)
                .map_err(|why| Rejection { reason: format!("in it is {}: {}", quoted(path), why.reason), ..why })?;
            if found.is_dir() {
                return Err(Rejection::new(format!("in it is {}, which is a directory", quoted(path)))
                    .fix("name the library itself"));
            }
            Ok(path.clone())
        }
        [] => {
            let below = BELOW.iter().map(|below| dir.join(below)).find(|dir| !search::candidates(dir).is_empty());
            let fix = below.map_or_else(
                || "build one (cargo build --release), and name the directory it lies in: target/release".to_owned(),
                |dir| type_next(&dir),
            );
            let name = search::file_name("NAME");
            Err(Rejection::new(format!("no backend lies in this directory: none of its files is named '{name}'"))
                .fix(fix))
        }
        [(_, first), ..] => {
            let names: Vec<&str> = found.iter().take(MAX_NAMED).map(|(name, _)| name.as_str()).collect();
            let more = if found.len() > MAX_NAMED { ", …" } else { "" };
            Err(Rejection::new(format!("several backends lie in this directory: {}{more}", names.join(", ")))
                .fix(format!("name one: {}", type_next(first))))
        }
    }
}

fn type_next(path: &Path) -> String {
    format!("workmux plugin install {}", crate::text::quote(path.as_os_str()))
}

/// A file of the user's that is no library is theirs to keep.
fn named_wrongly(why: Rejection) -> Rejection {
    match why.fix.as_deref() {
        Some(image::REMOVE) => why.fix(format!("name the library, {}", search::file_name("NAME"))),
        _ => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::trust::Identity;

    /// Why nothing is found, and what to do.
    fn wrong(path: &Path) -> (String, String) {
        let Err(why) = Source::find(&Trust::new(Identity::current()), path) else { panic!("{}", path.display()) };
        (why.reason, why.fix.unwrap_or_default())
    }

    #[test]
    fn a_directory_must_hold_one_library() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let (reason, fix) = wrong(dir);
        assert!(reason.contains("no backend lies in this directory") && fix.contains("cargo build"), "{reason}: {fix}");

        let release = dir.join("target/release");
        fs::create_dir_all(&release).unwrap();
        fs::write(release.join(search::file_name("acme")), "x").unwrap();
        let (_, fix) = wrong(dir);
        assert_eq!(fix, format!("workmux plugin install {}", release.display()));
        let (reason, fix) = wrong(&release);
        assert_eq!((reason.as_str(), fix.contains("name the library")), ("it is not a shared library", true), "{fix}");

        fs::write(release.join(search::file_name("beta")), "x").unwrap();
        let (reason, fix) = wrong(&release);
        assert!(reason.ends_with(": acme, beta") && fix.ends_with(&search::file_name("acme")), "{reason}: {fix}");
        for i in 0..20 {
            fs::write(release.join(search::file_name(&format!("c{i}"))), "x").unwrap();
        }
        assert!(wrong(&release).0.ends_with(", …"));

        let holder = dir.join("holder");
        fs::create_dir_all(holder.join(search::file_name("acme"))).unwrap();
        assert!(wrong(&holder).0.ends_with("which is a directory"));
    }

    #[test]
    fn links_and_what_is_no_file_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let (file, link) = (temp.path().join("file"), temp.path().join("link"));
        let (reason, fix) = wrong(&file);
        assert!(reason.contains("no such file") && fix.contains(&search::file_name("NAME")), "{reason}: {fix}");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(wrong(&link), ("it is a link".into(), "it leads nowhere: name the library itself".into()));
        fs::write(&file, "x").unwrap();
        let real = file.canonicalize().unwrap();
        assert_eq!(wrong(&link).1, format!("workmux plugin install {}", real.display()));
        // Also one that is found in a directory.
        let dir = temp.path().join("dir");
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(&file, dir.join(search::file_name("acme"))).unwrap();
        let (reason, _) = wrong(&dir);
        assert!(reason.starts_with("in it is '") && reason.ends_with("it is a link"), "{reason}");

        let pipe = temp.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(wrong(&pipe).0.contains("neither a file nor a directory"));
    }
}
