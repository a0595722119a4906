//! One file of an agent's: found through the user's links, read, and replaced in one step.
//!
//! A guest may write into these directories, so nothing here makes a file where a link only points: what is written
//! through a link was there before, and was shown with its real path.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use color_eyre::eyre::{Report, Result, WrapErr as _};

use crate::error::hinted;

/// A file as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// As it is called.
    pub(super) path: PathBuf,
    /// What is written: the end of the user's links.
    pub(super) real: PathBuf,
    /// Whether the file itself is a link.
    pub(super) linked: bool,
    /// What stands in it, if it is there.
    pub(super) text: Option<String>,
}

impl Found {
    /// Looks at a file that need not exist.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let linked = fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_symlink());
        let real = match (linked, fs::canonicalize(path)) {
            (_, Ok(real)) => real,
            (true, Err(e)) => {
                let to = fs::read_link(path).unwrap_or_default();
                let next = "make that file, or remove the link; then type the command again";
                return Err(hinted(e.to_string(), next).wrap_err(format!(
                    "{} is a link to {}, which cannot be used",
                    quote(path),
                    quote(&to)
                )));
            }
            // As far as it exists, so that one file has one name.
            (false, Err(e)) if e.kind() == io::ErrorKind::NotFound => resolved(path),
            (false, Err(e)) => return Err(e).wrap_err_with(|| format!("cannot find {}", quote(path))),
        };
        let text = content(&real).wrap_err_with(|| format!("cannot read {}", quote(path)))?;
        Ok(Self { path: path.to_owned(), real, linked, text })
    }

    /// Its name, and where it really is.
    pub(super) fn shown(&self) -> String {
        if self.linked { format!("{} (a link to {})", quote(&self.path), quote(&self.real)) } else { quote(&self.path) }
    }

    /// Puts this text there, or removes the file. Mode and owner stay.
    pub(super) fn replace(&self, with: Option<&str>) -> Result<()> {
        let failed = || format!("cannot write {}", self.shown());
        if content(&self.real).wrap_err_with(failed)? != self.text {
            return Err(hinted(
                format!("{} was changed in the meantime, and is left as it is now", self.shown()),
                "type the command again",
            ));
        }
        match with {
            Some(text) => self.write(text).wrap_err_with(failed),
            None => fs::remove_file(&self.real).wrap_err_with(|| format!("cannot remove {}", self.shown())),
        }
    }

    fn write(&self, text: &str) -> Result<()> {
        let directory = self.real.parent().ok_or_else(|| Report::msg("it lies in no directory"))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut new = tempfile::Builder::new().prefix(".workmux-").tempfile_in(directory)?;
        new.write_all(text.as_bytes())?;
        if self.text.is_none() {
            new.as_file().sync_all()?;
            return Ok(new.persist_noclobber(&self.real).map(drop).map_err(|e| e.error)?);
        }
        let old = fs::metadata(&self.real)?;
        let own = new.as_file().metadata()?;
        if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
            std::os::unix::fs::fchown(new.as_file(), Some(old.uid()), Some(old.gid()))
                .wrap_err("its owner cannot be kept")?;
        }
        new.as_file().set_permissions(old.permissions())?;
        new.as_file().sync_all()?;
        Ok(new.persist(&self.real).map(drop).map_err(|e| e.error)?)
    }
}

/// The path with every link resolved in the part of it that exists.
fn resolved(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
    fs::canonicalize(parent).unwrap_or_else(|_| resolved(parent)).join(name)
}

fn content(path: &Path) -> Result<Option<String>> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(Report::msg("it is not a regular file")),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let bytes = fs::read(path)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        Report::msg(format!("line {}: it is no UTF-8 text", 1 + valid.iter().filter(|&&b| b == b'\n').count()))
    })?;
    Ok(Some(text))
}

fn quote(path: &Path) -> String {
    crate::text::quote(path.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_through_its_link() {
        let root = tempfile::tempdir().unwrap();
        let (dotfiles, link) = (root.path().join("dotfiles"), root.path().join("settings.json"));
        fs::create_dir(&dotfiles).unwrap();
        let target = dotfiles.join("claude.json");
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("dotfiles/claude.json", &link).unwrap();

        let found = Found::read(&link).unwrap();
        assert!(found.linked && found.text.as_deref() == Some("old"));
        found.replace(Some("new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
        assert_eq!((fs::read_to_string(&target).unwrap().as_str(), mode(&target)), ("new", 0o640));
        assert_eq!(fs::read_dir(&dotfiles).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_changed_in_the_meantime_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.json");
        let absent = Found::read(&path).unwrap();
        fs::write(&path, "somebody").unwrap();
        let present = Found::read(&path).unwrap();
        fs::write(&path, "somebody else").unwrap();
        for found in [absent, present] {
            assert!(found.replace(Some("ours")).unwrap_err().to_string().contains("meantime"));
            assert!(found.replace(None).is_err());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody else");
    }

    #[test]
    fn a_new_file_is_the_users_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new/a.json");
        let found = Found::read(&path).unwrap();
        assert!(!found.linked && found.text.is_none());
        found.replace(Some("text")).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        Found::read(&path).unwrap().replace(None).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_text_file_is_an_error_and_no_link_makes_a_file() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let error = |name: &str| format!("{:#}", Found::read(&path(name)).unwrap_err());
        fs::create_dir(path("folder")).unwrap();
        assert!(error("folder").contains("not a regular file"));
        fs::write(path("latin"), b"{\n\"\xe9\"}").unwrap();
        assert!(error("latin").contains("line 2"), "{}", error("latin"));
        symlink(path("nowhere"), path("link")).unwrap();
        assert!(error("link").contains("nowhere"));
        assert!(!path("nowhere").exists());
    }

    #[test]
    fn one_file_has_one_name() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("real")).unwrap();
        symlink("real", root.path().join("link")).unwrap();
        let real = |name: &str| Found::read(&root.path().join(name)).unwrap().real;
        assert_eq!(real("link/new/a.json"), real("real/new/a.json"));
        assert_ne!(real("link/new/a.json"), real("real/new/b.json"));
    }
}
