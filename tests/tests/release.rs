//! What is installed for users: the release build, laid out by `cargo xtask install`.
//!
//! CI builds it; elsewhere these are skipped, as if an engine were missing.

use std::fs;
use std::path::PathBuf;

use workmux_tests::{Run, given, require_engine};

/// Where it is installed.
fn prefix() -> PathBuf {
    given().release.clone().expect("only called where there is one")
}

#[test]
fn no_guard_can_be_switched_off_in_a_release() {
    require_engine!("release");
    let variable = ["WORKMUX_", "MUTANT"].concat();
    let holds = |file: PathBuf| {
        let bytes = fs::read(&file).unwrap();
        bytes.windows(variable.len()).any(|w| w == variable.as_bytes())
    };
    let guest = prefix().join("lib/workmux/guest").join(std::env::consts::ARCH).join("workmux");
    assert!(!holds(prefix().join("bin/workmux")), "the host can be told to skip guards");
    assert!(!holds(guest), "the guest program can be told to skip guards");
    for file in fs::read_dir(prefix().join("lib/workmux/plugins")).unwrap() {
        let file = file.unwrap().path();
        assert!(!holds(file.clone()), "'{}' can be told to skip guards", file.display());
    }
    // The test is able to fail: the build that tests drive holds it.
    assert!(holds(given().program.clone()), "the program under test cannot skip guards");
}

#[test]
fn every_backend_is_installed_with_its_manifest() {
    require_engine!("release");
    let folder = prefix().join("lib/workmux/plugins");
    let names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    let libraries: Vec<_> = names.iter().filter(|p| p.extension().is_some_and(|e| e == "so")).collect();
    assert!(!libraries.is_empty());
    for library in libraries {
        let name = library.file_stem().unwrap().to_str().unwrap().strip_prefix("libworkmux_backend_").unwrap();
        let manifest = fs::read_to_string(library.with_file_name(format!("{name}.toml"))).unwrap();
        let sum = Run::new("sha256sum").arg(library).run().ok().stdout;
        let hash = sum.split(' ').next().unwrap();
        assert!(manifest.starts_with(&format!("sha256 = \"{hash}\"\n")), "{manifest}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{manifest}");
    }
}
