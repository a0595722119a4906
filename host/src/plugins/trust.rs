//! Who could have put a file where it is, or could change it: the rules of ssh for its own files, for libraries.
//!
//! A path is walked from the root by hand. Every directory on the way must belong to root or to us and be writable by
//! nobody else, and so must every link and every directory on the way to a link's target: so that where the link lies
//! and where it points are both covered. The file at the end is opened once; what is checked is what is loaded.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Gid, Group, Uid, User};

use super::Rejection;

const MAX_LINKS: usize = 40;
const STICKY: u32 = 0o1000;
const GROUP_WRITE: u32 = 0o020;
const OTHER_WRITE: u32 = 0o002;

/// Whose files are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Our user id.
    pub uid: u32,
    /// A group nobody else is in. Where such groups are usual, so is a umask of 002.
    pub private_group: Option<u32>,
}

impl Identity {
    /// This process.
    pub fn current() -> Self {
        let uid = Uid::effective();
        Self { uid: uid.as_raw(), private_group: private_group(uid).map(Gid::as_raw) }
    }
}

/// The user's primary group, if it bears the user's name and has no other member.
fn private_group(uid: Uid) -> Option<Gid> {
    let user = User::from_uid(uid).ok()??;
    let group = Group::from_gid(user.gid).ok()??;
    let mine = group.name == user.name && group.mem.iter().all(|member| *member == user.name);
    // Members by their primary group are not listed in the group.
    let others = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let foreign = others.lines().any(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        fields.get(3) == Some(&user.gid.to_string().as_str()) && fields.get(2) != Some(&uid.to_string().as_str())
    });
    (mine && !foreign).then_some(user.gid)
}

/// Checks paths, and remembers the directories that were good.
#[derive(Debug)]
pub(super) struct Trust {
    identity: Identity,
    good: Mutex<HashSet<PathBuf>>,
    /// Directories that hold files we may use, and where they really lie.
    folders: Mutex<HashMap<PathBuf, PathBuf>>,
}

/// A file that only root and we can change, open for reading.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    /// Where it really lies.
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
}

impl Trust {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, good: Mutex::new(HashSet::new()), folders: Mutex::new(HashMap::new()) }
    }

    /// Opens a file that only root and we can change.
    pub(super) fn open(&self, path: &Path) -> Result<Opened, Rejection> {
        self.folder(path)?;
        let (real, found) = self.walk(path)?;
        self.folder(&real)?;
        self.open_at(real, &found)
    }

    /// Opens a file that is copied and not used where it lies. Others may add files beside it, as in a directory for
    /// temporary files, but not change it or put another in its place.
    pub(super) fn open_to_copy(&self, path: &Path) -> Result<Opened, Rejection> {
        let (real, found) = self.walk(path)?;
        self.open_at(real, &found)
    }

    fn open_at(&self, real: PathBuf, found: &Metadata) -> Result<Opened, Rejection> {
        if !found.is_file() {
            let what = if found.is_dir() { "a directory" } else { "not a regular file" };
            return Err(Rejection::new(format!("it is {what}")).fix(format!("remove it: {}", quoted(&real))));
        }
        // Not blocking and not following: the name may have come to mean something else since.
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&real).map_err(|e| unreadable(&real, &e))?;
        let metadata = file.metadata().map_err(|e| unreadable(&real, &e))?;
        if (metadata.dev(), metadata.ino()) != (found.dev(), found.ino()) {
            return Err(Rejection::new("it was replaced while it was looked at").fix("try again"));
        }
        self.judge(&real, &metadata, Role::File)?;
        Ok(Opened { file, path: real, metadata })
    }

    /// The real path of a directory that only root and we can change.
    pub(super) fn directory(&self, path: &Path) -> Result<PathBuf, Rejection> {
        if let Some(real) = self.known(path) {
            return Ok(real);
        }
        let (real, found) = self.walk(path)?;
        if !found.is_dir() {
            return Err(Rejection::new(format!("{} is not a directory", quoted(&real))));
        }
        self.judge(&real, &found, Role::Folder)?;
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.insert(path.to_owned(), real.clone());
        Ok(real)
    }

    /// The directory something lies in is held to more than the ones above it: others could add to a sticky one.
    fn folder(&self, of: &Path) -> Result<(), Rejection> {
        of.parent().map_or(Ok(()), |parent| self.directory(parent).map(drop))
    }

    /// A directory that was found good before.
    fn known(&self, folder: &Path) -> Option<PathBuf> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).get(folder).cloned()
    }

    /// Resolves links by hand, judging each step.
    fn walk(&self, path: &Path) -> Result<(PathBuf, Metadata), Rejection> {
        if let (Some(folder), Some(name)) = (path.parent().and_then(|p| self.known(p)), path.file_name()) {
            let real = folder.join(name);
            let found = self.step(&real)?;
            if !found.is_symlink() {
                return Ok((real, found));
            }
        }
        if !path.is_absolute() {
            return Err(Rejection::new(format!("{} is not an absolute path", quoted(path))));
        }
        let mut at = PathBuf::from("/");
        let mut found = self.step(&at)?;
        let mut todo: Vec<OsString> = Vec::new();
        push_parts(&mut todo, path);
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                at.pop();
                found = self.step(&at)?;
                continue;
            }
            let next = at.join(part);
            found = self.step(&next)?;
            if found.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Rejection::new(format!("{} leads through too many links", quoted(path))));
                }
                let target = std::fs::read_link(&next).map_err(|e| unreadable(&next, &e))?;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                push_parts(&mut todo, &target);
                found = self.step(&at)?;
            } else {
                at = next;
            }
        }
        Ok((at, found))
    }

    fn step(&self, path: &Path) -> Result<Metadata, Rejection> {
        let found = std::fs::symlink_metadata(path).map_err(|e| unreadable(path, &e))?;
        if found.is_symlink() {
            self.judge(path, &found, Role::Link)?;
        } else if found.is_dir() {
            let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
            if !good.contains(path) {
                self.judge(path, &found, Role::Above)?;
                good.insert(path.to_owned());
            }
        }
        Ok(found)
    }

    fn judge(&self, path: &Path, found: &Metadata, role: Role) -> Result<(), Rejection> {
        let facts = Facts { uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777 };
        verdict(self.identity, facts, role).map_err(|fault| fault.rejection(path, facts))
    }
}

fn push_parts(todo: &mut Vec<OsString>, path: &Path) {
    todo.extend(path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }));
}

/// What something on the way is to the file at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The file itself.
    File,
    /// The directory it lies in.
    Folder,
    /// A directory further up.
    Above,
    /// A link on the way; its mode means nothing.
    Link,
}

#[derive(Debug, Clone, Copy)]
struct Facts {
    uid: u32,
    gid: u32,
    mode: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Owner,
    Group,
    Everybody,
}

/// The rule itself.
fn verdict(identity: Identity, facts: Facts, role: Role) -> Result<(), Fault> {
    if crate::mutant::off("p72_owner") {
        return Ok(());
    }
    if facts.uid != 0 && facts.uid != identity.uid {
        return Err(Fault::Owner);
    }
    // In a sticky directory only the owner of an entry can replace it, and each entry on the way is judged.
    if role == Role::Link || (role == Role::Above && facts.mode & STICKY != 0) {
        return Ok(());
    }
    if facts.mode & OTHER_WRITE != 0 {
        return Err(Fault::Everybody);
    }
    let private = facts.uid == identity.uid && identity.private_group == Some(facts.gid);
    if facts.mode & GROUP_WRITE != 0 && !private {
        return Err(Fault::Group);
    }
    Ok(())
}

impl Fault {
    fn rejection(self, path: &Path, facts: Facts) -> Rejection {
        let path = quoted(path);
        let Facts { uid, gid, mode } = facts;
        match self {
            Self::Owner => Rejection::new(format!("{path} belongs to user {uid}, not to you or root"))
                .fix(format!("if you trust it, copy it to a place of your own, or: sudo chown root {path}")),
            Self::Group => Rejection::new(format!("the members of group {gid} can change {path} (mode {mode:o})"))
                .fix(format!("chmod g-w {path}")),
            Self::Everybody => {
                Rejection::new(format!("every user can change {path} (mode {mode:o})")).fix(format!("chmod o-w {path}"))
            }
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Rejection {
    match error.kind() {
        io::ErrorKind::NotFound => Rejection::new(format!("{} does not exist", quoted(path))),
        _ => Rejection::new(format!("cannot read {}: {error}", quoted(path))),
    }
}

pub(super) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const ME: Identity = Identity { uid: 1000, private_group: Some(1000) };

    #[test]
    fn p72_rules() {
        use Role::*;
        type Row = (u32, u32, u32, Role, Result<(), Fault>);
        let table: &[Row] = &[
            // Ours or root's, closed to others.
            (1000, 1000, 0o755, File, Ok(())),
            (0, 0, 0o644, File, Ok(())),
            (0, 0, 0o755, Folder, Ok(())),
            // Somebody else's, whatever its mode.
            (1001, 1001, 0o400, File, Err(Fault::Owner)),
            (1001, 1000, 0o755, Folder, Err(Fault::Owner)),
            (1001, 1001, 0o755, Above, Err(Fault::Owner)),
            (1001, 1001, 0o777, Link, Err(Fault::Owner)),
            // Everybody.
            (1000, 1000, 0o777, File, Err(Fault::Everybody)),
            (0, 0, 0o646, File, Err(Fault::Everybody)),
            (0, 0, 0o1777, Folder, Err(Fault::Everybody)),
            (0, 0, 0o1777, Above, Ok(())),
            (0, 0, 0o777, Above, Err(Fault::Everybody)),
            // Groups: ours alone may write what is ours.
            (1000, 1000, 0o775, File, Ok(())),
            (1000, 1000, 0o2775, Folder, Ok(())),
            (1000, 50, 0o775, File, Err(Fault::Group)),
            (0, 1000, 0o775, File, Err(Fault::Group)),
            (0, 50, 0o2775, Above, Err(Fault::Group)),
            (0, 50, 0o3775, Above, Ok(())),
            // A link's own mode means nothing.
            (1000, 1000, 0o777, Link, Ok(())),
        ];
        for &(uid, gid, mode, role, expected) in table {
            let facts = Facts { uid, gid, mode };
            assert_eq!(verdict(ME, facts, role), expected, "{facts:?} {role:?}");
        }
        let no_private = Identity { private_group: None, ..ME };
        assert_eq!(verdict(no_private, Facts { uid: 1000, gid: 1000, mode: 0o775 }, File), Err(Fault::Group));
    }

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for dir in ["good", "open", "sticky"] {
                fs::create_dir(tree.at(dir)).unwrap();
                fs::write(tree.at(dir).join("lib"), "text").unwrap();
                tree.mode(&format!("{dir}/lib"), 0o644);
            }
            for (dir, mode) in [("good", 0o755), ("open", 0o777), ("sticky", 0o1777)] {
                tree.mode(dir, mode);
            }
            tree
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn mode(&self, path: &str, mode: u32) {
            fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
        }

        fn open(&self, path: &str) -> Result<Opened, Rejection> {
            Trust::new(Identity { private_group: None, ..Identity::current() }).open(&self.at(path))
        }
    }

    #[test]
    fn p72_a_path_is_judged_at_each_step() {
        let tree = Tree::new();
        assert_eq!(tree.open("good/lib").unwrap().path, tree.at("good/lib").canonicalize().unwrap());
        for (path, part) in [("open/lib", "open"), ("sticky/lib", "sticky")] {
            let error = tree.open(path).unwrap_err();
            assert!(error.reason.contains("every user") && error.reason.contains(part), "{error}");
            assert!(error.fix.unwrap().starts_with("chmod o-w "));
        }
        fs::create_dir(tree.at("sticky/mine")).unwrap();
        tree.mode("sticky/mine", 0o755);
        fs::write(tree.at("sticky/mine/lib"), "text").unwrap();
        tree.mode("sticky/mine/lib", 0o644);
        tree.open("sticky/mine/lib").unwrap();

        tree.mode("good/lib", 0o664);
        assert!(tree.open("good/lib").unwrap_err().reason.contains("group"));
        assert!(tree.open("good").unwrap_err().reason.contains("directory"));
        assert!(tree.open("good/none").unwrap_err().reason.contains("does not exist"));
    }

    #[test]
    fn p72_links_are_judged_where_they_lie_and_where_they_point() {
        let tree = Tree::new();
        for (link, target) in
            [("good/out", "../open/lib"), ("open/in", "../good/lib"), ("good/same", "lib"), ("good/loop", "loop")]
        {
            symlink(target, tree.at(link)).unwrap();
        }
        assert!(tree.open("good/out").unwrap_err().reason.contains("open"));
        assert!(tree.open("open/in").unwrap_err().reason.contains("open"));
        assert!(tree.open("good/loop").unwrap_err().reason.contains("too many links"));
        assert_eq!(tree.open("good/same").unwrap().path, tree.at("good/lib").canonicalize().unwrap());

        let dir_link = tree.at("good/dir");
        symlink(tree.at("open"), &dir_link).unwrap();
        assert!(tree.open("good/dir/lib").unwrap_err().reason.contains("open"));
    }

    #[test]
    fn p72_files_of_somebody_else_are_refused() {
        let tree = Tree::new();
        let mut identity = Identity::current();
        if identity.uid == 0 {
            std::os::unix::fs::chown(tree.at("good/lib"), Some(12345), None).unwrap();
        } else {
            // Seen by another user our own files are foreign ones.
            identity.uid += 1;
        }
        let error = Trust::new(identity).open(&tree.at("good/lib")).unwrap_err();
        assert!(error.reason.contains("belongs to user"), "{error}");
    }

    #[test]
    fn a_pipe_does_not_hold_us() {
        let tree = Tree::new();
        nix::unistd::mkfifo(&tree.at("good/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(tree.open("good/pipe").unwrap_err().reason.contains("not a regular file"));
    }
}
