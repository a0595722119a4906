//! Promises are kept by guards, and a test is only worth something if it fails without its guard.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use workmux_tests::checkout;

/// The text of every Rust file below a folder.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(&path).expect("a source file"));
        }
    }
}

#[test]
fn every_guard_is_switched_off_by_some_test() {
    let mut texts = Vec::new();
    for folder in ["host", "guest", "plugin-api", "plugins", "tests"] {
        sources(&checkout().join(folder), &mut texts);
    }
    let call = "mutant::off(\"";
    let names = |text: &String| -> Vec<String> {
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        code.split(call).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
    };
    let guards: BTreeSet<String> = texts.iter().flat_map(names).filter(|name| name.starts_with('p')).collect();
    assert!(guards.len() > 45, "{guards:?}");
    let idle = |guard: &&String| {
        let quoted = format!("\"{guard}\"");
        let mentions: usize = texts.iter().map(|text| text.matches(&quoted).count()).sum();
        let uses: usize = texts.iter().map(|text| text.matches(&format!("{call}{guard}\"")).count()).sum();
        mentions == uses
    };
    let untested: Vec<_> = guards.iter().filter(idle).collect();
    assert!(untested.is_empty(), "no test switches these off: {untested:?}");
}
