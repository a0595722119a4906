//! The configured agent: the command it is, the variables it gets, and its settings in the guest.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use color_eyre::eyre::{Result, WrapErr as _};
use serde_json::{Map, Value};
use workmux_plugin_api::{Purpose, Word};

use super::Wish;
use crate::agents::{self, Agent};
use crate::config::Config;
use crate::config::types::EnvValue;
use crate::git::Repository;
use crate::spec::AgentFiles;
use crate::surroundings::Surroundings;

/// What runs, and as which agent.
pub(super) struct Command {
    /// The exact words.
    pub argv: Vec<OsString>,
    /// The first program the words start, where that can be told.
    pub program: Option<String>,
    /// The agent's row in the table.
    pub row: &'static Agent,
    /// The agent's own variables.
    pub env: BTreeMap<String, Word>,
}

/// The user's words, or else the configured agent (as text of a shell) or a shell.
pub(super) fn command(wish: &Wish, config: &Config, surroundings: &Surroundings) -> Command {
    let (purpose, words, task) = (wish.purpose, wish.command.clone(), wish.task.as_ref());
    let configured = task.and_then(|task| task.agent.as_deref()).unwrap_or_else(|| config.agent());
    let row = row(configured, config, surroundings);
    let entry = config.agents.get(configured);
    let env = entry
        .map(|entry| entry.env.iter().filter_map(|(name, value)| Some((name.clone(), variable(value)?))).collect())
        .unwrap_or_default();
    if let Some(first) = words.first() {
        let program = first.to_str().map(str::to_owned);
        return Command { program, argv: words, row, env };
    }
    if let Some(task) = task {
        let program = agents::program_of(&task.text);
        let mut argv: Vec<OsString> =
            vec!["sh".into(), "-c".into(), format!("{} \"$@\"", directly(&task.text)).into(), "sh".into()];
        argv.extend(task.words.iter().map(OsString::from));
        return Command { argv, program, row, env };
    }
    if purpose == Purpose::Shell {
        return Command { argv: vec!["bash".into()], program: Some("bash".into()), row, env };
    }
    let mut text = entry.and_then(|e| e.command.clone()).unwrap_or_else(|| configured.to_owned());
    let program = agents::program_of(&text);
    for argument in entry.map(|e| e.args.as_slice()).unwrap_or_default() {
        text.push(' ');
        text.push_str(&crate::text::quote(argument.as_ref()));
    }
    Command { argv: vec!["sh".into(), "-c".into(), directly(&text).into()], program, row, env }
}

/// The configured agent's program, and where it is on this machine, if it is.
pub(crate) fn program(config: &Config, surroundings: &Surroundings) -> Option<(String, Option<PathBuf>)> {
    let configured = config.agent();
    let text = config.agents.get(configured).and_then(|own| own.command.as_deref()).unwrap_or(configured);
    let program = agents::program_of(text)?;
    let found = resolve(&program, &surroundings.search_path);
    Some((program, found))
}

/// The row of a configured agent.
pub(crate) fn row(configured: &str, config: &Config, surroundings: &Surroundings) -> &'static Agent {
    let resolve = |program: &str| resolve(program, &surroundings.search_path);
    agents::row(agents::name_of(configured, &config.agents, &resolve))
}

/// With `exec` where it is one program: it gets signals and the terminal itself, no shell of ours in between.
pub(crate) fn directly(text: &str) -> String {
    let simple = !text.contains([';', '&', '|', '\n', '(', ')', '<', '>', '`'])
        && agents::program_of(text).is_some_and(|p| text.trim_start().starts_with(p.as_str()));
    if simple { format!("exec {text}") } else { text.to_owned() }
}

pub(crate) fn variable(value: &EnvValue) -> Option<Word> {
    match value {
        EnvValue::Text(text) => Some(text.as_str().into()),
        EnvValue::FromEnv { from_env } => std::env::var_os(from_env).map(Into::into),
    }
}

fn resolve(program: &str, search_path: &[PathBuf]) -> Option<PathBuf> {
    let found = if program.contains('/') {
        PathBuf::from(program)
    } else {
        search_path.iter().map(|dir| dir.join(program)).find(|p| p.is_file())?
    };
    found.canonicalize().ok()
}

/// The agent's settings as mounts below the guest's home. What is missing is made; in a dry run it is made below
/// `stand_ins` instead, at the same path.
pub(super) fn files(
    row: &Agent,
    config: &Config,
    surroundings: &Surroundings,
    repository: &Repository,
    stand_ins: Option<&Path>,
) -> Result<Vec<AgentFiles>> {
    let home = &surroundings.home;
    let mut files = Vec::new();
    let mut mount = |source, guest, writable| files.push(AgentFiles { source, target: below_home(guest), writable });
    let configured = config.sandbox.agent_config_dir.as_deref();
    if let Some(directory) = row.settings_dir(home, &|name| std::env::var_os(name), configured)
        && let Some(guest) = row.guest_dir
    {
        let directory = placed(directory, stand_ins);
        directory_made(&directory)?;
        mount(directory.canonicalize()?, guest, true);
    }
    for shared in row.read_only {
        if let Ok(source) = home.join(shared.host).canonicalize() {
            mount(source, shared.guest, false);
        }
    }
    for seed in row.files {
        let path = placed(home.join(seed.host), stand_ins);
        if stand_ins.is_some()
            && let Some(above) = path.parent()
        {
            directory_made(above)?;
        }
        file_made(&path, seed.initial)?;
        if let (Some(place), None) = (seed.trusted, stand_ins) {
            // It asks then, as it would outside.
            let _asks = trust(&path, place, repository.main_checkout.as_ref().unwrap_or(&repository.worktree));
        }
        mount(path.canonicalize()?, seed.guest, true);
    }
    Ok(files)
}

/// Notes in an agent's file that a repository is trusted: started in a sandbox, the agent need not ask whether it may run
/// what the repository says, and in a window that nobody looks at it would wait for the answer for ever. The file is for
/// sandboxes alone; one that is no JSON, or is not ours to understand, stays as it is.
fn trust(path: &Path, (under, key): (&str, &str), checkout: &Path) -> Result<()> {
    let mut content: Value = serde_json::from_slice(&fs::read(path)?)?;
    let (Some(all), Some(checkout)) = (content.as_object_mut(), checkout.to_str()) else { return Ok(()) };
    let trusted = all.entry(under).or_insert_with(|| Value::Object(Map::new()));
    let trusted = trusted.as_object_mut().map(|of| of.entry(checkout).or_insert_with(|| Value::Object(Map::new())));
    let Some(trusted) = trusted.and_then(Value::as_object_mut) else { return Ok(()) };
    if trusted.insert(key.to_owned(), Value::Bool(true)) == Some(Value::Bool(true)) {
        return Ok(());
    }
    // In place: a sandbox that runs has this very file mounted.
    Ok(fs::write(path, serde_json::to_vec_pretty(&content)?)?)
}

/// Where something is, or stands in for it.
fn placed(path: PathBuf, stand_ins: Option<&Path>) -> PathBuf {
    match stand_ins {
        Some(stand_ins) if !path.exists() => stand_ins.join(path.strip_prefix("/").unwrap_or(&path)),
        _ => path,
    }
}

fn below_home(relative: &str) -> PathBuf {
    Path::new("~").join(relative)
}

fn directory_made(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .wrap_err_with(|| format!("cannot make the agent's directory {}", crate::text::quote(path.as_os_str())))
}

fn file_made(path: &Path, content: &str) -> Result<()> {
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => Ok(file.write_all(content.as_bytes())?),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e).wrap_err_with(|| format!("cannot make {}", crate::text::quote(path.as_os_str()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_trusted_once_and_nothing_else_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        let place = ("projects", "trusted");
        let tried = |before: &str| {
            fs::write(&path, before).unwrap();
            let _refused = trust(&path, place, Path::new("/r"));
            fs::read_to_string(&path).unwrap()
        };
        let added: Value = serde_json::from_str(&tried(r#"{"z":1,"a":{"x":[1]}}"#)).unwrap();
        assert_eq!(added, serde_json::json!({"z":1,"a":{"x":[1]},"projects":{"/r":{"trusted":true}}}));
        let kept = r#"{ "projects": {"/r":{"trusted":true,"more":1}} }"#;
        assert_eq!(tried(kept), kept);
        for odd in ["", "{", "[]", r#"{"projects":1}"#, r#"{"projects":{"/r":2}}"#] {
            assert_eq!(tried(odd), odd);
        }
    }
}
