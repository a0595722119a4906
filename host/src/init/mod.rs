//! `workmux init`: a configuration file in which every key stands as a comment, for a project or for the user.
//!
//! The texts are `project.yaml` and `user.yaml`; a test of `config` holds them to the table of keys. Where the file is
//! looked for is `config`'s to know, how it is written `new_file`'s.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use color_eyre::eyre::{Report, Result, WrapErr as _};

use crate::config::{self, DEFAULT_BACKENDS, Sources};
use crate::error::Failure;
use crate::git::Repository;
use crate::new_file::NewFile;
use crate::surroundings::Surroundings;
use crate::text::quote;

/// Whose file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The project's, in its repository.
    Project,
    /// The user's own.
    User,
}

/// The file's text. Backends are named by the list of the configuration alone.
pub(crate) fn text(of: Of) -> String {
    let text = match of {
        Of::Project => include_str!("project.yaml"),
        Of::User => include_str!("user.yaml"),
    };
    let last = DEFAULT_BACKENDS.last().copied().unwrap_or_default();
    text.replace("{backends}", &DEFAULT_BACKENDS.join(", ")).replace("{backend}", last)
}

/// Writes the file; the answer is the exit code.
pub(crate) fn init(of: Of, force: bool, surroundings: &Surroundings) -> Result<u8, Failure> {
    let path = put(of, force, surroundings)?;
    crate::ui::print(&next(of, &path));
    Ok(0)
}

/// Finds the place and writes; the answer is the file.
fn put(of: Of, force: bool, surroundings: &Surroundings) -> Result<PathBuf> {
    let path = match of {
        Of::Project => project_file(&surroundings.cwd, surroundings)?,
        Of::User => user_file(surroundings)?,
    };
    write(of, &path, force)?;
    Ok(path)
}

/// The project's file in the checkout that `cwd` is in: the one that is read there, or else the one to make.
fn project_file(cwd: &Path, surroundings: &Surroundings) -> Result<PathBuf> {
    let root = Repository::discover(cwd).map_err(Report::new)?.worktree;
    crate::launch::become_owner(&root)?;
    // Nowhere but in this checkout: a linked worktree also reads the main checkout's file, which is not the one meant.
    let loaded =
        config::load(&Sources { start: root.clone(), worktree_root: Some(root.clone()), ..sources(surroundings) })?;
    Ok(loaded.project_file().map_or_else(|| root.join(config::PROJECT_FILE), Path::to_owned))
}

/// The user's own file that is read, or else the one to make.
fn user_file(surroundings: &Surroundings) -> Result<PathBuf> {
    // No project has a say in this: looking for one starts, and ends, beside the user's file.
    let start = surroundings.config_home.join("workmux");
    Ok(config::load(&Sources { start, ..sources(surroundings) })?.global_file().to_owned())
}

fn sources(surroundings: &Surroundings) -> Sources {
    Sources {
        home: surroundings.home.clone(),
        xdg_config_home: Some(surroundings.config_home.clone()),
        ..Sources::default()
    }
}

fn write(of: Of, path: &Path, force: bool) -> Result<()> {
    let (mode, again) = match of {
        Of::Project => (0o644, "workmux init --force"),
        // Keys of a model's provider may come to stand there.
        Of::User => (0o600, "workmux init --global --force"),
    };
    let shown = quote(path.as_os_str());
    if let (Of::User, Some(directory)) = (of, path.parent()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.wrap_err_with(|| format!("could not make {}", quote(directory.as_os_str())))?;
    }
    NewFile { path, shown, mode, again }.write(&text(of), force)
}

fn next(of: Of, path: &Path) -> String {
    let last = match of {
        Of::Project => "Commit it: who works on this project gets it too. Your own file: workmux init --global",
        Of::User => "A project's keys, which can stand there as well: workmux init, in its repository",
    };
    format!(
        "✓ {}\n\nNext:\n  1. Take the comment signs off the keys that you want, and change them.\n  2. See what is made of \
         them: workmux doctor\n  3. {last}",
        quote(path.as_os_str())
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// A home, and beside it a repository with a folder in it.
    fn place() -> (tempfile::TempDir, Surroundings) {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("repo/folder")).unwrap();
        let git = |words: &[&str]| {
            let mut git = std::process::Command::new("git");
            let git = git.args(words).current_dir(base.join("repo")).env("GIT_CONFIG_GLOBAL", "/dev/null");
            assert!(git.output().unwrap().status.success(), "{words:?}");
        };
        git(&["init", "-q"]);
        let home = base.join("home");
        let surroundings = Surroundings {
            cwd: base.join("repo/folder"),
            config_home: home.join(".config"),
            data_home: home.join(".local/share"),
            state: home.join(".local/state/workmux"),
            cache: home.join(".cache/workmux"),
            executable: home.join("workmux"),
            search_path: Vec::new(),
            uid: 0,
            gid: 0,
            home,
        };
        (root, surroundings)
    }

    fn rendered(result: Result<PathBuf>) -> String {
        crate::error::render(&result.unwrap_err())
    }

    #[test]
    fn a_projects_file_goes_to_the_root_of_the_checkout_and_is_kept() {
        let (_root, at) = place();
        let repo = at.cwd.parent().unwrap();
        let file = repo.join(".workmux.yaml");
        put(Of::Project, false, &at).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text(Of::Project));
        fs::write(&file, "agent: codex\n").unwrap();
        let error = rendered(put(Of::Project, false, &at));
        assert!(error.contains(file.to_str().unwrap()) && error.contains("workmux init --force"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "agent: codex\n");
        put(Of::Project, true, &at).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text(Of::Project));
        assert_eq!(fs::read_dir(repo).unwrap().count(), 3, "'.git', 'folder' and the file");
    }

    #[test]
    fn the_file_that_is_read_is_the_one_that_counts() {
        let (_root, at) = place();
        let other = at.cwd.parent().unwrap().join(".workmux.yml");
        fs::write(&other, "not: [yaml").unwrap();
        let error = rendered(put(Of::Project, false, &at));
        assert!(error.contains(".workmux.yml"), "{error}");
        put(Of::Project, true, &at).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), text(Of::Project));
        assert!(!other.with_file_name(".workmux.yaml").exists());

        fs::create_dir_all(at.config_home.join("workmux")).unwrap();
        fs::write(at.config_home.join("workmux/config.yml"), "").unwrap();
        assert!(rendered(put(Of::User, false, &at)).contains("config.yml"));
    }

    #[test]
    fn the_users_file_is_made_with_its_directory_and_for_them_alone() {
        let (_root, at) = place();
        let at = Surroundings { cwd: "/".into(), ..at };
        put(Of::User, false, &at).unwrap();
        let file = at.config_home.join("workmux/config.yaml");
        assert_eq!(fs::read_to_string(&file).unwrap(), text(Of::User));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(rendered(put(Of::User, false, &at)).contains("workmux init --global --force"));
        assert!(rendered(put(Of::Project, false, &at)).contains("git init"));
    }

    #[test]
    fn a_link_is_not_followed() {
        let (_root, at) = place();
        let link = at.cwd.parent().unwrap().join(".workmux.yaml");
        for to in ["precious", "missing"] {
            let target = at.cwd.join(to);
            symlink(&target, &link).unwrap();
            if to == "precious" {
                fs::write(&target, "mine").unwrap();
            }
            assert!(rendered(put(Of::Project, false, &at)).contains("exists already"));
            put(Of::Project, true, &at).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_file());
            assert_eq!(fs::read_to_string(&target).ok().as_deref(), (to == "precious").then_some("mine"));
            fs::remove_file(&link).unwrap();
        }
    }
}
