//! `sandbox init-dockerfile`: the build as a file for the user to change.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::Target;
use crate::error::{Failure, from_backend, hinted};
use crate::routing::INIT_DOCKERFILE;
use crate::surroundings::Surroundings;
use crate::text::{line, quote};

/// The command; the answer is its exit code.
pub(crate) fn recipe(force: bool, flag: Option<&str>, surroundings: &Surroundings) -> Result<u8, Failure> {
    Ok(crate::task::run(async {
        let target = Target::find(INIT_DOCKERFILE, flag, surroundings).await?;
        let recipe = target.backend.recipe(target.request).await.map_err(|e| from_backend(&e))?;
        let path = surroundings.cwd.join(&recipe.file);
        write(&path, &recipe.text, force)?;
        crate::ui::print(&format!(
            "✓ {}\n\nNext:\n  1. Change it to your needs.\n  2. Build it: {}\n  3. Use it, in your own file {}:\n\n     sandbox:\n       \
             enabled: true\n       image: {}\n",
            recipe.file,
            recipe.build,
            quote(&surroundings.config_home.join("workmux/config.yaml").into_os_string()),
            recipe.image,
        ));
        Ok(0)
    })?)
}

/// Writes the whole file or nothing. What stands there as a link is replaced, not followed.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let shown = format!("'{}'", line(&path.file_name().unwrap_or_default().to_string_lossy()));
    let taken = || hinted(format!("{shown} exists already"), "overwrite it: workmux sandbox init-dockerfile --force");
    if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Err(hinted(format!("{shown} is a directory here"), "move it away, or type this somewhere else"));
    }
    if !force && path.symlink_metadata().is_ok() {
        return Err(taken());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let made = || -> std::io::Result<tempfile::NamedTempFile> {
        let mut file =
            tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o644)).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        Ok(file)
    };
    let file = made().wrap_err_with(|| format!("could not write {shown} here"))?;
    if force {
        file.persist(path).map(drop).map_err(|e| Report::new(e.error))
    } else {
        file.persist_noclobber(path).map(drop).map_err(|e| match e.error.kind() {
            std::io::ErrorKind::AlreadyExists => taken(),
            _ => Report::new(e.error),
        })
    }
    .wrap_err_with(|| format!("could not write {shown} here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_without_force_and_a_link_is_never_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (temp.path().join("Dockerfile.sandbox"), temp.path().join("elsewhere"));
        write(&path, "one", false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
        let error = crate::error::render(&write(&path, "two", false).unwrap_err());
        assert!(error.contains("exists already") && error.contains("--force"), "{error}");
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
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 3, "nothing half-made is left");
    }
}
