//! What lies below a folder, byte for byte: to show that nothing changed, or what did.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Every file, folder and link below a folder, by its path relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder,
    File {
        mode: u32,
        content: Vec<u8>,
    },
    Link(PathBuf),
    /// FIFOs, sockets, devices.
    Other(u32),
}

impl Snapshot {
    /// Looks, following no link and opening nothing but regular files.
    ///
    /// # Panics
    /// When something cannot be read.
    pub fn of(root: &Path) -> Self {
        Self::without(root, &[])
    }

    /// [`Self::of`], leaving out what lies at or below these paths.
    ///
    /// # Panics
    /// As [`Self::of`].
    pub fn without(root: &Path, skipped: &[&str]) -> Self {
        let mut found = BTreeMap::new();
        collect(root, Path::new(""), skipped, &mut found);
        Self(found)
    }

    /// What is different in `later`: `+ path`, `- path`, `! path`.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let gone = self.0.keys().filter(|path| !later.0.contains_key(*path)).map(|path| ('-', path));
        let new = later.0.iter().filter_map(|(path, entry)| match self.0.get(path) {
            None => Some(('+', path)),
            Some(old) if old != entry => Some(('!', path)),
            Some(_) => None,
        });
        gone.chain(new).map(|(what, path)| format!("{what} {}", path.display())).collect()
    }
}

fn collect(root: &Path, at: &Path, skipped: &[&str], found: &mut BTreeMap<PathBuf, Entry>) {
    let fail = |e: std::io::Error| -> ! { panic!("{}: {e}", root.join(at).display()) };
    for entry in fs::read_dir(root.join(at)).unwrap_or_else(|e| fail(e)) {
        let name = entry.unwrap_or_else(|e| fail(e)).file_name();
        let path = at.join(name);
        if skipped.iter().any(|s| path.starts_with(s)) {
            continue;
        }
        let full = root.join(&path);
        let meta = match fs::symlink_metadata(&full) {
            Ok(meta) => meta,
            // Something that lives may take its files away meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => fail(e),
        };
        let entry = if meta.is_dir() {
            collect(root, &path, skipped, found);
            Entry::Folder
        } else if meta.is_symlink() {
            Entry::Link(fs::read_link(&full).unwrap_or_else(|e| fail(e)))
        } else if meta.is_file() {
            Entry::File { mode: meta.mode(), content: fs::read(&full).unwrap_or_else(|e| fail(e)) }
        } else {
            Entry::Other(meta.mode())
        };
        found.insert(path, entry);
    }
}
