//! Makes the private git dir: everything a guest's git needs of the repository, as copies, and nothing that names a
//! program, a secret or another worktree. One git process (the configuration), two with reftables.

use std::fs;
use std::io;
use std::path::Path;

use super::config;
use super::error::GitError;
use super::exchange;
use super::layout::Layout;
use super::refs::{Head, HostRefs, read_head, write_packed};
use super::repository::{RefFormat, Repository};
use super::side::MERGE_FILES;

/// Where the real objects are mounted, beside the guest's own.
pub(super) const HOST_OBJECTS: &str = "host/objects";
/// The same for large files: where their tool looks for those of an alternate.
pub(super) const HOST_LFS: &str = "host/lfs/objects";

/// Parents first. Making and removing a directory takes longer than anything else here, so what git makes itself when it
/// needs it (`refs/tags`, `objects/pack`, `logs`) is left out; `hooks` and `info` are where people expect them.
const DIRECTORIES: &[&str] =
    &["", "refs", "refs/heads", "objects", "objects/info", "host", HOST_OBJECTS, "hooks", "info"];
/// Of the common dir, without anything that names a program.
const SHARED_FILES: &[&str] = &["info/attributes", "shallow"];
const CHECKOUT_FILES: &[&str] = &["info/sparse-checkout", MERGE_FILES[0], MERGE_FILES[1], MERGE_FILES[2]];
const EXCLUDES_LIMIT: u64 = 1 << 20;
const COPY_LIMIT: u64 = 64 << 20;

/// Where the checkout's own files lie, seen from the common dir: empty in a main checkout.
pub(super) fn admin_name(repo: &Repository) -> String {
    repo.admin_dir.strip_prefix(&repo.common_dir).unwrap_or(Path::new("")).to_string_lossy().into_owned()
}

/// Fills `guest/`, which must not exist.
pub(super) fn make(repo: &Repository, layout: &Layout, host: &HostRefs) -> Result<(), GitError> {
    let guest = layout.guest();
    let admin = guest.join(admin_name(repo));
    for dir in DIRECTORIES.iter().map(|dir| guest.join(dir)) {
        fs::create_dir(&dir).map_err(GitError::io("make", &dir))?;
    }
    let has_large_files = repo.common_dir.join("lfs/objects").is_dir();
    let admin_info = repo.is_linked().then(|| admin.join("info"));
    for dir in admin_info.into_iter().chain(has_large_files.then(|| guest.join(HOST_LFS))) {
        fs::create_dir_all(&dir).map_err(GitError::io("make", &dir))?;
    }
    let write = |path: &str, text: &str| write_new(&guest.join(path), text.as_bytes());
    write("config", &config::for_guest(repo)?)?;
    // A stash is nothing without its log, and no affair of a guest's.
    let shown =
        host.refs.iter().filter(|(name, _)| *name != "refs/stash").map(|(name, oid)| (name.clone(), oid.clone()));
    write("packed-refs", &write_packed(&shown.collect()))?;
    write("objects/info/alternates", &exchange::quoted(&repo.common_dir.join(HOST_OBJECTS)))?;
    for (name, target) in host.symbolic.iter().filter(|(name, _)| name.starts_with("refs/remotes/")) {
        let path = guest.join(name);
        let parent = path.parent().unwrap_or(&guest);
        fs::create_dir_all(parent).map_err(GitError::io("make", parent))?;
        write(name, &Head::Branch(target.clone()).text())?;
    }
    for file in SHARED_FILES {
        copy(&repo.common_dir.join(file), &guest.join(file))?;
    }
    for file in CHECKOUT_FILES {
        copy(&repo.admin_dir.join(file), &admin.join(file))?;
    }
    excludes(repo, &guest)?;
    copy_index(repo, &admin)?;
    write_new(&admin.join("HEAD"), host.head.text().as_bytes())?;
    if let Some(text) = config::worktree_for_guest(repo)? {
        write_new(&admin.join("config.worktree"), text.as_bytes())?;
    }
    if repo.is_linked() {
        write("HEAD", &main_head(repo, host).text())?;
        write_new(&admin.join("commondir"), b"../..\n")?;
        let back = format!("{}\n", repo.worktree.join(".git").display());
        write_new(&admin.join("gitdir"), back.as_bytes())?;
    }
    Ok(())
}

/// Makes the directory on which the private git dir of a submodule is mounted, where that is inside this one.
pub(super) fn make_room(repo: &Repository, layout: &Layout, module: &Path) -> Result<(), GitError> {
    match module.strip_prefix(&repo.common_dir) {
        Ok(inside) => {
            let dir = layout.guest().join(inside);
            fs::create_dir_all(&dir).map_err(GitError::io("make", dir))
        }
        Err(_) => Ok(()),
    }
}

/// The main checkout's branch, so that the guest's git does not offer it a second time.
fn main_head(repo: &Repository, host: &HostRefs) -> Head {
    let unknown = || {
        let place = repo.main_checkout.as_ref();
        host.elsewhere.iter().find(|(_, p)| Some(*p) == place).map(|(name, _)| Head::Branch(name.clone()))
    };
    let read = (repo.ref_format == RefFormat::Files).then(|| read_head(&repo.common_dir, repo.object_format).ok());
    read.flatten().or_else(unknown).unwrap_or_else(|| Head::Branch("refs/heads/none".into()))
}

/// The repository's and the user's own ignore patterns in one file: the guest has no home of the user's.
fn excludes(repo: &Repository, guest: &Path) -> Result<(), GitError> {
    let own = fs::read_to_string(repo.common_dir.join("info/exclude")).unwrap_or_default();
    let users = repo.effective()?.excludes_file();
    let users = users.filter(|path| fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= EXCLUDES_LIMIT));
    let users = users.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    // The later pattern counts, and the repository's own comes later.
    write_new(&guest.join("info/exclude"), format!("{users}\n{own}").as_bytes())
}

/// The index, and the file a split one refers to.
fn copy_index(repo: &Repository, admin: &Path) -> Result<(), GitError> {
    let own = fs::read_dir(&repo.admin_dir).into_iter().flatten().flatten();
    for name in
        own.map(|e| e.file_name()).filter(|n| n.to_str().is_some_and(|n| n == "index" || n.starts_with("sharedindex.")))
    {
        let (from, to) = (repo.admin_dir.join(&name), admin.join(&name));
        match fs::copy(&from, &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(GitError::io("copy", from)(e)),
            _ => {}
        }
    }
    Ok(())
}

/// Nobody looks at the directory before it is whole.
fn write_new(path: &Path, content: &[u8]) -> Result<(), GitError> {
    fs::write(path, content).map_err(GitError::io("write", path))
}

/// Copies a regular file of ordinary size, if it is there.
fn copy(from: &Path, to: &Path) -> Result<(), GitError> {
    match fs::symlink_metadata(from) {
        Ok(meta) if meta.is_file() && meta.len() <= COPY_LIMIT => {
            fs::copy(from, to).map(drop).map_err(GitError::io("copy", from))
        }
        _ => Ok(()),
    }
}
