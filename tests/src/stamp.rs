//! A fingerprint of the sources: tests refuse to drive a program that was built from other ones.
//!
//! Also compiled into `xtask`, which builds the program and hands the fingerprint over.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// The folders whose files make the program.
const SOURCES: [&str; 6] = ["host", "guest", "plugin-api", "plugins", "examples", "Cargo.lock"];

/// The fingerprint of the sources below `root`.
pub fn of_sources(root: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for name in SOURCES {
        collect(&root.join(name), &mut files)?;
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        hasher.write(file.strip_prefix(root).unwrap_or(&file).as_os_str().as_encoded_bytes());
        hasher.write(&fs::read(&file)?);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?.path();
            // Hidden files and a package's own target directory are an editor's or cargo's.
            let skipped = entry.file_name().is_some_and(|n| n == "target" || n.as_encoded_bytes().starts_with(b"."));
            if !skipped {
                collect(&entry, files)?;
            }
        }
    } else if ["rs", "toml", "lock", "md", "txt", "yaml", "js", "dockerfile"]
        .map(OsStr::new)
        .iter()
        .any(|e| path.extension() == Some(e))
    {
        files.push(path.to_owned());
    }
    Ok(())
}
