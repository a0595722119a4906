//! What a real `limactl` was seen to do, case by case. A run on one writes it; every run on the stand-in of the same release
//! is compared with it. Cases without a recording are unverified, and said to be.

#![expect(clippy::print_stderr, reason = "what is unverified must be heard")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use workmux_tests::{Finished, checkout, given};

/// One command of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    argv: Vec<String>,
    code: Option<i32>,
    stdout: String,
    /// To be read by people: wording is no part of the contract beyond what cases look for.
    stderr: String,
}

/// What is kept of a case.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    release: String,
    /// When it was recorded, in seconds since 1970.
    at: u64,
    steps: Vec<Step>,
}

/// The commands of one case.
#[derive(Debug, Default)]
pub(crate) struct Recording(Vec<Step>);

impl Recording {
    /// The releases in which this case was recorded.
    pub(crate) fn releases() -> Vec<String> {
        let kept = |folder: &fs::DirEntry| folder.path().join(case()).is_file();
        let folders = fs::read_dir(recordings()).into_iter().flatten().flatten();
        folders.filter(kept).map(|folder| folder.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Adds one.
    pub(crate) fn note(&mut self, words: &[&str], finished: &Finished, home: &Path) {
        let home = home.to_str().expect("UTF-8");
        let plain = |text: &str| text.replace(home, "HOME").replace(&given().user.name, "USER");
        self.0.push(Step {
            argv: words.iter().map(|word| without_numbers(&plain(word))).collect(),
            code: finished.code,
            stdout: plain(&finished.stdout),
            stderr: plain(&finished.stderr),
        });
    }

    /// Ends the case: a real one's is kept, and the stand-in's compared with it.
    pub(crate) fn close(self, release: &str, real: bool) {
        let path = recordings().join(release).join(case());
        if real {
            let kept = Kept { release: release.to_owned(), at: now(), steps: self.0 };
            fs::create_dir_all(path.parent().expect("a folder")).expect("the recordings' folder");
            fs::write(&path, serde_json::to_string_pretty(&kept).expect("JSON")).expect("the recording is written");
            return;
        }
        let Ok(text) = fs::read_to_string(&path) else {
            eprintln!("unverified against a real limactl {release}: {}", case());
            return;
        };
        let kept: Kept = serde_json::from_str(&text).expect("a recording");
        let age = now().saturating_sub(kept.at) / 86_400;
        eprintln!("compared with a real limactl {release}, recorded {age} days ago: {}", case());
        let shape = |step: &Step| (step.argv.clone(), step.code, step.stdout.is_empty());
        let shapes = |steps: &[Step]| steps.iter().map(shape).collect::<Vec<_>>();
        assert_eq!(shapes(&self.0), shapes(&kept.steps), "left: the stand-in; right: a real limactl {release}");
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is right").as_secs()
}

/// Ports, processes and the pipes that tests wait at have another number each time.
fn without_numbers(text: &str) -> String {
    let mut plain = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        let named = !digits.is_empty() && plain.ends_with("pipe-");
        if digits.len() > 3 || named { plain.push_str(&part.replacen(digits, "N", 1)) } else { plain.push_str(part) }
    }
    plain
}

/// The file of the case that runs; libtest names the thread after it.
fn case() -> String {
    let thread = std::thread::current();
    format!("{}.json", thread.name().unwrap_or("unnamed").replace("::", "."))
}

fn recordings() -> PathBuf {
    checkout().join("tests/limactl/recordings")
}

#[test]
fn what_a_real_limactl_does_is_known_where_there_is_one() {
    let Some(program) = std::env::var_os("WORKMUX_TEST_LIMACTL") else {
        eprintln!("contract(real limactl): NOT RUN");
        return;
    };
    assert!(Path::new(&program).is_file(), "WORKMUX_TEST_LIMACTL names no program: {}", program.display());
}
