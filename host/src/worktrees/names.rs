//! What things are called: which branches may be made, and the handle, window and directory that follow from one.
//!
//! Everything that is shown to tmux, the file system or an engine comes from the slug alphabet and the user's own
//! prefix; the branch itself goes to git alone (P2, P6, P7).

use std::path::{Path, PathBuf};

use color_eyre::eyre::Result;

use crate::agents::expand_home;
use crate::config::Config;
use crate::config::types::Naming;
use crate::error::hinted;
use crate::git::{is_plain_ref_name, is_ref_name};
use crate::text;

/// A file system takes 255 bytes; some are for prefixes and suffixes.
const LONGEST_HANDLE: usize = 200;
/// Bytes of a branch.
const LONGEST_BRANCH: usize = 200;
/// Words of a prompt that name a branch, and their characters together.
const WORDS: usize = 6;
const LONGEST_AUTO: usize = 48;
/// Words that say nothing of what a prompt is about.
const FILLER: [&str; 24] = [
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "could", "for", "from", "in", "is", "it", "of", "on",
    "please", "should", "so", "that", "the", "to", "you",
];

/// Why a branch cannot have this name; `None` = it can. `remotes` are the repository's.
pub(crate) fn wrong_with(branch: &str, remotes: &[String]) -> Option<String> {
    let reason = if branch.is_empty() {
        "it is empty".to_owned()
    } else if branch.len() > LONGEST_BRANCH {
        format!("it is longer than {LONGEST_BRANCH} bytes")
    } else if branch.starts_with('-') || branch.split('/').any(|part| part.starts_with('-')) {
        "a part of it begins with '-'".to_owned()
    } else if branch == "HEAD" || branch == "@" || branch.starts_with("refs/") {
        "git means something else by it".to_owned()
    } else if !is_ref_name(&format!("refs/heads/{branch}")) || text::line(branch) != branch {
        "git takes no such name".to_owned()
    } else if let Some(remote) =
        remotes.iter().find(|r| branch.strip_prefix(r.as_str()).is_some_and(|b| b.starts_with('/')))
    {
        format!("'{}' is a remote", text::line(remote))
    } else {
        return None;
    };
    Some(reason)
}

/// As [`wrong_with`], for a name that a guest wrote: a plain alphabet only.
pub(crate) fn wrong_with_guests(branch: &str, remotes: &[String]) -> Option<String> {
    wrong_with(branch, remotes).or_else(|| {
        let plain = is_plain_ref_name(&format!("refs/heads/{branch}")) || crate::mutant::off("p6_branch");
        (!plain).then(|| "it holds other characters than letters, digits and '._/+@=-'".to_owned())
    })
}

/// The handle of a worktree: its directory's name, and what it is called in every command.
pub(crate) fn handle(config: &Config, branch: &str, name: Option<&str>) -> Result<String> {
    let (what, from) = match name {
        Some(name) => (name, name.to_owned()),
        None => {
            let branch = match config.worktree_naming {
                Naming::Full => branch,
                Naming::Basename => branch.rsplit('/').next().unwrap_or(branch),
            };
            (branch, format!("{}{branch}", config.worktree_prefix.as_deref().unwrap_or_default()))
        }
    };
    let mut handle = text::slug(&from);
    handle.truncate(LONGEST_HANDLE);
    let handle = handle.trim_end_matches('-').to_owned();
    if handle.is_empty() {
        return Err(hinted(
            format!("'{}' has no letter or digit for a directory's name", text::line(what)),
            "give the worktree a name of its own: --name NAME",
        ));
    }
    Ok(handle)
}

/// What the window of this worktree is called.
pub(crate) fn window(config: &Config, project: &str, handle: &str) -> String {
    let prefix = match &config.window_prefix {
        Some(prefix) => prefix.replace("{project}", &text::slug(project)),
        None if config.nerdfont == Some(true) => "\u{f418} ".to_owned(),
        None => "wm-".to_owned(),
    };
    format!("{prefix}{handle}")
}

/// The project: the main checkout's directory name.
pub(crate) fn project(main: &Path) -> String {
    main.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where worktrees of this main checkout go.
pub(crate) fn base_directory(config: &Config, main: &Path, home: &Path) -> Result<PathBuf> {
    let project = project(main);
    let Some(configured) = &config.worktree_dir else {
        return Ok(main.parent().unwrap_or(main).join(usual(main)));
    };
    let expanded = configured.replace("{project}", &project);
    if let Some(open) = configured.replace("{project}", "").find('{') {
        return Err(hinted(
            format!(
                "'worktree_dir' holds '{}', which means nothing",
                text::line(&configured[open.min(configured.len())..])
            ),
            "only {project} and a leading ~ are expanded in it",
        ));
    }
    let path = if expanded.starts_with('~') { expand_home(&expanded, home) } else { main.join(&expanded) };
    Ok(plain(&path))
}

/// The name of the directory beside the main checkout where worktrees go unless somebody says otherwise.
pub(crate) fn usual(main: &Path) -> String {
    format!("{}__worktrees", project(main))
}

/// The path without `.` and `..`, by its text.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// A branch after the first words of a prompt that mean something.
pub(crate) fn after_prompt(prompt: &str) -> Option<String> {
    let line = prompt.lines().find(|line| !text::slug(line).is_empty())?;
    // A slug of a whole page would be made to be thrown away.
    let line: String = line.chars().take(400).collect();
    let all = text::slug(&line);
    let telling: Vec<&str> = all.split('-').filter(|word| !FILLER.contains(word)).take(WORDS).collect();
    let words = if telling.is_empty() { all.split('-').take(WORDS).collect() } else { telling };
    let mut name = String::new();
    for word in words {
        if name.len() + word.len() >= LONGEST_AUTO {
            break;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(word);
    }
    if name.is_empty() {
        name = all.chars().take(LONGEST_AUTO).collect();
    }
    Some(name)
}

/// The name with a number, for when the plain one is taken.
pub(crate) fn numbered(name: &str, number: usize) -> String {
    if number < 2 { name.to_owned() } else { format!("{name}-{number}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_names_that_mean_something_else_are_refused() {
        let remotes = ["origin".to_owned()];
        for bad in [
            "",
            "-D",
            "--",
            "a/-b",
            "HEAD",
            "@",
            "refs/heads/x",
            "a..b",
            "a@{0}",
            "x.lock",
            "a b",
            "a\nb",
            "origin/x",
            "a\u{202e}b",
            &"x".repeat(201),
        ] {
            assert!(wrong_with(bad, &remotes).is_some(), "{bad:?}");
            assert!(wrong_with_guests(bad, &remotes).is_some(), "{bad:?}");
        }
        for good in ["x", "feature/login", "originals/x", "x-1.2", "é"] {
            assert_eq!(wrong_with(good, &remotes), None, "{good}");
        }
        for foul in ["é", "x$(touch${IFS}y)", "a'b", "a#b"] {
            assert!(wrong_with_guests(foul, &remotes).is_some(), "{foul}");
        }
    }

    #[test]
    fn p2_a_handle_is_a_slug() {
        let mut config = Config::default();
        assert_eq!(handle(&config, "prj-4120/Create_Tags", None).unwrap(), "prj-4120-create-tags");
        assert_eq!(handle(&config, "x", Some("#(touch y)")).unwrap(), "touch-y");
        config.worktree_naming = Naming::Basename;
        config.worktree_prefix = Some("web-".into());
        assert_eq!(handle(&config, "feature/x", None).unwrap(), "web-x");
        assert_eq!(handle(&config, "feature/x", Some("My Name")).unwrap(), "my-name");
        assert!(handle(&config, "x", Some("###")).is_err());
        assert_eq!(handle(&config, "x", Some(&"y".repeat(999))).unwrap().len(), LONGEST_HANDLE);
        assert_eq!(window(&config, "p", "web-x"), "wm-web-x");
        config.window_prefix = Some("{project}:".into());
        assert_eq!(window(&config, "My Project", "x"), "my-project:x");
    }

    #[test]
    fn worktrees_go_beside_the_main_checkout_or_where_the_user_says() {
        let (main, home) = (Path::new("/src/app"), Path::new("/home/u"));
        let mut config = Config::default();
        let mut base = |dir: Option<&str>| {
            config.worktree_dir = dir.map(str::to_owned);
            base_directory(&config, main, home).map(|path| path.to_str().unwrap().to_owned())
        };
        assert_eq!(base(None).unwrap(), "/src/app__worktrees");
        assert_eq!(base(Some(".worktrees")).unwrap(), "/src/app/.worktrees");
        assert_eq!(base(Some("../{project}__worktrees")).unwrap(), "/src/app__worktrees");
        assert_eq!(base(Some("~/wt/{project}")).unwrap(), "/home/u/wt/app");
        assert!(base(Some("x/{branch}")).is_err());
    }

    #[test]
    fn a_branch_is_named_after_the_telling_words() {
        for (prompt, name) in [
            ("Please fix the login bug in the header", "fix-login-bug-header"),
            ("\n\n  Größe ändern\nmore", "grosse-andern"),
            ("--help $(touch x)", "help-touch-x"),
            ("the", "the"),
            (&"x".repeat(500), &"x".repeat(LONGEST_AUTO)),
        ] {
            assert_eq!(after_prompt(prompt).as_deref(), Some(name), "{prompt}");
        }
        assert_eq!(after_prompt(" \n###"), None);
    }
}
