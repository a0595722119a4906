//! Which files may be asked: those that only the user and root can have put where they are, outside of every checkout,
//! because checkouts are what agents write. What is wrong is said with what to do.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o022;
const EXECUTE: u32 = 0o111;

/// Looks at the file and at every directory above it.
///
/// # Errors
/// Why it is not used.
pub(crate) fn look(path: &Path) -> Result<(), String> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(format!("'{shown}' is not an absolute path"));
    }
    let real = path.canonicalize().map_err(|e| format!("'{shown}' cannot be used: {e}"))?;
    // Whoever can change a link on the way decides as much as whoever can change the file.
    if real != path {
        return Err(format!("'{shown}' leads elsewhere: write '{}'", real.display()));
    }
    let ours = nix::unistd::geteuid().as_raw();
    for (above, at) in path.ancestors().enumerate() {
        let found = fs::symlink_metadata(at).map_err(|e| format!("'{}' cannot be looked at: {e}", at.display()))?;
        owned(at, &found, ours, above)?;
        if above == 0 && !found.is_file() {
            return Err(format!("'{shown}' is not a regular file"));
        }
        if above == 0 && found.mode() & EXECUTE == 0 {
            return Err(format!("'{shown}' is not executable: chmod u+x '{shown}'"));
        }
        if above > 0 && fs::symlink_metadata(at.join(".git")).is_ok() {
            let checkout = at.display();
            return Err(format!(
                "'{shown}' lies in the git checkout '{checkout}', which agents write: copy it elsewhere"
            ));
        }
    }
    Ok(())
}

fn owned(at: &Path, found: &Metadata, ours: u32, above: usize) -> Result<(), String> {
    let shown = at.display();
    if found.uid() != 0 && found.uid() != ours {
        return Err(format!("'{shown}' belongs to another user (id {})", found.uid()));
    }
    // In a sticky directory others cannot replace what is there. They could add files, so the program's own must not be
    // one.
    let sticky = above > 1 && found.mode() & STICKY != 0;
    if found.mode() & OTHERS_WRITE != 0 && !sticky {
        return Err(format!("others can write '{shown}': chmod go-w '{shown}'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_what_nobody_else_can_change_is_asked() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        let put = |path: &str, mode| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        };
        look(&put("good/program", 0o755)).unwrap();
        let open = put("open/program", 0o755);
        fs::set_permissions(open.parent().unwrap(), Permissions::from_mode(0o1777)).unwrap();
        fs::create_dir_all(root.join("wt/.git")).unwrap();
        symlink(root.join("good/program"), root.join("link")).unwrap();
        for (path, why) in [
            (put("good/others", 0o757), "chmod go-w"),
            (put("good/group", 0o775), "chmod go-w"),
            (put("good/plain", 0o644), "chmod u+x"),
            (open, "others can write"),
            (put("wt/bin/program", 0o755), "lies in the git checkout"),
            (root.join("link"), "leads elsewhere: write '"),
            (root.join("good/../good/program"), "leads elsewhere"),
            (root.join("good"), "is not a regular file"),
            (root.join("gone"), "cannot be used: No such file"),
            ("program".into(), "is not an absolute path"),
        ] {
            let wrong = look(&path).unwrap_err();
            assert!(wrong.contains(why), "{}: {wrong}", path.display());
        }
    }
}
