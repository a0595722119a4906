//! Configuration read from real files: what holds, what is refused, what is said.

mod files;
mod frozen;
mod merging;
mod project;
mod tables;
mod templates;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::approvals::{Answer, Approvals, Question};
use super::{Loaded, Sources, load};

/// A home with a user's file and a repository with a project's file.
struct Setting {
    dir: tempfile::TempDir,
}

impl Setting {
    fn new(user: &str, project: &str) -> Self {
        let setting = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(setting.user_file().parent().unwrap()).unwrap();
        fs::create_dir_all(setting.root()).unwrap();
        fs::write(setting.user_file(), user).unwrap();
        setting.project(project);
        setting
    }

    fn base(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn root(&self) -> PathBuf {
        self.base().join("repo")
    }

    fn user_file(&self) -> PathBuf {
        self.base().join("home/.config/workmux/config.yaml")
    }

    fn project(&self, text: &str) {
        fs::write(self.root().join(".workmux.yaml"), text).unwrap();
    }

    fn sources(&self) -> Sources {
        Sources {
            start: self.root(),
            worktree_root: Some(self.root()),
            main_root: Some(self.root()),
            home: self.base().join("home"),
            ..Sources::default()
        }
    }

    fn load(&self) -> Loaded {
        load(&self.sources()).unwrap()
    }

    /// What is said for all keys, with paths relative to the setting.
    fn said(&self, loaded: &Loaded) -> String {
        let all = ["sandbox", "agent", "agents", "panes"];
        let refusals = loaded.merged.refusals.iter().map(ToString::to_string);
        let warnings = loaded.warnings().iter().map(ToString::to_string);
        let problems = loaded.config(&all).err().map(|e| e.to_string());
        let lines: Vec<String> = refusals.chain(warnings).chain(problems).collect();
        lines.join("\n").replace(self.base().to_str().unwrap(), "")
    }
}

/// Answers every question the same way and counts.
struct Always(Answer, usize);

impl Approvals for Always {
    fn answer(&mut self, _: &Question) -> Answer {
        self.1 += 1;
        self.0
    }
}

/// The configuration without what is default in it.
fn effective(loaded: &Loaded) -> Value {
    let mut value = serde_json::to_value(loaded.config(&[]).unwrap()).unwrap();
    let default = serde_json::to_value(super::Config::default()).unwrap();
    strip(&mut value, &default);
    value
}

fn strip(value: &mut Value, default: &Value) {
    if let (Value::Object(map), Value::Object(default)) = (value, default) {
        for (name, default) in default {
            if map.get(name) == Some(default) {
                map.shift_remove(name);
            } else if let Some(inner) = map.get_mut(name) {
                strip(inner, default);
            }
        }
    }
}

fn write(path: impl AsRef<Path>, text: &str) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
