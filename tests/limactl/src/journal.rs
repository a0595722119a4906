//! `$LIMA_HOME/_fake.log`: every command line with its environment and directory, for tests to look at.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde_json::json;

/// Notes a call. Where Lima's directory is not there yet, nothing is made for it.
pub(crate) fn note(home: &Path, words: &[OsString]) {
    let lossy = |word: &OsString| word.to_string_lossy().into_owned();
    let env: BTreeMap<_, _> = std::env::vars_os().map(|(name, value)| (lossy(&name), lossy(&value))).collect();
    let cwd = std::env::current_dir().unwrap_or_default();
    let argv: Vec<_> = words.iter().map(lossy).collect();
    let line = json!({"argv": argv, "cwd": cwd, "env": env, "pid": std::process::id()}).to_string() + "\n";
    // One write, so that calls at the same time do not mix.
    let log = OpenOptions::new().append(true).create(home.is_dir()).open(home.join("_fake.log"));
    let _unwritable = log.and_then(|mut log| log.write_all(line.as_bytes()));
}
