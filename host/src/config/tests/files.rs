//! Which files are read, and what a broken or hostile one does.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

fn branch(sources: &Sources) -> String {
    load(sources).unwrap().config(&[]).unwrap().main_branch.clone().unwrap_or_default()
}

#[test]
fn the_nearest_project_file_counts_and_then_the_main_checkouts() {
    let setting = Setting::new("", "main_branch: root\n");
    let (linked, main) = (setting.base().join("linked"), setting.root());
    let deep = linked.join("a/b");
    fs::create_dir_all(&deep).unwrap();
    let sources = Sources { start: deep.clone(), worktree_root: Some(linked.clone()), ..setting.sources() };
    assert_eq!(branch(&sources), "root");
    assert_eq!(load(&sources).unwrap().project_file(), Some(main.join(".workmux.yaml").as_path()));
    write(linked.join(".workmux.yml"), "main_branch: linked\n");
    assert_eq!(branch(&sources), "linked");
    write(linked.join("a/.workmux.yaml"), "main_branch: a\n");
    assert_eq!(branch(&sources), "a");
    write(deep.join(".workmux.yml"), "main_branch: yml\n");
    assert_eq!(branch(&sources), "yml");
    write(deep.join(".workmux.yaml"), "main_branch: yaml\n");
    assert_eq!(branch(&sources), "yaml");
    // A file above the worktree is nobody's.
    write(setting.base().join(".workmux.yaml"), "main_branch: above\n");
    fs::remove_file(main.join(".workmux.yaml")).unwrap();
    let sources = Sources { start: main.clone(), worktree_root: Some(main.clone()), ..setting.sources() };
    assert_eq!(branch(&sources), "");
    let outside =
        Sources { start: setting.base().join("home"), worktree_root: None, main_root: None, ..setting.sources() };
    assert_eq!(branch(&outside), "");
}

#[test]
fn the_users_file_is_found_by_the_usual_rules() {
    let setting = Setting::new("main_branch: home\n", "");
    let xdg = setting.base().join("xdg");
    let with = |xdg: &Path| Sources { xdg_config_home: Some(xdg.to_owned()), ..setting.sources() };
    assert_eq!(branch(&with(Path::new(""))), "home");
    assert_eq!(branch(&with(Path::new("relative"))), "home");
    // Nothing there: the one in the home still counts.
    assert_eq!(branch(&with(&xdg)), "home");
    write(xdg.join("workmux/config.yml"), "main_branch: xdg\n");
    assert_eq!(branch(&with(&xdg)), "xdg");
    // Managers of dotfiles make links.
    write(setting.base().join("dotfiles/workmux"), "main_branch: linked\n");
    symlink(setting.base().join("dotfiles/workmux"), xdg.join("workmux/config.yaml")).unwrap();
    assert_eq!(branch(&with(&xdg)), "linked");
    fs::remove_dir_all(setting.base().join("home/.config")).unwrap();
    let loaded = load(&setting.sources()).unwrap();
    assert_eq!(loaded.global_file(), setting.user_file(), "where it would be");
}

#[test]
fn a_file_named_by_a_flag_has_the_projects_limits() {
    let setting = Setting::new("", "main_branch: project\n");
    let named = setting.base().join("named.yaml");
    write(&named, "main_branch: named\nsandbox: {env: {A: b}}\n");
    let sources = Sources { explicit: Some(named), ..setting.sources() };
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.config(&[]).unwrap().main_branch.as_deref(), Some("named"));
    assert!(setting.said(&loaded).contains("'sandbox.env' is not used"));
    let missing = Sources { explicit: Some("/nonexistent/x.yaml".into()), ..setting.sources() };
    assert!(load(&missing).unwrap_err().to_string().contains("/nonexistent/x.yaml"));
}

#[test]
fn p29_whatever_stands_where_the_projects_file_should_be() {
    let setting = Setting::new("main_branch: own\n", "");
    let path = setting.root().join(".workmux.yaml");
    let secret = setting.base().join("secret");
    write(&secret, "BEGIN PRIVATE KEY\n");
    type Plant<'a> = &'a dyn Fn();
    let cases: [(&str, Plant, &str); 9] = [
        ("link", &|| symlink(&secret, &path).unwrap(), "is a link"),
        ("dangling link", &|| symlink("/nonexistent", &path).unwrap(), "is a link"),
        ("FIFO", &|| mkfifo(&path, Mode::S_IRWXU).unwrap(), "not a regular file"),
        ("directory", &|| fs::create_dir(&path).unwrap(), "not a regular file"),
        ("device", &|| symlink("/dev/zero", &path).unwrap(), "is a link"),
        ("huge", &|| fs::File::create(&path).unwrap().set_len(1 << 40).unwrap(), "larger than 1 MiB"),
        ("one byte too long", &|| fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap(), "larger than 1 MiB"),
        ("broken", &|| fs::write(&path, "a: 1\nb: [\n").unwrap(), ".workmux.yaml:"),
        ("list", &|| fs::write(&path, "\n- a\n").unwrap(), ".workmux.yaml:2: must be a mapping of keys, and is a list"),
    ];
    for (name, plant, part) in cases {
        let _gone = fs::remove_file(&path);
        plant();
        let started = Instant::now();
        let loaded = setting.load();
        assert!(started.elapsed() < Duration::from_secs(5), "{name}");
        assert_eq!(loaded.config(&[]).unwrap().main_branch.as_deref(), Some("own"), "{name}: other commands work");
        let said = loaded.config(&["sandbox"]).unwrap_err().to_string();
        assert!(said.contains(part) && said.contains(".workmux.yaml"), "{name}: {said}");
        assert!(!said.contains("PRIVATE"), "{name}: {said}");
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
        }
    }
    let _gone = fs::remove_file(&path);
    fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
    setting.load().config(&["sandbox"]).unwrap();
}

#[test]
fn p29_a_broken_file_of_the_users_own_stops_what_needs_it() {
    let setting = Setting::new("sandbox:\n  enabled: true\n  enabled: false\n", "");
    let loaded = setting.load();
    loaded.config(&[]).unwrap();
    let said = loaded.config(&["sandbox.enabled"]).unwrap_err().to_string();
    assert!(said.contains("config.yaml:3: 'enabled' is set twice"), "{said}");
}
