//! What a guest left in the worktree that other programs run or obey without being asked: named to the user at the end of
//! the run (P24). A fixed list of places is looked at before and after; nothing is read, followed or walked.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files and directories, relative to the worktree's root; of directories what lies right in them counts.
const PLACES: [&str; 26] = [
    // Of workmux.
    ".workmux.yaml",
    ".workmux.yml",
    // Of shells and tools that run things on entering a directory.
    ".envrc",
    ".mise.toml",
    ".tool-versions",
    ".autoenv",
    // Of git, and of those who bring hooks into it.
    ".gitmodules",
    ".githooks",
    ".husky",
    ".pre-commit-config.yaml",
    "lefthook.yml",
    // Of editors.
    ".vscode",
    ".idea",
    ".zed",
    ".nvim.lua",
    ".exrc",
    ".dir-locals.el",
    ".devcontainer",
    // Of agents.
    ".claude",
    ".mcp.json",
    ".codex",
    ".gemini",
    ".opencode",
    "opencode.json",
    ".cursor",
    ".aider.conf.yml",
];
/// Entries of one directory that are looked at.
const MOST: usize = 200;
/// Names in one message.
const SHOWN: usize = 8;

/// What stands at a place, as far as a change of it shows: inode, size, and when it was changed.
type Mark = (u64, u64, i64, i64);

/// How it is at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<PathBuf, Mark>);

impl Places {
    /// As it is now.
    pub(super) fn look(worktree: &Path) -> Self {
        let mut found = BTreeMap::new();
        for place in PLACES {
            let place = Path::new(place);
            let Ok(there) = fs::symlink_metadata(worktree.join(place)) else { continue };
            if !there.is_dir() {
                found.insert(place.to_owned(), mark(&there));
                continue;
            }
            for entry in fs::read_dir(worktree.join(place)).into_iter().flatten().flatten().take(MOST) {
                if let Ok(there) = entry.metadata() {
                    found.insert(place.join(entry.file_name()), mark(&there));
                }
            }
        }
        Self(found)
    }

    /// What is new or different in `now`, as a line for the user.
    pub(super) fn changed(&self, now: &Self) -> Option<String> {
        let all: Vec<&Path> = now
            .0
            .iter()
            .filter(|(path, mark)| self.0.get(*path) != Some(mark))
            .map(|(path, _)| path.as_path())
            .collect();
        if all.is_empty() || crate::mutant::off("p24_left_behind") {
            return None;
        }
        let names: Vec<String> = all.iter().take(SHOWN).map(|path| crate::text::quote(path.as_os_str())).collect();
        let more = all.len().saturating_sub(SHOWN);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        Some(format!(
            "the sandbox changed what programs of yours run or obey in this worktree: {}{more}; look at it before you use \
             them there",
            names.join(", ")
        ))
    }
}

fn mark(there: &fs::Metadata) -> Mark {
    (there.ino(), there.size(), there.ctime(), there.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p24_what_other_programs_obey_is_named_when_it_changed() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        fs::create_dir(path(".vscode")).unwrap();
        fs::write(path(".vscode/settings.json"), "{}").unwrap();
        fs::write(path(".envrc"), "a").unwrap();
        let before = Places::look(tree.path());
        fs::write(path("README"), "x").unwrap();
        assert_eq!(before.changed(&Places::look(tree.path())), None);
        fs::write(path(".vscode/tasks.json"), "{}").unwrap();
        fs::write(path(".envrc"), "evil").unwrap();
        std::os::unix::fs::symlink("/nowhere", path(".husky")).unwrap();
        fs::create_dir(path(".claude")).unwrap();
        fs::write(path(".claude/settings\u{1b}.json"), "{}").unwrap();
        let said = before.changed(&Places::look(tree.path())).unwrap();
        for name in [".vscode/tasks.json", ".envrc", ".husky", r"settings\x1b.json"] {
            assert!(said.contains(name), "{said}");
        }
        assert!(!said.contains(".vscode/settings.json") && !said.contains('\u{1b}'), "{said}");
        for n in 0..20 {
            fs::write(path(&format!(".idea{n}")), "").unwrap();
            fs::create_dir_all(path(".idea")).unwrap();
            fs::write(path(&format!(".idea/{n}")), "").unwrap();
        }
        assert!(before.changed(&Places::look(tree.path())).unwrap().contains("more"));
    }
}
