//! Which files are configuration, and how they are opened.
//!
//! A project's file may have been written by a guest: links are not followed, a FIFO does not hang, nothing beyond
//! the limit is read. The user's own files may be links, as dotfile managers make them.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::Sources;
use super::node::{MAX_BYTES, Node, Tree, Wrong, parse};
use super::report::{ConfigError, Place, Problem};

pub(super) const PROJECT_NAMES: [&str; 2] = [".workmux.yaml", ".workmux.yml"];
const GLOBAL_NAMES: [&str; 2] = ["config.yaml", "config.yml"];

/// One file that was read.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) file: Arc<Path>,
    pub(super) root: Node,
}

/// What was looked for and what came of it.
#[derive(Debug)]
pub(super) struct Found {
    /// The user's own file, if there is one.
    pub(super) global: Option<Layer>,
    /// Where the user's own file is, or would be.
    pub(super) global_path: PathBuf,
    /// The project's file, if there is one.
    pub(super) project: Option<Layer>,
    /// Where the project's file is, even if it cannot be used.
    pub(super) project_path: Option<PathBuf>,
    /// Files that are there and cannot be used.
    pub(super) problems: Vec<Problem>,
}

/// Who may have written a file.
#[derive(Clone, Copy, PartialEq)]
enum Author {
    User,
    Anybody,
}

/// Finds and reads the files of `sources`.
pub(super) fn find(sources: &Sources) -> Result<Found, ConfigError> {
    let mut problems = Vec::new();
    let mut first = |paths: Vec<PathBuf>, author| {
        paths.into_iter().find_map(|path| match read(&path, author) {
            Ok(bytes) => Some((path.clone(), understand(&path, &bytes, &mut problems))),
            Err(e) if is_absent(&e) => None,
            Err(e) => {
                problems.push(problem(&path, Wrong::new(0, explain(&e))));
                Some((path, None))
            }
        })
    };
    let global = first(global_paths(sources), Author::User);
    let project = match &sources.explicit {
        None => first(project_paths(sources), Author::Anybody),
        Some(path) => {
            let bytes =
                read(path, Author::User).map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            Some((path.clone(), understand(path, &bytes, &mut problems)))
        }
    };
    let (global_path, global) = global.unwrap_or_else(|| (default_global_path(sources), None));
    let (project_path, project) = project.map_or((None, None), |(path, layer)| (Some(path), layer));
    Ok(Found { global, global_path, project, project_path, problems })
}

fn global_dirs(sources: &Sources) -> Vec<PathBuf> {
    let xdg = sources.xdg_config_home.as_deref().filter(|dir| dir.is_absolute());
    let mut dirs: Vec<PathBuf> = xdg
        .map(Path::to_owned)
        .into_iter()
        .chain([sources.home.join(".config")])
        .map(|dir| dir.join("workmux"))
        .collect();
    dirs.dedup();
    dirs
}

fn global_paths(sources: &Sources) -> Vec<PathBuf> {
    global_dirs(sources).iter().flat_map(|dir| GLOBAL_NAMES.map(|name| dir.join(name))).collect()
}

fn default_global_path(sources: &Sources) -> PathBuf {
    global_dirs(sources).swap_remove(0).join(GLOBAL_NAMES[0])
}

fn project_paths(sources: &Sources) -> Vec<PathBuf> {
    let mut dirs = vec![sources.start.as_path()];
    if let Some(root) = &sources.worktree_root
        && sources.start.starts_with(root)
    {
        dirs = sources.start.ancestors().take_while(|dir| dir.starts_with(root)).collect();
    }
    dirs.extend(sources.main_root.as_deref());
    dirs.iter().flat_map(|dir| PROJECT_NAMES.map(|name| dir.join(name))).collect()
}

fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read(path: &Path, author: Author) -> io::Result<Vec<u8>> {
    let no_follow = if author == Author::Anybody { OFlag::O_NOFOLLOW } else { OFlag::empty() };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((no_follow | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY).bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES && !crate::mutant::off("p29_budget") {
        return Err(io::Error::other("is larger than 1 MiB"));
    }
    Ok(bytes)
}

fn explain(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(libc::ELOOP) => "is a link, and a project's file is not followed; put the file itself there".to_owned(),
        _ => e.to_string(),
    }
}

fn understand(path: &Path, bytes: &[u8], problems: &mut Vec<Problem>) -> Option<Layer> {
    let wrong = match parse(bytes) {
        Ok(root) if matches!(root.tree, Tree::Map(_) | Tree::Null) => return Some(Layer { file: path.into(), root }),
        Ok(root) => Wrong::new(root.line, format!("must be a mapping of keys, and is {}", root.kind())),
        Err(wrong) => wrong,
    };
    problems.push(problem(path, wrong));
    None
}

fn problem(path: &Path, wrong: Wrong) -> Problem {
    Problem { key: String::new(), place: Place { file: path.into(), line: wrong.line }, message: wrong.message }
}
