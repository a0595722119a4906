//! Backends put into the user's own directory and taken out again: what is put there is what was checked, and nothing
//! of it runs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use workmux::plugins::{Registry, Rejection, Standing, State, inspect};
use workmux_plugin_api::PROTOCOL;

use super::stage::{Stage, file_name, library, make_dir, mode, write};

const USER: &str = "data/workmux/plugins";
const MANIFEST: &str = include_str!("../../../examples/minimal/backend.toml");

fn registry(stage: &Stage) -> Registry {
    Registry::new(stage.environment())
}

/// The smallest backend, where a build or a download leaves it.
fn built(stage: &Stage) -> PathBuf {
    make_dir(&stage.at("built"));
    stage.install_as("minimal", "built", "minimal")
}

fn refusal(stage: &Stage, path: &Path) -> Rejection {
    let before = tree(&stage.at(USER));
    let why = registry(stage).install(path, false).err().unwrap_or_else(|| panic!("'{}' was taken", path.display()));
    assert_eq!(tree(&stage.at(USER)), before, "{why}");
    assert!(why.fix.is_some(), "no next step: {why}");
    why
}

/// Names, modes and contents.
fn tree(dir: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let mut all: Vec<_> = entries
        .map(|entry| {
            let found = entry.path().symlink_metadata().unwrap();
            let content = if found.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
            (entry.file_name().into_string().unwrap(), found.mode() & 0o7777, content)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn an_installed_backend_is_whole_trusted_and_used() {
    let stage = Stage::new();
    let path = built(&stage);
    let mut environment = stage.environment();
    // Nothing is even tried.
    environment.trial = ["/bin/false"].map(Into::into).to_vec();
    let installed = Registry::new(environment).install(&path, false).unwrap();
    assert!(!installed.unchanged && installed.hides.is_none() && installed.hidden_by.is_none(), "{installed:?}");
    assert_eq!(installed.path, stage.at(USER).canonicalize().unwrap().join(file_name("minimal")));
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains(installed.path.to_str().unwrap()), "it was loaded");

    let files = tree(&stage.at(USER));
    let names: Vec<_> = files.iter().map(|(name, mode, _)| (name.as_str(), *mode)).collect();
    assert_eq!(names, [(file_name("minimal").as_str(), 0o644), ("minimal.toml", 0o644)]);
    assert!(files[0].2 == library("minimal"));
    let text = String::from_utf8(files[1].2.clone()).unwrap();
    assert!(text.starts_with("sha256 = \"") && text.ends_with(MANIFEST), "{text}");
    let listing = registry(&stage).all().remove(0);
    assert_eq!(listing.state, State::Winner);
    assert!(matches!(listing.standing, Some(Standing::Confirmed { .. })), "{listing:?}");
    registry(&stage).find("minimal").unwrap();

    // Once more changes nothing, and what is missing is put back.
    let inode = || installed.path.metadata().unwrap().ino();
    let before = inode();
    assert!(registry(&stage).install(&path, false).unwrap().unchanged);
    fs::remove_file(stage.at(USER).join("minimal.toml")).unwrap();
    assert!(!registry(&stage).install(&path, false).unwrap().unchanged);
    fs::remove_dir_all(stage.at("state/plugins")).unwrap();
    assert!(!registry(&stage).install(&path, false).unwrap().unchanged);
    assert_eq!((tree(&stage.at(USER)), inode()), (files, before));
    registry(&stage).find("minimal").unwrap();
    // Also from where it lies.
    assert!(registry(&stage).install(&installed.path, false).unwrap().unchanged);
}

#[test]
fn a_directory_and_any_file_name_will_do() {
    let stage = Stage::new();
    let path = built(&stage);
    write(&stage.at("built/minimal.toml"), MANIFEST.as_bytes());
    registry(&stage).install(&stage.at("built"), false).unwrap();
    registry(&stage).remove(&registry(&stage).removal("minimal").unwrap()).unwrap();

    let other = stage.at("built/acme-1.0.so");
    fs::rename(&path, &other).unwrap();
    registry(&stage).install(&other, false).unwrap();
    registry(&stage).find("minimal").unwrap();

    // The directory is made where there is none.
    let stage = Stage::new();
    let path = built(&stage);
    fs::remove_dir_all(stage.at("data")).unwrap();
    registry(&stage).install(&path, false).unwrap();
    registry(&stage).find("minimal").unwrap();
}

/// A copy of the smallest backend that was changed, installed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Rejection {
    let stage = Stage::new();
    let path = built(&stage);
    let mut image = library("minimal");
    change(&mut image);
    write(&path, &image);
    refusal(&stage, &path)
}

#[test]
fn p73_what_is_no_backend_for_this_machine_is_not_installed() {
    let cut = changed(|image| image.truncate(image.len() / 2));
    assert!(cut.reason.contains("cut short"), "{cut}");
    let other = changed(|image| image[18] = 40);
    assert_eq!(other.reason, "it was built for another processor");
    assert!(other.fix.unwrap().contains(std::env::consts::ARCH));
    let empty = changed(|image| image.clear());
    assert_eq!(empty.reason, "it is empty");
    let script = changed(|image| *image = b"#!/bin/sh\n".to_vec());
    assert_eq!(script.reason, "it is not a shared library");
    assert!(!script.fix.unwrap().contains("remove"), "the file is the user's");
    let program = changed(|image| *image = fs::read("/bin/sh").unwrap());
    assert!(program.reason.contains("no manifest inside"), "{program}");
    let nameless = changed(|image| {
        let at = image.windows(16).position(|w| w == b"name = \"minimal\"").unwrap();
        image[at + 8] = b'M';
    });
    assert!(nameless.reason.contains("is not a backend name"), "{nameless}");
}

#[test]
fn p75_another_protocol_is_not_installed() {
    let with = |digit: u8| {
        changed(|image| {
            let ours = format!("protocol = \"{PROTOCOL}\"");
            let at = image.windows(ours.len()).position(|w| w == ours.as_bytes()).unwrap();
            image[at + 14] = digit;
        })
    };
    for (digit, remedy) in [(b'9', "update workmux"), (b'0', "install a newer 'minimal'")] {
        let why = with(digit);
        assert!(why.reason.contains(&format!("this workmux speaks {PROTOCOL}")), "{why}");
        assert!(why.fix.unwrap().contains(remedy));
    }
}

#[test]
fn p72_what_others_can_change_is_not_installed() {
    let stage = Stage::new();
    let path = built(&stage);
    mode(&path, 0o666);
    assert!(refusal(&stage, &path).reason.contains("every user can change"));
    mode(&path, 0o644);
    mode(&stage.at("built"), 0o777);
    assert!(refusal(&stage, &path).reason.contains("every user can change"));
    // As the directory for temporary files is: others add to it, and cannot replace what is there.
    mode(&stage.at("built"), 0o1777);
    registry(&stage).install(&path, false).unwrap();
    registry(&stage).remove(&registry(&stage).removal("minimal").unwrap()).unwrap();
    // Where it goes counts as well.
    mode(&stage.at(USER), 0o1777);
    assert!(refusal(&stage, &path).reason.contains("every user can change"));
    mode(&stage.at(USER), 0o755);
    let link = stage.at("built/link");
    symlink(&path, &link).unwrap();
    let why = refusal(&stage, &link);
    assert_eq!(why.reason, "it is a link");
    assert!(why.fix.unwrap().ends_with(path.canonicalize().unwrap().to_str().unwrap()));
    mode(&stage.at("built"), 0o755);
    write(&stage.at("built/minimal.toml"), MANIFEST.as_bytes());
    mode(&stage.at("built/minimal.toml"), 0o666);
    assert!(refusal(&stage, &path).reason.contains("every user can change"));
}

#[test]
fn a_manifest_that_came_with_it_must_agree() {
    let stage = Stage::new();
    let path = built(&stage);
    let with = |text: &str| write(&stage.at("built/minimal.toml"), text.as_bytes());
    with(&format!("sha256 = '00'\n{MANIFEST}"));
    assert!(refusal(&stage, &path).reason.contains("its hash differs"));
    with(&MANIFEST.replace("\"none\"", "\"vm\""));
    assert!(refusal(&stage, &path).reason.contains("not the one inside"));
    with(&"x".repeat(100_000));
    let long = registry(&stage).install(&path, false).unwrap_err();
    assert!(long.reason.contains("too large"), "{long}");
    with(MANIFEST);
    registry(&stage).install(&path, false).unwrap();
}

#[test]
fn another_one_of_the_name_is_replaced_when_the_user_says_so() {
    let stage = Stage::new();
    let path = built(&stage);
    registry(&stage).install(&path, false).unwrap();
    let mut newer = library("minimal");
    newer.push(0);
    write(&path, &newer);
    let why = refusal(&stage, &path);
    assert!(why.reason.starts_with("another 'minimal', version 0.1.0, is there already: "), "{why}");
    assert_eq!(why.fix.unwrap(), format!("replace it: workmux plugin install --force {}", path.display()));
    registry(&stage).find("minimal").unwrap();

    assert!(!registry(&stage).install(&path, true).unwrap().unchanged);
    assert!(tree(&stage.at(USER))[0].2 == newer);
    registry(&stage).find("minimal").unwrap();

    // What is no file of ours is named, and a link is replaced itself.
    let place = stage.at(USER).join(file_name("minimal"));
    fs::remove_file(&place).unwrap();
    let target = stage.at("target");
    write(&target, b"precious");
    symlink(&target, &place).unwrap();
    assert!(refusal(&stage, &path).reason.starts_with("a link is there already: "));
    registry(&stage).install(&path, true).unwrap();
    assert!(place.symlink_metadata().unwrap().is_file() && fs::read(&target).unwrap() == b"precious");
    fs::remove_file(&place).unwrap();
    make_dir(&place);
    assert!(refusal(&stage, &path).reason.starts_with("a directory has its place: "));
    registry(&stage).install(&path, true).unwrap_err();
    fs::remove_dir(&place).unwrap();

    // What one that was killed left goes, and harms nobody.
    write(&stage.at(USER).join(".half-installed-1"), b"half");
    registry(&stage).install(&path, false).unwrap();
    assert_eq!(tree(&stage.at(USER)).len(), 2);
}

#[test]
fn what_it_hides_and_what_hides_it_is_said() {
    let stage = Stage::new();
    let (path, hidden) = (built(&stage), stage.install("minimal"));
    let installed = registry(&stage).install(&path, false).unwrap();
    assert_eq!(installed.hides, Some(hidden.clone()));
    assert_eq!(registry(&stage).find("minimal").unwrap().path(), installed.path);

    let removal = registry(&stage).removal("minimal").unwrap();
    assert_eq!((removal.files.len(), &removal.instead), (2, &Some(hidden.clone())));
    registry(&stage).remove(&removal).unwrap();
    assert_eq!(registry(&stage).find("minimal").unwrap().path(), hidden.canonicalize().unwrap());

    let mut environment = stage.environment();
    environment.variables.insert("WORKMUX_PLUGIN_PATH".into(), stage.at("built").into());
    let first = Registry::new(environment).install(&path, false).unwrap();
    assert_eq!(first.hidden_by, Some(path));
}

#[test]
fn what_is_removed_is_gone_with_the_users_word() {
    let stage = Stage::new();
    let path = built(&stage);
    registry(&stage).install(&path, false).unwrap();
    assert_eq!(registry(&stage).removable(), ["minimal"]);
    registry(&stage).remove(&registry(&stage).removal("minimal").unwrap()).unwrap();
    assert_eq!(tree(&stage.at(USER)), []);
    assert_eq!(fs::read_dir(stage.at("state/plugins/pins")).unwrap().count(), 0);
    // The same file back is one that nobody confirmed.
    stage.install_as("minimal", USER, "minimal");
    assert!(registry(&stage).find("minimal").unwrap_err().to_string().contains("not been confirmed"));

    // What cannot be used can be removed; a link goes, and not what it leads to.
    let place = stage.at(USER).join(file_name("minimal"));
    fs::remove_file(&place).unwrap();
    symlink(&path, &place).unwrap();
    write(&stage.at(USER).join("minimal.toml"), b"nonsense");
    registry(&stage).remove(&registry(&stage).removal("minimal").unwrap()).unwrap();
    assert!(path.is_file() && tree(&stage.at(USER)).is_empty());
    make_dir(&place);
    assert!(registry(&stage).removal("minimal").unwrap_err().reason.contains("a directory has its place"));
}

#[test]
fn what_the_user_did_not_install_is_not_removed() {
    let stage = Stage::new();
    let ours = stage.install("hostile");
    let why = registry(&stage).removal("hostile").unwrap_err();
    assert!(why.reason.starts_with("it came with the program: ") && why.fix.is_some(), "{why}");
    let path = built(&stage);
    let mut environment = stage.environment();
    environment.variables.insert("WORKMUX_PLUGIN_PATH".into(), stage.at("built").into());
    let why = Registry::new(environment).removal("minimal").unwrap_err();
    assert!(why.reason.contains("WORKMUX_PLUGIN_PATH"), "{why}");
    for name in ["acme", "", "..", "../built/minimal", "a\x1b[2J"] {
        let why = registry(&stage).removal(name).unwrap_err();
        assert_eq!(why.reason, "there is no such backend", "{name}");
    }
    registry(&stage).install(&path, false).unwrap();
    assert!(registry(&stage).removal("acme").unwrap_err().fix.unwrap().ends_with("minimal"));
    assert!(ours.is_file() && path.is_file());
}

#[test]
fn p74_a_listing_says_who_trusts_what() {
    let stage = Stage::new();
    stage.install("hostile");
    let path = stage.install_as("minimal", USER, "minimal");
    let word = |name: &str| {
        let json = serde_json::to_value(inspect::list_json(&registry(&stage))).unwrap();
        let entry = json.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap().clone();
        (entry["trust"].as_str().unwrap().to_owned(), entry["sha256"].is_string())
    };
    let told = |text: &str| {
        let info = inspect::info(&registry(&stage), "minimal").unwrap();
        assert!(info.contains(text), "{text}\n{info}");
    };
    assert_eq!((word("hostile"), word("minimal")), (("program".into(), false), ("unconfirmed".into(), false)));
    told("not confirmed by you");
    registry(&stage).confirm(&path).unwrap();
    assert_eq!(word("minimal"), ("confirmed".into(), true));
    told("confirmed by you as it is, SHA-256 ");
    let mut other = library("minimal");
    other.push(0);
    write(&path, &other);
    assert_eq!(word("minimal"), ("changed".into(), false));
    told("the file changed since you confirmed it (it was 0.1.0 then)");
    write(&path, &library("minimal"));
    assert!(registry(&stage).distrust(&path).unwrap());
    assert_eq!(word("minimal"), ("unconfirmed".into(), false));
    assert!(!registry(&stage).distrust(&path).unwrap());
    // Also where the file is gone.
    registry(&stage).confirm(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(registry(&stage).distrust(&path).unwrap());
    assert_eq!(fs::metadata(stage.at("state/plugins/pins")).unwrap().permissions().mode() & 0o777, 0o700);
}
