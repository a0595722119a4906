//! P72 and P74: libraries in the wrong place, of the wrong owner, not confirmed, changed, or in another's place.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use workmux::plugins::{Ask, FindError, Registry, State};

use super::stage::{Stage, file_name, library, make_dir, mode, write};

const USER: &str = "data/workmux/plugins";
const PREFIX: &str = "lib/workmux/plugins";

fn reason(registry: &Registry) -> String {
    match registry.find("minimal").unwrap_err() {
        FindError::Unusable { why, .. } => why.reason,
        other => other.to_string(),
    }
}

#[test]
fn p72_a_library_in_the_wrong_place_is_not_looked_at() {
    let stage = Stage::new();
    for dir in ["project", "project/.workmux/plugins", "bin", "home/plugins"] {
        make_dir(&stage.at(dir));
        stage.install_as("minimal", dir, "minimal");
    }
    let mut environment = stage.environment();
    environment.variables.insert("WORKMUX_PLUGIN_PATH".into(), "project:.:../bin:".into());
    let registry = Registry::new(environment);
    assert!(matches!(registry.find("minimal").unwrap_err(), FindError::Unknown { .. }));
    assert!(registry.all().is_empty());
}

#[test]
fn p72_a_directory_that_others_can_write_is_passed_over() {
    for bits in [0o777, 0o1777, 0o757] {
        let stage = Stage::new();
        make_dir(&stage.at("open"));
        let planted = stage.install_as("minimal", "open", "minimal");
        mode(&stage.at("open"), bits);
        let mut environment = stage.environment();
        environment.variables.insert("WORKMUX_PLUGIN_PATH".into(), stage.at("open").into());
        let error = Registry::new(environment.clone()).find("minimal").unwrap_err();
        assert!(error.to_string().contains("every user can change"), "{error}");
        assert!(error.hint().unwrap().starts_with("chmod o-w "), "{error}");

        let good = stage.install("minimal");
        let registry = Registry::new(environment);
        let backend = registry.find("minimal").unwrap();
        assert_eq!(backend.path(), good.canonicalize().unwrap());
        let listed = registry.all().into_iter().find(|l| l.path == planted).unwrap();
        let State::Rejected(why) = listed.state else { panic!("{bits:o}: {listed:?}") };
        assert!(why.reason.contains("every user can change"), "{why}");
    }
}

#[test]
fn p72_a_library_that_others_can_change_is_refused() {
    let stage = Stage::new();
    let path = stage.install("minimal");
    let mut environment = stage.environment();
    environment.identity.private_group = None;
    for (bits, who) in [(0o666, "every user"), (0o664, "members of group")] {
        mode(&path, bits);
        assert!(reason(&Registry::new(environment.clone())).contains(who), "{bits:o}");
    }
    // Where the group is the user's own, a umask of 002 is usual.
    environment.identity.private_group = Some(nix::unistd::getgid().as_raw());
    Registry::new(environment.clone()).find("minimal").unwrap();

    mode(&path, 0o644);
    if environment.identity.uid == 0 {
        std::os::unix::fs::chown(&path, Some(54321), None).unwrap();
    } else {
        environment.identity.uid += 1;
    }
    let said = reason(&Registry::new(environment));
    assert!(said.contains("belongs to user") || said.contains("there is no backend"), "{said}");
}

#[test]
fn p72_a_link_counts_where_it_lies_and_where_it_points() {
    let stage = Stage::new();
    make_dir(&stage.at("open"));
    let target = stage.install_as("minimal", "open", "minimal");
    mode(&stage.at("open"), 0o777);
    let link = stage.at(PREFIX).join(file_name("minimal"));
    symlink(&target, &link).unwrap();
    assert!(reason(&Registry::new(stage.environment())).contains("open"));

    mode(&stage.at("open"), 0o755);
    let registry = Registry::new(stage.environment());
    assert_eq!(registry.find("minimal").unwrap().path(), target.canonicalize().unwrap());
}

/// Answers, and keeps the questions.
struct Answer(bool, Arc<Mutex<Vec<String>>>);

impl Ask for Answer {
    fn confirm(&self, question: &str) -> Option<bool> {
        self.1.lock().unwrap().push(question.to_owned());
        Some(self.0)
    }
}

#[test]
fn p74_the_first_use_is_confirmed_and_a_changed_file_asks_again() {
    let stage = Stage::new();
    let path = stage.install_as("minimal", USER, "minimal");
    let registry = || Registry::new(stage.environment());
    let error = registry().find("minimal").unwrap_err();
    assert!(error.to_string().contains("has not been confirmed yet"), "{error}");
    assert_eq!(error.hint().unwrap(), format!("workmux plugin trust '{}'", path.canonicalize().unwrap().display()));
    assert!(matches!(registry().all().remove(0).state, State::Rejected(_)));

    registry().confirm(&path).unwrap();
    registry().find("minimal").unwrap();
    assert_eq!(registry().all().remove(0).state, State::Winner);

    // Still a good library, but not the one that was confirmed.
    let mut other = library("minimal");
    other.push(0);
    fs::remove_file(&path).unwrap();
    write(&path, &other);
    assert_eq!(reason(&registry()), "it has changed since it was confirmed");

    let questions = Arc::new(Mutex::new(Vec::new()));
    let ask = |yes| registry().with_ask(Answer(yes, Arc::clone(&questions)));
    assert!(reason(&ask(false)).contains("you said no"));
    ask(true).find("minimal").unwrap();
    ask(true).find("minimal").unwrap();
    let questions = questions.lock().unwrap();
    assert_eq!(questions.len(), 2, "confirmed again, so not asked a third time: {questions:?}");
    assert!(questions[1].contains("has changed since you confirmed it"), "{questions:?}");
}

#[test]
fn p74_taking_the_place_of_an_installed_one_needs_a_confirmation() {
    let stage = Stage::new();
    let hidden = stage.install("minimal");
    let ours = stage.install_as("minimal", USER, "minimal");
    let error = Registry::new(stage.environment()).find("minimal").unwrap_err();
    assert!(error.to_string().contains("has not been confirmed yet"), "never silently the other one: {error}");
    let listed: Vec<_> = Registry::new(stage.environment()).all().into_iter().map(|l| l.state).collect();
    assert!(matches!(&listed[..], [State::Rejected(_), State::Shadowed { by }] if *by == ours), "{listed:?}");

    let questions = Arc::new(Mutex::new(Vec::new()));
    let registry = Registry::new(stage.environment()).with_ask(Answer(true, Arc::clone(&questions)));
    assert_eq!(registry.find("minimal").unwrap().path(), ours.canonicalize().unwrap());
    assert!(questions.lock().unwrap()[0].contains(&format!("takes the place of '{}'", hidden.display())));
}

#[test]
fn p74_libraries_of_the_hosts_own_prefix_need_none() {
    let stage = Stage::new();
    stage.install("minimal");
    Registry::new(stage.environment()).find("minimal").unwrap();
    assert!(!stage.at("state/plugins").exists());
}

#[test]
fn p74_a_record_that_others_can_write_does_not_count() {
    let stage = Stage::new();
    let path = stage.install_as("minimal", USER, "minimal");
    Registry::new(stage.environment()).confirm(&path).unwrap();
    mode(&stage.at("state/plugins/pins"), 0o777);
    assert!(reason(&Registry::new(stage.environment())).contains("every user can change"));
}

#[test]
fn the_manifest_beside_a_library_names_its_hash() {
    let stage = Stage::new();
    let path = stage.install("minimal");
    let text = include_str!("../../../examples/minimal/backend.toml");
    let digest: String = Sha256::digest(fs::read(&path).unwrap()).iter().map(|b| format!("{b:02x}")).collect();
    let with = |text: &str| {
        write(&stage.at(PREFIX).join("minimal.toml"), text.as_bytes());
        Registry::new(stage.environment())
    };
    with(&format!("{text}sha256 = \"{digest}\"\n")).find("minimal").unwrap();
    with(text).find("minimal").unwrap();
    assert!(reason(&with(&format!("{text}sha256 = \"00\"\n"))).contains("its hash differs"));
    assert!(reason(&with(&text.replace("isolation = \"none\"", "isolation = \"vm\""))).contains("not the one inside"));
    assert!(reason(&with("name = 'other'")).contains("is wrong"));
    mode(&stage.at(PREFIX).join("minimal.toml"), 0o666);
    assert!(reason(&Registry::new(stage.environment())).contains("every user can change"));
}

#[test]
fn p74_only_what_could_be_a_backend_can_be_confirmed() {
    let stage = Stage::new();
    let registry = Registry::new(stage.environment());
    let text = stage.at("data").join(file_name("text"));
    write(&text, b"text");
    for path in [Path::new("/etc/passwd"), Path::new("relative.so"), &text, &stage.at("none")] {
        registry.confirm(path).unwrap_err();
    }
}
