//! Refuses mounts of what controls the host (P68): git's own directories, sockets, devices, the home itself, and the
//! directories this program trusts. Decided on the resolved file, never on the name it was given.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use color_eyre::eyre::{Result, WrapErr as _};
use workmux_plugin_api::{Access, Mount};

use super::Checkout;
use crate::error::hinted;

/// Directories no guest may write into, or lie above.
#[derive(Debug, Clone, Default)]
pub struct Protected {
    /// The user's home: may be written into, but not mounted as a whole.
    pub home: Option<PathBuf>,
    /// Configuration, state, cache and plugin directories of this program: they hold secrets of other runs, too, so a
    /// guest may not read them either.
    pub own: Vec<PathBuf>,
    /// This program and what it loads: everybody may read them.
    pub programs: Vec<PathBuf>,
}

/// Directories of the system that no mount may show: they hold sockets and controls of the host.
const SYSTEM: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/var/run"];

/// The checks.
#[derive(Debug)]
pub struct Guard(Protected);

impl Guard {
    /// Resolves the protected directories, as far as they exist.
    pub fn new(protected: Protected) -> Self {
        let resolve = |p: PathBuf| fs::canonicalize(&p).unwrap_or(p);
        let all = |paths: Vec<PathBuf>| paths.into_iter().map(resolve).collect();
        Self(Protected {
            home: protected.home.map(resolve),
            own: all(protected.own),
            programs: all(protected.programs),
        })
    }

    /// The checkout, which the guest writes.
    pub(super) fn worktree(&self, worktree: &Path) -> Result<()> {
        if let Some(why) = self.forbidden(worktree) {
            return Err(hinted(
                format!("the checkout {} cannot be given to a sandbox: {why}", quote(worktree)),
                "work in a checkout below your home that holds only the project",
            ));
        }
        Ok(())
    }

    /// A mount the user asked for, by the key `said`.
    pub(super) fn mount(&self, said: &str, mount: &Mount, checkout: &Checkout) -> Result<()> {
        if crate::mutant::off("p68_guard") {
            return Ok(());
        }
        let refuse = |why: &str| {
            Err(hinted(
                format!("'{said}' must not show {} to a sandbox: {why}", quote(&mount.source)),
                "change that entry of your configuration, or where the path leads",
            ))
        };
        let source = fs::canonicalize(&mount.source)
            .wrap_err_with(|| format!("'{said}' names {}, which cannot be found", quote(&mount.source)))?;
        let kind = fs::metadata(&source)?.file_type();
        if kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
            return refuse("it is a socket, pipe or device, through which a guest could control the host");
        }
        if let Some(system) = SYSTEM.iter().find(|s| source.starts_with(s) || Path::new(s).starts_with(&source)) {
            return refuse(&format!("it shows '{system}', where the host keeps sockets and controls"));
        }
        if let Some(why) = self.own(&source) {
            return refuse(&why);
        }
        if mount.access == Access::ReadOnly {
            return Ok(());
        }
        if let Some(why) = self.forbidden(&source) {
            return refuse(&why);
        }
        if let Some(program) = self.0.programs.iter().find(|program| overlaps(&source, program)) {
            return refuse(&format!("workmux itself is loaded from {}", quote(program)));
        }
        let git = checkout.git.iter().any(|git| overlaps(&source, git) || overlaps(&mount.target, git));
        if git || is_git(&source) {
            return refuse("a guest could write git's own files, which name programs for the host's git to run");
        }
        Ok(())
    }

    fn own(&self, path: &Path) -> Option<String> {
        let own = self.0.own.iter().find(|own| overlaps(path, own))?;
        Some(format!("workmux keeps what it trusts in {}", quote(own)))
    }

    /// Why a guest must not write this directory.
    fn forbidden(&self, path: &Path) -> Option<String> {
        if path == Path::new("/") {
            return Some("it is the root of the file system".into());
        }
        if let Some(home) = self.0.home.as_ref().filter(|home| home.starts_with(path)) {
            return Some(if path == home {
                "it is your home directory".into()
            } else {
                format!("your home directory {} lies in it", quote(home))
            });
        }
        self.own(path)
    }
}

/// Whether it is a checkout or a git directory, of whatever repository, or lies in one's git directory.
fn is_git(path: &Path) -> bool {
    path.join(".git").symlink_metadata().is_ok()
        || path.components().any(|part| part.as_os_str() == ".git")
        || ["HEAD", "objects", "refs"].iter().all(|name| path.join(name).symlink_metadata().is_ok())
}

fn overlaps(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

fn quote(path: &Path) -> String {
    crate::text::quote(path.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p68_what_controls_the_host_is_not_mounted_not_even_through_links() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let home = root.join("home");
        let state = home.join(".local/state/workmux");
        let git = home.join("repo/.git");
        let other = home.join("other/.git");
        let prefix = home.join("prefix/lib/workmux/plugins");
        for dir in [&state, &git, &home.join("cache"), &git.join("hooks"), &other, &prefix] {
            fs::create_dir_all(dir).unwrap();
        }
        let socket = root.join("engine");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&socket, home.join("harmless")).unwrap();
        std::os::unix::fs::symlink(&git, home.join("data")).unwrap();
        let guard = Guard::new(Protected {
            home: Some(home.clone()),
            own: vec![state.clone()],
            programs: vec![home.join("prefix/lib/workmux")],
        });
        let checkout = Checkout {
            worktree: home.join("repo"),
            cwd: home.join("repo"),
            main: None,
            git: vec![git.clone()],
            worktrees: None,
        };
        let writable = |p: &Path| guard.mount("key", &Mount::read_write(p, p), &checkout);
        let readable = |p: &Path| guard.mount("key", &Mount::read_only(p, p), &checkout);

        writable(&home.join("cache")).unwrap();
        readable(&prefix).unwrap();
        readable(&home.join("other")).unwrap();
        let refused = [
            Path::new("/"),
            &home,
            &root,
            &state,
            &state.join(".."),
            &git,
            &git.join("hooks"),
            &home.join("repo"),
            &home.join("data"),
            &home.join("other"),
            &other,
            &prefix,
            &home.join("prefix"),
        ];
        for path in refused {
            assert!(writable(path).is_err(), "{}", path.display());
        }
        let unreadable = [&socket, &home.join("harmless"), &state, &home];
        for path in unreadable.into_iter().map(PathBuf::as_path).chain(["/proc", "/dev/null", "/"].map(Path::new)) {
            assert!(readable(path).is_err(), "{}", path.display());
        }
        let sideways = Mount::read_write(home.join("cache"), git.join("hooks"));
        assert!(guard.mount("key", &sideways, &checkout).is_err(), "a harmless source over git's directory");
        assert!(guard.worktree(&home).is_err() && guard.worktree(&home.join("repo")).is_ok());
    }
}
