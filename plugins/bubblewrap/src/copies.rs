//! A directory of small files that every run with the same content shares: made once, found again by its name, which
//! is a hash of the content, and never changed. Twenty files for each run would take longer than all of bwrap.
//!
//! It lies in the backend's own directory, which no guest sees except through a read-only mount of one set. A set that
//! nobody has used for a day and that is mounted nowhere goes away when a new one is made.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

const PREFIX: &str = "etc-";
/// What a set is called until it is whole.
const UNFINISHED: &str = "new-etc-";
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the set with these files is, or will be. A file's name may have directories in it.
pub(crate) fn place(state: &Path, files: &[(String, Vec<u8>)]) -> PathBuf {
    let mut hash = Sha256::new();
    for (name, bytes) in files {
        for part in [name.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let name: String = hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect();
    state.join(format!("{PREFIX}{name}"))
}

/// Makes the set at `place` unless it is there. `run` is nobody else's.
pub(crate) fn make(place: &Path, files: &[(String, Vec<u8>)], run: &str) -> io::Result<()> {
    if let Ok(found) = fs::symlink_metadata(place) {
        if found.modified().is_ok_and(is_old) {
            // Says that it is in use, before anybody can take it for old.
            fs::File::open(place)?.set_modified(SystemTime::now())?;
        }
        return Ok(());
    }
    let state = place.parent().unwrap_or(place);
    sweep(state);
    let new = state.join(format!("{UNFINISHED}{run}"));
    fs::create_dir(&new)?;
    for (name, bytes) in files {
        let path = new.join(name);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, bytes)?;
    }
    match fs::rename(&new, place) {
        // Another run made the same one meanwhile.
        Err(_) if place.is_dir() => fs::remove_dir_all(new),
        done => done,
    }
}

/// Failures are left to the next sweep.
fn sweep(state: &Path) {
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    let ours = |name: &String| name.starts_with(PREFIX) || name.starts_with(UNFINISHED);
    let old: Vec<(PathBuf, String)> = entries
        .filter(|e| e.metadata().and_then(|m| m.modified()).is_ok_and(is_old))
        .filter_map(|e| Some((e.path(), e.file_name().into_string().ok().filter(ours)?)))
        .collect();
    if old.is_empty() {
        return;
    }
    let mounted = mounted();
    for (path, name) in old {
        if !mounted.contains(&name) {
            let _next_time = fs::remove_dir_all(path);
        }
    }
}

fn is_old(time: SystemTime) -> bool {
    SystemTime::now().duration_since(time).is_ok_and(|age| age > OLD)
}

/// The names of directories that are mounted anywhere: in each line of a mount table the fourth word is the directory.
fn mounted() -> BTreeSet<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let tables = processes.filter_map(|p| fs::read_to_string(p.path().join("mountinfo")).ok());
    tables
        .flat_map(|table| {
            let names = table.lines().filter_map(|line| line.split(' ').nth(3)?.rsplit('/').next());
            names.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Vec<(String, Vec<u8>)> {
        vec![("hosts".into(), text.into()), ("ssl/openssl.cnf".into(), "x".into())]
    }

    fn age(path: &Path) {
        fs::File::open(path).unwrap().set_modified(SystemTime::now() - 2 * OLD).unwrap();
    }

    #[test]
    fn a_set_is_made_once_and_named_by_its_content() {
        let state = tempfile::tempdir().unwrap();
        let (one, other) = (place(state.path(), &files("1")), place(state.path(), &files("2")));
        assert_ne!(one, other);
        assert_ne!(one, place(state.path(), &[("host".into(), "s1".into()), files("")[1].clone()]));
        make(&one, &files("1"), "a").unwrap();
        assert_eq!(fs::read(one.join("hosts")).unwrap(), b"1");
        assert_eq!(fs::read(one.join("ssl/openssl.cnf")).unwrap(), b"x");
        let before = fs::metadata(one.join("hosts")).unwrap();
        make(&one, &files("1"), "b").unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(one.join("hosts")).unwrap().ino(), before.ino());
        make(&other, &files("2"), "c").unwrap();
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_old_and_unused_or_was_never_finished_goes_away() {
        let state = tempfile::tempdir().unwrap();
        let [old, used, new] = ["1", "2", "3"].map(|text| (place(state.path(), &files(text)), files(text)));
        make(&old.0, &old.1, "a").unwrap();
        make(&used.0, &used.1, "b").unwrap();
        let (cut, others) = (state.path().join("new-etc-dead"), state.path().join("notes"));
        for path in [&cut, &others] {
            fs::create_dir(path).unwrap();
        }
        for path in [&old.0, &used.0, &cut, &others] {
            age(path);
        }
        make(&used.0, &used.1, "c").unwrap();
        make(&new.0, &new.1, "d").unwrap();
        let left = [&old.0, &used.0, &new.0, &cut, &others].map(|p| p.exists());
        assert_eq!(left, [false, true, true, false, true]);
    }
}
