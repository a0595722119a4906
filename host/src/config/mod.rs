//! Configuration: the user's file and the project's, merged into one [`Config`].
//!
//! The user's file is trusted, the project's is not: it may tighten the sandbox and choose what is neutral, and what
//! makes the host run something needs the user's word (`keys` is the table, `rules` the rules). Backends own a table
//! each below `sandbox`, which only [`backend_table`] looks into, by the backend's schema. Everything is read once:
//! a run then works from its frozen copy. Reading changes nothing and asks nobody; [`Loaded::approve`] asks.
//!
//! `files` finds and opens, `node` parses, `merge` merges, `report` holds what there is to say. Printing is the
//! caller's.

pub mod approvals;
pub mod backend_table;
mod checks;
mod described;
mod files;
mod forms;
mod frozen;
mod keys;
pub mod later;
mod merge;
mod node;
pub mod report;
pub mod rules;
mod schema;
pub mod types;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::approvals::{Answer, Approvals};
pub use self::described::described;
use self::files::Layer;
use self::merge::{Merged, Tables};
use self::node::Node;
use self::report::{ConfigError, Place, Problem, Refusal, Warning, nearest};
pub use self::types::Config;

/// Backends in the order in which one is chosen when nobody chose: the first whose tools are installed.
pub const DEFAULT_BACKENDS: [&str; 3] = ["container", "lima", "bubblewrap"];

/// The project's file, where there is none yet.
pub const PROJECT_FILE: &str = files::PROJECT_NAMES[0];

/// Where configuration comes from. Loading reads no environment but this.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Where looking for the project's file starts; canonical.
    pub start: PathBuf,
    /// Where it ends; canonical.
    pub worktree_root: Option<PathBuf>,
    /// Where it is also looked for, from a linked worktree; canonical.
    pub main_root: Option<PathBuf>,
    /// The user's home.
    pub home: PathBuf,
    /// `XDG_CONFIG_HOME`, whatever it holds.
    pub xdg_config_home: Option<PathBuf>,
    /// Instead of the project's file, with the same limits.
    pub explicit: Option<PathBuf>,
    /// Instead of everything: a run's frozen configuration.
    pub frozen: Option<PathBuf>,
    /// What flags set, by key. No part of a frozen configuration can be overruled by a flag.
    pub command_line: BTreeMap<String, Value>,
}

/// What was read.
#[derive(Debug)]
pub struct Loaded {
    config: Config,
    merged: Merged,
    global_path: PathBuf,
    project_file: Option<PathBuf>,
}

/// Reads and merges. Mistakes in the files are kept for the commands that need the keys they are in.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    if let Some(path) = &sources.frozen {
        return thaw(path, sources);
    }
    let found = files::find(sources)?;
    let mut merged = merge::merge(
        found.global.as_ref(),
        found.project.as_ref(),
        &sources.command_line,
        &found.global_path,
        sources.main_root.as_deref(),
    );
    merged.problems.extend(found.problems);
    let mut loaded =
        Loaded { config: Config::default(), merged, global_path: found.global_path, project_file: found.project_path };
    loaded.assemble()?;
    Ok(loaded)
}

fn thaw(path: &Path, sources: &Sources) -> Result<Loaded, ConfigError> {
    if sources.explicit.is_some() {
        return Err(ConfigError::FrozenAndFile);
    }
    let frozen = frozen::read(path)?;
    let mut merged = Merged::default();
    for (name, table) in &frozen.config.sandbox.tables {
        let user = Some(Layer { file: path.into(), root: Node::from_value(table, 0) });
        merged.tables.insert(name.clone(), Tables { user, project: None });
    }
    Ok(Loaded { config: frozen.config, merged, global_path: path.to_owned(), project_file: frozen.project_file })
}

impl Loaded {
    /// The configuration, if the keys that are needed have no problem. Keys are named by path; `sandbox` means
    /// everything below it. Keys that are not named hold their default where something is wrong with them.
    pub fn config(&self, needed: &[&str]) -> Result<&Config, ConfigError> {
        let problems: Vec<Problem> =
            self.merged.problems.iter().filter(|problem| touches(&problem.key, needed)).cloned().collect();
        if problems.is_empty() { Ok(&self.config) } else { Err(ConfigError::Problems(problems)) }
    }

    /// Settles what the project may only do with the user's word, for the keys that are needed. Until this is called
    /// the user's own values hold.
    pub fn approve(&mut self, needed: &[&str], approvals: &mut dyn Approvals) -> Result<(), ConfigError> {
        let (now, later) =
            std::mem::take(&mut self.merged.pending).into_iter().partition(|pending| touches(pending.key, needed));
        self.merged.pending = later;
        for pending in now {
            match refusal_of(approvals.answer(&pending.question)) {
                None => self.merged.accept(pending.key, pending.value),
                Some(reason) => self.merged.refusals.push(Refusal {
                    key: pending.key.to_owned(),
                    place: pending.question.place,
                    reason: reason.to_owned(),
                    set_in: self.global_path.clone(),
                }),
            }
        }
        self.assemble()
    }

    /// What the project wanted and did not get, for the keys that are needed.
    pub fn refusals<'a>(&'a self, needed: &'a [&str]) -> impl Iterator<Item = &'a Refusal> {
        self.merged.refusals.iter().filter(|refusal| touches(&refusal.key, needed))
    }

    /// Everything that cannot be used, whoever needs it.
    pub fn problems(&self) -> &[Problem] {
        &self.merged.problems
    }

    /// Keys nobody knows.
    pub fn warnings(&self) -> &[Warning] {
        &self.merged.warnings
    }

    /// Tables below `sandbox` that belong to no installed backend.
    pub fn foreign_tables(&self, installed: &[&str]) -> Vec<Warning> {
        let mut known: Vec<&str> = keys::below("sandbox").collect();
        known.extend(installed);
        let foreign = self.merged.tables.iter().filter(|(name, _)| !installed.contains(&name.as_str()));
        let sides = foreign
            .flat_map(|(name, tables)| tables.user.iter().chain(&tables.project).map(move |layer| (name, layer)));
        let warnings = sides.map(|(name, layer)| {
            let name = crate::text::line(name);
            let mut message = format!("unknown key 'sandbox.{name}': no installed backend is called '{name}'");
            if let Some(meant) = nearest(&name, known.iter().copied()) {
                message += &format!("; did you mean 'sandbox.{meant}'?");
            }
            Warning { place: Place { file: layer.file.clone(), line: layer.root.line }, message }
        });
        warnings.collect()
    }

    /// The user's own file, or where it would be.
    pub fn global_file(&self) -> &Path {
        &self.global_path
    }

    /// The project's file that was found, usable or not.
    pub fn project_file(&self) -> Option<&Path> {
        self.project_file.as_deref()
    }

    /// Puts a backend's merged table in place of the user's, so that it is frozen with the rest.
    pub fn set_table(&mut self, name: &str, merged: Value) {
        self.config.sandbox.tables.insert(name.to_owned(), merged);
    }

    /// Writes what holds now into a new private file in `dir`, a directory of this user's alone (mode 0700), and
    /// returns its path for [`Sources::frozen`].
    pub fn freeze(&self, dir: &Path) -> io::Result<PathBuf> {
        self.freeze_with(dir, |_| {})
    }

    /// As [`Self::freeze`], with what was decided since: flags, the backend chosen, its merged table.
    pub fn freeze_with(&self, dir: &Path, decide: impl FnOnce(&mut Config)) -> io::Result<PathBuf> {
        let mut config = self.config.clone();
        decide(&mut config);
        frozen::write(dir, &config, self.project_file())
    }

    fn assemble(&mut self) -> Result<(), ConfigError> {
        let tables = std::mem::take(&mut self.config.sandbox.tables);
        self.config = merge::assemble(&self.merged.values, &self.merged.tables)
            .map_err(|e| ConfigError::Inconsistent(e.to_string()))?;
        self.config.sandbox.tables.extend(tables);
        Ok(())
    }
}

/// Why an answer means no, if it does.
fn refusal_of(answer: Answer) -> Option<&'static str> {
    match answer {
        Answer::Yes => None,
        Answer::No => Some("you did not confirm it"),
        Answer::Nobody => Some("it needs your confirmation once; run the command in a terminal"),
    }
}

/// Whether a key matters to a command that needs `needed`. A file that cannot be read may hold any of them.
fn touches(key: &str, needed: &[&str]) -> bool {
    let below = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    needed.iter().any(|needed| key.is_empty() || below(key, needed) || below(needed, key))
}

#[cfg(test)]
mod tests;
