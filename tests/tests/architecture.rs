//! What the sources must and must not contain, whoever changed them last.

use std::fs;
use std::path::{Path, PathBuf};

use workmux_tests::{checkout, given};

/// Engines, their tools and their backends. The host knows none of them.
const NAMES: [&str; 8] = ["docker", "podman", "lima", "limactl", "bwrap", "bubblewrap", "pasta", "passt"];

/// The one place that may: the order in which backends are tried where nothing is configured.
const DEFAULT_LIST: (&str, &str) = ("host/src/config", "DEFAULT_BACKENDS");

/// The files that may contain unsafe code, each for a system call or a foreign interface nobody wraps.
const UNSAFE: [&str; 15] = [
    "guest/src/confine.rs",
    "guest/src/sys.rs",
    "guest/tests/terminal.rs",
    "host/src/plugins/crash.rs",
    "host/src/plugins/loader.rs",
    "host/src/supervisor/child.rs",
    "host/src/supervisor/namespaces.rs",
    "host/src/supervisor/terminal.rs",
    "host/src/tool/stream.rs",
    "host/src/tool.rs",
    "plugin-api/src/abi/export.rs",
    "plugin-api/src/abi/mod.rs",
    "plugins/bubblewrap/src/real/host.rs",
    "tests/plugins/hostile/src/deed.rs",
    "tests/plugins/hostile/src/lib.rs",
];

/// Every file of the project with one of these extensions, relative to the checkout.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && (!name.starts_with('.') || name == ".ci") {
                walk(&path, found);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    let (root, mut found) = (checkout(), Vec::new());
    walk(&root, &mut found);
    found.retain(|path| extensions.iter().any(|e| path.extension().is_some_and(|x| x == *e)));
    let mut found: Vec<_> = found.iter().filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_owned())).collect();
    found.sort();
    assert!(!found.is_empty(), "no file ends in {extensions:?}");
    found
}

fn read(file: &Path) -> String {
    fs::read_to_string(checkout().join(file)).expect("a text")
}

/// The places of whole words, as `file:line: text`.
fn places(file: &Path, text: &str, word: &str) -> Vec<String> {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let holds = |line: &str| {
        let lower = line.to_lowercase();
        let mut found = lower.match_indices(word);
        found.any(|(at, _)| {
            !is_word(lower[..at].chars().next_back()) && !is_word(lower[at + word.len()..].chars().next())
        })
    };
    let lines = text.lines().enumerate().filter(|(_, line)| holds(line));
    lines.map(|(n, line)| format!("{}:{}: {}", file.display(), n + 1, line.trim())).collect()
}

#[test]
fn the_host_names_no_backend() {
    let mut found = Vec::new();
    let is_test = |f: &Path| f.ends_with("tests.rs") || f.components().any(|c| c.as_os_str() == "tests");
    for file in files(&["rs"]).iter().filter(|f| f.starts_with("host/src") && !is_test(f)) {
        let text = read(file);
        // Unit tests come last in a file, and may use a real engine.
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines: Vec<_> =
            text.lines().filter(|line| !(file.starts_with(DEFAULT_LIST.0) && line.contains(DEFAULT_LIST.1))).collect();
        let text = lines.join("\n");
        found.extend(NAMES.iter().flat_map(|name| places(file, &text, name)));
        if text.contains("\"container\"") {
            found.push(format!("{}: the literal \"container\"", file.display()));
        }
    }
    assert!(found.is_empty(), "the host names a backend or an engine:\n{}", found.join("\n"));
}

#[test]
fn the_built_host_names_no_engine() {
    let program = fs::read(&given().program).unwrap().to_ascii_lowercase();
    let places = |word: &str| program.windows(word.len() + 4).filter(|w| w.starts_with(word.as_bytes())).count();
    // A Dockerfile is a word of the command line.
    assert_eq!(places("docker") - places("dockerfile"), 0, "'docker' stands in the built host");
    for name in ["podman", "limactl", "bwrap"] {
        assert_eq!(places(name), 0, "'{name}' stands in the built host");
    }
}

#[test]
fn the_host_and_the_backends_meet_only_at_run_time() {
    for file in files(&["toml"]).iter().filter(|f| f.ends_with("Cargo.toml")) {
        let text = read(file);
        // Tests of the host may have cargo build a backend beside them.
        let linked = text.split("[dev-dependencies]").next().unwrap_or_default();
        let uses = |name: &str| linked.lines().any(|l| l.starts_with(name));
        let backend = text.contains("\nname = \"workmux-backend-");
        if file.starts_with("host") {
            assert!(!uses("workmux-backend-"), "{} depends on a backend", file.display());
        }
        assert!(!(backend && uses("workmux.")), "{} depends on the host", file.display());
        let knows_the_abi = uses("abi_stable");
        // The hostile backend goes round the API on purpose.
        let may = file.starts_with("plugin-api") || file.starts_with("tests") || file == Path::new("Cargo.toml");
        assert!(!knows_the_abi || may, "{} depends on abi_stable", file.display());
    }
}

#[test]
fn unsafe_code_stands_where_the_list_says() {
    let allowed = |text: &str| {
        let text: String = text.split_whitespace().collect();
        ["expect", "allow"].iter().any(|level| text.contains(&[level, "(", "unsafe_code"].concat()))
    };
    let found: Vec<_> = files(&["rs"]).into_iter().filter(|f| allowed(&read(f))).collect();
    assert_eq!(found, UNSAFE.map(PathBuf::from), "left: found in the sources; right: the list of this test");
}

#[test]
fn the_stand_in_for_limactl_knows_nothing_of_ours() {
    let ours = |file: &&PathBuf| file.starts_with("tests/limactl/src") && read(file).contains("workmux");
    let knowing: Vec<_> = files(&["rs", "sh"]).into_iter().filter(|file| ours(&file)).collect();
    assert!(knowing.is_empty(), "{knowing:?}");
}

#[test]
fn every_source_file_says_what_it_is() {
    let opens = |text: &str| text.starts_with("//!") || text.starts_with("#![doc = include_str!");
    let silent: Vec<_> = files(&["rs"]).into_iter().filter(|f| !opens(&read(f))).collect();
    assert!(silent.is_empty(), "these do not open with //! and what they own: {silent:?}");
}

#[test]
fn nothing_is_left_for_later() {
    // Put together, so that this file does not contain them.
    let words =
        [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["unimplemented", "!("], ["#[ig", "nore"]].map(|w| w.concat());
    for file in files(&["rs", "toml", "md", "sh"]) {
        let text = read(&file);
        for word in &words {
            assert!(!text.contains(word.as_str()), "{}: {word}", file.display());
        }
    }
}

#[test]
fn the_readme_opens_with_the_two_commands() {
    let readme = read(Path::new("README.md"));
    let commands: Vec<_> = readme.lines().filter(|l| l.starts_with("cargo xtask")).take(2).collect();
    assert!(commands[0].starts_with("cargo xtask demo") && commands[1].starts_with("cargo xtask test"), "{commands:?}");
    assert!(readme.find("cargo xtask demo").unwrap() < 400, "the two commands stand too far below");
}
