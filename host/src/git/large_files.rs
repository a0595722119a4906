//! Large files that a guest's git keeps outside its objects (`lfs/objects`): named by the SHA-256 of their content,
//! so each is checked while it is copied and needs no other trust.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::guest_files::Beneath;
use super::oid::Oid;

const LIMIT: u64 = 64 << 30;
const MOST: usize = 100_000;

/// Copies what is new from the guest's private git dir into the repository's. Names what was not taken.
pub(super) fn take(guest: &Path, common_dir: &Path) -> io::Result<Vec<String>> {
    let mut refused = Vec::new();
    let Some(top) = Beneath::open_guest(guest)?.dir("lfs/objects")? else { return Ok(refused) };
    let to = common_dir.join("lfs/objects");
    for (first, _) in top.list(1024)? {
        let Some(dir) = top.dir(&first)? else { continue };
        for (second, _) in dir.list(1024)? {
            let Some(dir) = dir.dir(&second)? else { continue };
            for (name, _) in dir.list(MOST)? {
                let hex = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if !hex || name[..2] != first || name[2..4] != second {
                    continue;
                }
                let path = to.join(&first).join(&second).join(&name);
                if !path.exists() && !copy(&dir, &name, &path)? {
                    refused.push(format!(
                        "the large file '{name}' was not taken from the sandbox: its content is another"
                    ));
                }
            }
        }
    }
    Ok(refused)
}

/// Says whether the content was what the name says.
fn copy(dir: &Beneath, name: &str, to: &Path) -> io::Result<bool> {
    let Ok(Some(from)) = dir.open_file(name, LIMIT) else { return Ok(false) };
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent)?;
    let mut new = tempfile::NamedTempFile::new_in(parent)?;
    let (mut hash, mut from, mut chunk) = (Sha256::new(), from.take(LIMIT), vec![0; 1 << 20]);
    loop {
        match from.read(&mut chunk)? {
            0 => break,
            n => {
                hash.update(&chunk[..n]);
                new.write_all(&chunk[..n])?;
            }
        }
    }
    if Oid::from_raw(&hash.finalize()).as_str() != name {
        return Ok(false);
    }
    new.persist(to).map_err(|e| e.error)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_only_files_that_are_what_their_name_says_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (guest, host) = (dir.path().join("guest"), dir.path().join("host"));
        let put = |name: &str, content: &str| {
            let at = guest.join("lfs/objects").join(&name[..2]).join(&name[2..4]);
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join(name), content).unwrap();
            host.join("lfs/objects").join(&name[..2]).join(&name[2..4]).join(name)
        };
        let good = put(Oid::from_raw(&Sha256::digest("good")).as_str(), "good");
        let bad = put(Oid::from_raw(&Sha256::digest("bad")).as_str(), "other");
        let refused = take(&guest, &host).unwrap();
        assert_eq!((refused.len(), good.exists(), bad.exists()), (1, true, false));
        assert_eq!(fs::read_dir(bad.parent().unwrap()).unwrap().count(), 0);
    }
}
