//! Which engines work here. A missing one is a loud skip on a person's machine and a failure in CI, and either way
//! it is counted: `cargo xtask test` compares the counts with `tests/expected.toml`.

#![expect(clippy::print_stderr, reason = "a skipped test must be heard")]

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Mutex, OnceLock};

use crate::given::given;
use crate::run::Run;

/// Leaves the test when `name` does not work here.
#[macro_export]
macro_rules! require_engine {
    ($name:expr) => {
        if !$crate::engine($name) {
            return;
        }
    };
}

/// Whether the engine works here, noted for the calling test. Prefer [`require_engine!`](crate::require_engine).
///
/// # Panics
/// In CI when it does not.
pub fn engine(name: &str) -> bool {
    static WORKS: OnceLock<Mutex<HashMap<String, Option<String>>>> = OnceLock::new();
    let mut works = WORKS.get_or_init(Mutex::default).lock().unwrap_or_else(|broken| broken.into_inner());
    let fault = works.entry(name.to_owned()).or_insert_with(|| probe(name)).clone();
    drop(works);
    let Some(fault) = fault else {
        note(name, "ran");
        return true;
    };
    note(name, "skipped");
    let ci = std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0");
    assert!(!ci, "the engine '{name}' does not work here, and CI must have it: {fault}");
    eprintln!("SKIPPED: the engine '{name}' does not work here: {fault}");
    false
}

/// Why the engine does not work, if it does not: the least thing that it must be able to do is done once.
fn probe(name: &str) -> Option<String> {
    if name == "release" {
        return given().release.is_none().then(|| "only CI makes a release build for its tests".into());
    }
    if ["lima", "limactl"].contains(&name) && given().limactl.as_ref().is_none_or(|path| !path.is_file()) {
        return Some("cargo xtask test did not hand over the stand-in".into());
    }
    if let Some(described) = crate::sandbox::described(name) {
        return described.problem.clone();
    }
    let words: &[&[&str]] = match name {
        "docker" | "docker-tcp" | "podman" | "podman-rootless" => {
            return Some("cargo xtask test did not make it ready".into());
        }
        "bubblewrap" => {
            &[&["bwrap", "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "true"], &["pasta", "--version"]]
        }
        "lima" | "limactl" => &[
            &["bwrap", "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "true"],
            &["ssh", "-V"],
            &["sh", "-c", "command -v sshd"],
        ],
        "npm" => &[&["npm", "--version"]],
        "python3" => &[&["/usr/bin/python3", "-I", "-c", "import json"]],
        "tmux" => &[&["tmux", "-V"]],
        _ => panic!("no test knows an engine '{name}'"),
    };
    words.iter().find_map(|words| {
        let finished = Run::new(words[0]).args(&words[1..]).dir(&given().worlds).run();
        (finished.code != Some(0)).then(|| format!("`{}`: {}", words.join(" "), finished.stderr.trim()))
    })
}

fn note(engine: &str, what: &str) {
    // libtest names the thread after the test.
    let thread = std::thread::current();
    let line = format!("{engine} {what} {}\n", thread.name().unwrap_or("unnamed"));
    let mut ledger = OpenOptions::new().append(true).create(true).open(&given().ledger).expect("the ledger opens");
    // One write of a short line: lines of parallel tests do not mix.
    ledger.write_all(line.as_bytes()).expect("the ledger is written");
}
