//! Prompts: where they come from, what is filled into them, and the copy an agent can read in its worktree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::beneath::{Root, text_of};
use super::record::Record;
use crate::error::hinted;
use crate::text;

/// The largest there is, as over RPC.
pub(crate) const LARGEST: u64 = 1024 * 1024;
/// The kernel takes no word longer than 128 KiB; beyond this an agent is told where to read it.
const LONGEST_WORD: usize = 100 * 1024;
/// Beside the prompt, so that no git of host or guest ever lists it.
const IGNORE: &str = "*\n";

/// Where a prompt comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line.
    Text(String),
    /// A file; `-` = standard input.
    File(PathBuf),
    /// An editor.
    Editor,
}

impl Source {
    /// Gets it, byte for byte.
    pub(crate) fn read(self) -> Result<String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::File(path) if path.as_os_str() == "-" => {
                let mut bytes = Vec::new();
                io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes).wrap_err("cannot read the prompt")?;
                if bytes.len() as u64 > LARGEST {
                    return Err(Report::msg(format!("the prompt is larger than {LARGEST} bytes")));
                }
                String::from_utf8(bytes).map_err(|_| Report::msg("the prompt is not valid UTF-8"))
            }
            Self::File(path) => {
                let failed = || format!("cannot read the prompt from {}", text::quote(path.as_os_str()));
                let file = File::open(&path).wrap_err_with(failed)?;
                text_of(file, LARGEST).wrap_err_with(failed)
            }
            Self::Editor => edit(),
        }
    }
}

/// Has the user write it.
fn edit() -> Result<String> {
    if !crate::ui::can_ask() {
        return Err(hinted("there is no terminal to write the prompt in", "give it: --prompt TEXT"));
    }
    let chosen = ["VISUAL", "EDITOR"].into_iter().filter_map(std::env::var_os).find(|editor| !editor.is_empty());
    let chosen = chosen.unwrap_or_else(|| "vi".into());
    let draft = tempfile::Builder::new().prefix("workmux-prompt-").suffix(".md").tempfile()?;
    // As git starts editors: text of the user's own, with the file as a word of its own.
    let mut text = chosen.clone();
    text.push(" \"$@\"");
    let status = Command::new("sh").arg("-c").arg(&text).arg("editor").arg(draft.path()).status();
    let status = status.wrap_err_with(|| format!("the editor {} cannot be started", text::quote(&chosen)))?;
    if !status.success() {
        return Err(Report::msg(format!("the editor {} ended with {status}", text::quote(&chosen))));
    }
    let written = File::open(draft.path()).and_then(|file| text_of(file, LARGEST));
    let written = written.wrap_err("cannot read what the editor wrote")?;
    if written.trim().is_empty() {
        return Err(Report::msg("the prompt is empty: nothing was made"));
    }
    Ok(written)
}

/// The text with `{{ name }}` replaced; a name nobody knows stays as it is.
pub(crate) fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        match after.split_once("}}") {
            Some((name, behind)) if values.contains_key(name.trim()) => {
                filled.push_str(&values[name.trim()]);
                rest = behind;
            }
            _ => {
                filled.push_str("{{");
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// The file of a worktree's prompt, relative to where its panes start.
pub(crate) fn file(branch: &str) -> PathBuf {
    let name: String = branch.chars().map(|c| if matches!(c, '/' | '\\' | ':') { '-' } else { c }).collect();
    Path::new(".workmux").join(format!("PROMPT-{name}.md"))
}

/// Writes the prompt where the agent can read it.
pub(crate) fn put(record: &Record, prompt: &str) -> io::Result<()> {
    let root = Root::open(&record.worktree)?;
    let below = record.cwd.strip_prefix(&record.worktree).unwrap_or(Path::new(""));
    let here = root.directory(below)?;
    here.replace(&file(&record.branch), 0o600, &mut prompt.as_bytes())?;
    match here.write_new(Path::new(".workmux/.gitignore"), 0o644, &mut IGNORE.as_bytes()) {
        // The project's own.
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// What an agent is given as its prompt: the text, or where to read it.
pub(crate) fn word(prompt: &str, record: &Record) -> String {
    if prompt.len() <= LONGEST_WORD && !prompt.contains('\0') {
        return prompt.to_owned();
    }
    format!("Your task is in the file {}. Read all of it first, then do it.", file(&record.branch).display())
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;
    use std::fs;

    #[test]
    fn names_are_filled_in_and_nothing_else() {
        let values = BTreeMap::from([("num".to_owned(), "3".to_owned()), ("os".to_owned(), "{{ num }}".to_owned())]);
        assert_eq!(fill("a {{ num }} {{os}} {{ x }} {{num", &values), "a 3 {{ num }} {{ x }} {{num");
        assert_eq!(fill("", &values), "");
    }

    #[test]
    fn p9_a_prompt_is_written_below_the_worktree_only() {
        let all = tempfile::tempdir().unwrap();
        let (tree, canary) = (all.path().join("tree"), all.path().join("canary"));
        fs::create_dir(&tree).unwrap();
        fs::create_dir(&canary).unwrap();
        let record = Record { branch: "a/b".into(), ..record(tree.to_str().unwrap()) };
        put(&record, "do\n").unwrap();
        put(&record, "more\n").unwrap();
        assert_eq!(fs::read_to_string(tree.join(".workmux/PROMPT-a-b.md")).unwrap(), "more\n");
        assert_eq!(fs::read_to_string(tree.join(".workmux/.gitignore")).unwrap(), "*\n");
        fs::remove_dir_all(tree.join(".workmux")).unwrap();
        std::os::unix::fs::symlink(&canary, tree.join(".workmux")).unwrap();
        assert!(put(&record, "evil").is_err());
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
    }

    #[test]
    fn a_long_prompt_is_read_from_its_file() {
        let record = record("/w/x");
        assert_eq!(word("short", &record), "short");
        let long = "x".repeat(LONGEST_WORD + 1);
        assert!(word(&long, &record).contains(".workmux/PROMPT-b.md"));
    }
}
