//! The command on whole homes: which files it changes, and which it leaves as they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;

/// A home with nothing in it.
struct Home {
    root: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    fn write(&self, relative: &str, text: &str) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).unwrap()
    }

    /// Does it without a word; how it is shown and asked is for the tests of the built program.
    fn run(&self, agents: &[&str], remove: bool) -> Result<()> {
        let home = self.root.path().to_owned();
        let surroundings = Surroundings {
            cwd: home.clone(),
            config_home: home.join(".config"),
            data_home: home.join(".local/share"),
            state: home.join(".local/state/workmux"),
            cache: home.join(".cache/workmux"),
            executable: home.join("workmux"),
            search_path: Vec::new(),
            uid: 0,
            gid: 0,
            home,
        };
        let agents = agents.iter().map(|&agent| agent.to_owned()).collect();
        let wish = Setup { agents, remove, dry_run: false, yes: true };
        let places = Places::read(&surroundings)?;
        let (changes, _) = changes(&wish, &places, &chosen(&wish, &places))?;
        changes.iter().try_for_each(|change| change.found.replace(change.after.as_deref()))
    }

    fn install(&self, agents: &[&str]) {
        self.run(agents, false).unwrap();
    }

    fn remove(&self, agents: &[&str]) {
        self.run(agents, true).unwrap();
    }

    /// Every file with its content.
    fn files(&self) -> Vec<(PathBuf, String)> {
        fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => walk(&entry.path(), found),
                    false => found.push((entry.path(), fs::read_to_string(entry.path()).unwrap())),
                }
            }
        }
        let mut found = Vec::new();
        walk(self.root.path(), &mut found);
        found.sort();
        found
    }
}

#[test]
fn agents_that_are_there_get_their_hooks_and_lose_them_again() {
    let home = Home::new();
    home.install(&[]);
    assert_eq!(home.files(), []);

    home.write(".claude/settings.json", "{\n  \"model\": \"opus\"\n}\n");
    home.write(".codex/config.toml", "model = 'x'\n");
    fs::create_dir_all(home.path(".local/share/opencode")).unwrap();
    let before = home.files();
    home.install(&[]);
    let after = home.files();
    assert_eq!(after.len(), before.len() + 2);
    assert!(home.read(".claude/settings.json").contains("set-window-status waiting"));
    assert!(home.read(".codex/hooks.json").contains("PermissionRequest"));
    assert_eq!(home.read(".config/opencode/plugin/workmux-status.js"), plugin::CONTENT);
    assert!(!home.path(".gemini").exists());

    home.install(&[]);
    assert_eq!(home.files(), after, "a second time changes nothing");
    home.remove(&[]);
    assert_eq!(home.files(), before);
    home.remove(&["gemini"]);
    assert!(!home.path(".gemini").exists());
}

#[test]
fn a_named_agent_gets_its_hooks_alone_and_before_it_was_ever_started() {
    let home = Home::new();
    home.write(".claude/settings.json", "{}");
    home.install(&["gemini", "gemini"]);
    assert_eq!(home.read(".claude/settings.json"), "{}");
    assert!(home.read(".gemini/settings.json").contains("\"ToolPermission\""));
    home.remove(&["claude"]);
    assert_eq!(home.read(".claude/settings.json"), "{}");
}

#[test]
fn sandboxes_with_settings_of_their_own_get_hooks_too() {
    let home = Home::new();
    home.write(".config/workmux/config.yaml", "sandbox: { agent_config_dir: '~/sandboxes/{agent}' }\n");
    home.write(".claude/settings.json", "{}\n");
    home.install(&[]);
    assert_eq!(home.read(".claude/settings.json"), home.read("sandboxes/claude/settings.json"));
    assert!(!home.path("sandboxes/codex").exists());
    home.remove(&[]);
    assert!(!home.path("sandboxes/claude/settings.json").exists());
    // It is this agent's even where the host has none.
    fs::create_dir_all(home.path("sandboxes/codex")).unwrap();
    home.install(&[]);
    assert!(home.path("sandboxes/codex/hooks.json").exists() && !home.path(".codex").exists());
}

#[test]
fn a_directory_that_agents_share_is_changed_once() {
    let home = Home::new();
    home.write(".config/workmux/config.yaml", "sandbox: { agent_config_dir: ~/shared }\n");
    home.install(&["claude", "gemini"]);
    let shared = home.read("shared/settings.json");
    assert!(shared.contains("UserPromptSubmit") && shared.contains("BeforeAgent"));
    home.install(&["claude", "gemini"]);
    assert_eq!(home.read("shared/settings.json"), shared);
    home.remove(&["claude", "gemini"]);
    assert!(!home.path("shared/settings.json").exists());
}

#[test]
fn a_linked_file_is_changed_where_it_is_and_never_removed() {
    let home = Home::new();
    home.write("dotfiles/claude.json", "{}\n");
    home.write("dotfiles/status.js", "");
    for (link, to) in
        [(".claude/settings.json", "claude.json"), (".config/opencode/plugin/workmux-status.js", "status.js")]
    {
        fs::create_dir_all(home.path(link).parent().unwrap()).unwrap();
        symlink(home.path("dotfiles").join(to), home.path(link)).unwrap();
    }
    home.install(&[]);
    assert!(home.read("dotfiles/claude.json").contains("Stop"));
    assert_eq!(home.read("dotfiles/status.js"), plugin::CONTENT);
    home.remove(&[]);
    assert_eq!((home.read("dotfiles/claude.json").as_str(), home.read("dotfiles/status.js").as_str()), ("{}\n", ""));
    assert!(fs::symlink_metadata(home.path(".claude/settings.json")).unwrap().file_type().is_symlink());
}

#[test]
fn one_bad_file_and_nothing_is_written() {
    let home = Home::new();
    home.write(".claude/settings.json", "{}\n");
    let bad = home.write(".gemini/settings.json", "{\n  # mine\n  \"a\": 1\n}\n");
    let before = home.files();
    let text = crate::error::render(&home.run(&[], false).unwrap_err());
    assert!(text.contains(&format!("{}:2", bad.display())) && text.contains("Hint: "), "{text}");
    assert_eq!(home.files(), before);

    let home = Home::new();
    home.write(".config/opencode/plugin/workmux-status.js", "export const mine = 1\n");
    let text = crate::error::render(&home.run(&[], false).unwrap_err());
    assert!(text.contains("did not write it") && text.contains("Hint: "), "{text}");
    home.remove(&[]);
    assert_eq!(home.read(".config/opencode/plugin/workmux-status.js"), "export const mine = 1\n");
}

#[test]
fn the_difference_shows_what_a_terminal_would_act_on() {
    let home = Home::new();
    home.write(".claude/settings.json", "{\n\t\"a\": \"\u{9b}31m\u{202e}\"\n}");
    let found = Found::read(&home.path(".claude/settings.json")).unwrap();
    let after = json::install(found.text.as_deref().unwrap(), hooks::Dialect::Plain, hooks_of("claude")).unwrap();
    let text = difference(&Change { found, after: Some(after) });
    assert!(text.contains("\n-\t\"a\": \"\\u{9b}31m\\u{202e}\"\n") && text.contains("\n+\t\"hooks\": {\n"), "{text}");
    let found = Found::read(&home.path("new.json")).unwrap();
    let text = difference(&Change { found, after: Some("{}\n".to_owned()) });
    assert!(text.starts_with("--- /dev/null\n+++ "), "{text}");
}

fn hooks_of(agent: &str) -> &'static [hooks::Hook] {
    let Some(How::Json { hooks, .. }) = how(agent) else { panic!("{agent} has a JSON file") };
    hooks
}
