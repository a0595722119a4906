//! The frozen copy of a run.

use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use super::*;

fn private_dir(setting: &Setting) -> PathBuf {
    let dir = setting.base().join("run");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

fn thaw(setting: &Setting, path: &Path) -> Result<Loaded, crate::config::report::ConfigError> {
    load(&Sources { frozen: Some(path.to_owned()), ..setting.sources() })
}

#[test]
fn p26_files_written_during_a_run_change_nothing() {
    let setting = Setting::new(
        "agents: {mine: {command: codex, env: {A: {from_env: B}}}}\nsandbox: {enabled: true, acme: {cpus: 2}}\n",
        "agent: mine\nsandbox: {network: {max_connections: 7}, acme: {cpus: 1}}\n",
    );
    let dir = private_dir(&setting);
    let mut loaded = setting.load();
    loaded.set_table("acme", json!({"cpus": 1}));
    let path = loaded.freeze(&dir).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(loaded.freeze(&dir).is_err(), "a frozen file is never replaced");

    setting.project("agent: evil\nsandbox: {enabled: false, acme: {cpus: 99}}\n");
    fs::write(setting.user_file(), "agent: evil\n").unwrap();
    fs::write(setting.root().join(".workmux.yml"), "agent: evil\n").unwrap();
    let thawed = thaw(&setting, &path).unwrap();
    assert_eq!(thawed.config(&["sandbox"]).unwrap(), loaded.config(&["sandbox"]).unwrap());
    assert_eq!(thawed.config(&[]).unwrap().sandbox.tables["acme"], json!({"cpus": 1}));
    assert_eq!(thawed.project_file(), loaded.project_file());
    assert_eq!(setting.said(&thawed), "");
}

#[test]
fn p26_only_our_own_private_file_is_a_frozen_configuration() {
    let setting = Setting::new("", "");
    let dir = private_dir(&setting);
    let path = setting.load().freeze(&dir).unwrap();
    let refuses = |path: &Path, part: &str| {
        let said = thaw(&setting, path).unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    };
    let link = dir.join("link");
    symlink(&path, &link).unwrap();
    refuses(&link, "could not read");
    let fifo = dir.join("fifo");
    mkfifo(&fifo, Mode::S_IRUSR).unwrap();
    refuses(&fifo, "not a regular file");
    refuses(&dir, "not a regular file");
    refuses(Path::new("config.json"), "not absolute");
    refuses(&dir.join("missing"), "could not read");
    let other = dir.join("other");
    let copy = |text: &str, mode| {
        fs::write(&other, text).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(mode)).unwrap();
    };
    copy(&fs::read_to_string(&path).unwrap(), 0o644);
    refuses(&other, "others can");
    copy("{}", 0o600);
    refuses(&other, "is not a frozen configuration");
    copy(&fs::read_to_string(&path).unwrap().replace("\"format\":1", "\"format\":2"), 0o600);
    refuses(&other, "another format");
    let both = Sources { frozen: Some(path), explicit: Some("/x".into()), ..setting.sources() };
    assert!(load(&both).unwrap_err().to_string().contains("--config"));
}

#[test]
fn p26_a_frozen_file_needs_a_private_directory() {
    let setting = Setting::new("", "");
    let dir = private_dir(&setting);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(setting.load().freeze(&dir).is_err());
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    let link = setting.base().join("link");
    symlink(&dir, &link).unwrap();
    assert!(setting.load().freeze(&link).is_err());
}
