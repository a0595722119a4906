//! The files that `workmux init` writes, held to the table of keys: complete, true about what a project may do, and
//! without a mistake when every comment sign is taken off.

use std::collections::BTreeMap;

use super::super::keys::{self, KEYS, Project};
use super::super::later;
use super::super::rules::Rule;
use super::{Setting, effective};
use crate::init::{Of, text};

/// The text as a user makes it who wants everything: one comment sign less on every line.
fn bare(text: &str) -> String {
    let line = |line: &str| line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or(line).to_owned();
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Every key that stands in the text as an example, with the remark above it.
fn remarks(text: &str) -> BTreeMap<&'static str, String> {
    let (mut found, mut stack, mut remark) = (BTreeMap::new(), Vec::<(usize, String)>::new(), String::new());
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("##") {
            remark = format!("{remark} {}", words.trim());
        } else if let Some(line) = line.strip_prefix("# ") {
            let (depth, Some((name, _))) = (line.len() - line.trim_start().len(), line.split_once(':')) else {
                continue;
            };
            stack.retain(|(above, _)| *above < depth);
            stack.push((depth, name.trim().to_owned()));
            let path = stack.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(".");
            if let Some(key) = keys::find(&path) {
                assert!(!remark.is_empty(), "{path} has no remark");
                assert!(found.insert(key.path, std::mem::take(&mut remark)).is_none(), "{path} stands there twice");
            }
        } else {
            remark.clear();
        }
    }
    found
}

#[test]
fn every_key_stands_where_it_can_be_set() {
    let (project, user) = (remarks(&text(Of::Project)), remarks(&text(Of::User)));
    let read = |key: &&keys::Key| effective_has(key.path);
    for key in KEYS.iter().filter(read) {
        let users_alone = matches!(key.project, Project::May(Rule::No));
        assert_eq!(project.contains_key(key.path), !users_alone, "{} in the project's file", key.path);
        assert!(!users_alone || user.contains_key(key.path), "{} in the user's file", key.path);
    }
    // Keys that nothing reads are no examples to follow, and still no mistakes.
    for key in KEYS.iter().filter(|key| !read(key)) {
        assert!(text(Of::User).contains(key.path), "{}", key.path);
    }
}

/// Whether the configuration holds what this key says.
fn effective_has(path: &str) -> bool {
    let config = serde_json::to_value(super::super::Config::default()).unwrap();
    config.pointer(&format!("/{}", path.replace('.', "/"))).is_some()
}

#[test]
fn each_remark_says_what_a_project_may_do() {
    for (path, remark) in remarks(&text(Of::Project)) {
        let word = match &keys::find(path).unwrap().project {
            Project::May(Rule::Ask) => "; asks]".to_owned(),
            Project::May(Rule::Yes) => "; used]".to_owned(),
            Project::May(Rule::Only(value)) => format!("; only {value}]"),
            Project::May(Rule::Lower) => "; only fewer]".to_owned(),
            Project::May(_) => panic!("no words for the rule of {path}"),
            Project::Depends(_) => "; ".to_owned(),
        };
        assert!(remark.contains(&word), "{path}: {remark}");
    }
    for of in [Of::Project, Of::User] {
        for (path, remark) in remarks(&text(of)) {
            assert_eq!(remark.contains("Not served yet"), later::knows(path), "{path}: {remark}");
        }
    }
}

#[test]
fn as_written_they_say_nothing() {
    let setting = Setting::new(&text(Of::User), &text(Of::Project));
    let loaded = setting.load();
    assert!(loaded.project_file().is_some());
    assert_eq!((setting.said(&loaded).as_str(), loaded.problems()), ("", &[][..]));
    assert_eq!(effective(&loaded), serde_json::json!({}));
    assert!(loaded.merged.pending.is_empty());
}

#[test]
fn with_every_comment_sign_off_they_are_free_of_mistakes() {
    let (user, project) = (bare(&text(Of::User)), bare(&text(Of::Project)));
    // Each beside nothing, so that what the one may not say over the other does not matter.
    for (user, project, of) in [(&*user, "", Of::User), ("", &*project, Of::Project)] {
        let setting = Setting::new(user, project);
        let loaded = setting.load();
        assert_eq!((setting.said(&loaded).as_str(), loaded.problems()), ("", &[][..]), "{of:?}");
        assert!(loaded.foreign_tables(&[]).is_empty(), "{of:?}");
        let settled = loaded.merged.values.keys().chain(loaded.merged.pending.iter().map(|pending| &pending.key));
        let (mut settled, mut all): (Vec<_>, Vec<_>) = (settled.collect(), remarks(&text(of)).into_keys().collect());
        // Panes and windows exclude each other: the later one of the two replaced the earlier.
        all.retain(|key| *key != "panes");
        settled.retain(|key| **key != "panes");
        settled.sort();
        assert_eq!(settled, all.iter().collect::<Vec<_>>(), "{of:?}");
    }
}

#[test]
fn they_are_comments_within_the_width_of_a_screen() {
    for of in [Of::Project, Of::User] {
        assert!(text(of).lines().all(|line| line.is_empty() || line.starts_with('#')), "{of:?}: only comments");
        assert!(text(of).lines().all(|line| line.chars().count() <= 120 && line.trim_end() == line), "{of:?}");
        assert!(!text(of).contains("{backend"), "{of:?}");
    }
}
