//! A whole file put where the user is to find and change it. What it says, and where it goes, is the caller's.
//!
//! The directory may be one that a guest writes into: a link in the file's place is never followed, and what is there is
//! kept unless the user said otherwise.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use color_eyre::eyre::{Report, Result, WrapErr as _};
use tempfile::NamedTempFile;

use crate::error::hinted;

/// A file that is to be made.
#[derive(Debug)]
pub(crate) struct NewFile<'a> {
    /// Where; its directory is there.
    pub(crate) path: &'a Path,
    /// What it is called in messages.
    pub(crate) shown: String,
    /// Who may read it.
    pub(crate) mode: u32,
    /// What to type to overwrite it.
    pub(crate) again: &'a str,
}

impl NewFile<'_> {
    /// Writes the whole text, with a line end, or nothing. With `force` what stands there is replaced, a link itself too.
    pub(crate) fn write(&self, text: &str, force: bool) -> Result<()> {
        let shown = &self.shown;
        let there = self.path.symlink_metadata();
        if there.as_ref().is_ok_and(|found| found.is_dir()) {
            return Err(hinted(format!("{shown} is a directory here"), "move it away, or type this somewhere else"));
        }
        if !force && there.is_ok() {
            return Err(self.taken());
        }
        let failed = || format!("could not write {shown}");
        let file = self.made(text).wrap_err_with(failed)?;
        if force {
            return file.persist(self.path).map(drop).map_err(|e| Report::new(e.error)).wrap_err_with(failed);
        }
        match file.persist_noclobber(self.path) {
            Ok(_) => Ok(()),
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Err(self.taken()),
            Err(e) => Err(Report::new(e.error)).wrap_err_with(failed),
        }
    }

    fn made(&self, text: &str) -> io::Result<NamedTempFile> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let mut file =
            tempfile::Builder::new().permissions(Permissions::from_mode(self.mode)).tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        Ok(file)
    }

    fn taken(&self) -> Report {
        hinted(format!("{} exists already", self.shown), format!("overwrite it: {}", self.again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, force: bool) -> Result<()> {
        NewFile { path, shown: "'file'".to_owned(), mode: 0o644, again: "again --force" }.write(text, force)
    }

    #[test]
    fn what_is_there_stays_without_force_and_a_link_is_never_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (temp.path().join("file"), temp.path().join("elsewhere"));
        write(&path, "one", false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
        let error = crate::error::render(&write(&path, "two", false).unwrap_err());
        assert!(error.contains("'file' exists already") && error.contains("again --force"), "{error}");
        write(&path, "two\n", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");

        std::fs::write(&elsewhere, "precious").unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let _taken = write(&path, "three", false).unwrap_err();
        write(&path, "three", true).unwrap();
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "precious");
        assert!(path.symlink_metadata().unwrap().is_file());
        // A dangling link is there as well.
        let dangling = temp.path().join("dangling");
        std::os::unix::fs::symlink("/nonexistent/x", &dangling).unwrap();
        let _taken = write(&dangling, "x", false).unwrap_err();
        let folder = temp.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        let error = write(&folder, "x", true).unwrap_err().to_string();
        assert!(error.contains("is a directory"), "{error}");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 4, "nothing half-made is left");
    }
}
