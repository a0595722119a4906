//! `cargo xtask install`: lays the product out below a prefix. Tests and the demo run from such a layout too.
//!
//! Beside each backend goes its manifest, so that it can be listed without being loaded. Every file is written
//! under another name and renamed: a program that runs meanwhile sees the old file or the new one.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Result;
use crate::build::{self, Product, Profile};
use crate::workspace::Workspace;

/// What stands before the manifest in a library: `MAGIC` of `plugin-api/src/manifest.rs`.
const MANIFEST_MAGIC: &[u8; 32] = b"\0workmux backend manifest\0\x8f\x1d\xa6\x93\xe2\x57";

/// The task.
pub(crate) fn run(workspace: &Workspace, prefix: &Path) -> Result<()> {
    let prefix = std::path::absolute(prefix).map_err(|e| format!("'{}': {e}", prefix.display()))?;
    let product = build::make(workspace, Profile::Release)?;
    for file in lay_out(workspace, &product, &prefix)? {
        println!("installed {}", file.display());
    }
    println!("try: {} plugin list", prefix.join("bin/workmux").display());
    Ok(())
}

/// Puts the product below `prefix` and names every file.
pub(crate) fn lay_out(workspace: &Workspace, product: &Product, prefix: &Path) -> Result<Vec<PathBuf>> {
    let plugins = prefix.join("lib/workmux/plugins");
    let mut files =
        vec![put(&product.guest, &prefix.join("lib/workmux/guest").join(workspace.arch()).join("workmux"), 0o755)?];
    for library in &product.plugins {
        files.extend(put_backend(library, &plugins)?);
    }
    // Last, so that the program never starts without what it needs.
    files.push(put(&product.host, &prefix.join("bin/workmux"), 0o755)?);
    Ok(files)
}

/// Puts one backend and its manifest into `folder`.
pub(crate) fn put_backend(library: &Path, folder: &Path) -> Result<[PathBuf; 2]> {
    let bytes = fs::read(library).map_err(|e| format!("could not read '{}': {e}", library.display()))?;
    let manifest = embedded_manifest(&bytes).ok_or(format!("'{}' carries no manifest", library.display()))?;
    let name = backend_name(library).ok_or(format!("'{}' is not named as a backend", library.display()))?;
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let library = put(library, &folder.join(library.file_name().unwrap_or_default()), 0o644)?;
    // First, since the text may end inside a table.
    let sidecar = write(&folder.join(format!("{name}.toml")), &format!("sha256 = \"{hash}\"\n{manifest}"))?;
    Ok([library, sidecar])
}

/// The backend's name; files, as cargo names them, have `_` for its `-`.
fn backend_name(library: &Path) -> Option<String> {
    let name = library.file_name()?.to_str()?.strip_prefix("libworkmux_backend_")?;
    Some(name.strip_suffix(std::env::consts::DLL_SUFFIX)?.replace('_', "-"))
}

/// The manifest that lies in a library as plain bytes.
fn embedded_manifest(bytes: &[u8]) -> Option<&str> {
    let mut starts = bytes.windows(MANIFEST_MAGIC.len()).enumerate().filter(|(_, w)| w == MANIFEST_MAGIC);
    starts.find_map(|(at, _)| {
        let rest = &bytes[at + MANIFEST_MAGIC.len()..];
        let (length, text) = rest.split_first_chunk::<4>()?;
        let text = text.get(..u32::from_le_bytes(*length) as usize)?;
        std::str::from_utf8(text).ok().filter(|t| t.contains("name"))
    })
}

/// Puts a copy of `from` at `to` in one step.
pub(crate) fn put(from: &Path, to: &Path, mode: u32) -> Result<PathBuf> {
    in_one_step(to, mode, |new| fs::copy(from, new).map(|_bytes| ()))
}

fn write(to: &Path, text: &str) -> Result<PathBuf> {
    in_one_step(to, 0o644, |new| fs::write(new, text))
}

fn in_one_step(to: &Path, mode: u32, fill: impl FnOnce(&Path) -> io::Result<()>) -> Result<PathBuf> {
    let folder = to.parent().unwrap_or(Path::new("/"));
    let new = folder.join(format!(".{}.new", to.file_name().unwrap_or_default().to_string_lossy()));
    let steps = || {
        fs::create_dir_all(folder)?;
        // Left by one that was killed.
        let _absent = fs::remove_file(&new);
        fill(&new)?;
        // The builder's umask must not decide whether others may use the program, or change it.
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        fs::rename(&new, to)
    };
    steps().map(|()| to.to_owned()).map_err(|e| format!("could not write '{}': {e}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_found_where_it_has_a_text() {
        let text = "name = \"x\"\n";
        let mut file = b"\x7fELF".to_vec();
        file.extend_from_slice(MANIFEST_MAGIC);
        file.extend_from_slice(&[0xff; 4]);
        assert_eq!(embedded_manifest(&file), None);
        file.extend_from_slice(MANIFEST_MAGIC);
        file.extend_from_slice(&(text.len() as u32).to_le_bytes());
        file.extend_from_slice(text.as_bytes());
        file.extend_from_slice(b"more");
        assert_eq!(embedded_manifest(&file), Some(text));
    }

    #[test]
    fn the_backend_is_named_by_its_file() {
        assert_eq!(backend_name(Path::new("/x/libworkmux_backend_acme_2.so")).as_deref(), Some("acme-2"));
        assert_eq!(backend_name(Path::new("/x/libacme.so")), None);
    }
}
