//! The one way host git is run: a cleared environment, an explicit repository, nothing of the user's or the
//! repository's that could start another program, and a deadline.
//!
//! Plumbing sees no user configuration at all. What is done for the user (identity, merges, checkouts) asks for it
//! with [`GitCommand::user_config`]. Callers get a command from `Repository::git`, which compares the record first.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::error::{GitError, clean};
use crate::tool::{self, Output, ToolError};

/// What one git command may take. Object transfers of big repositories are the slow ones.
const DEADLINE: Duration = Duration::from_secs(120);

/// Holds for every command: nothing but git itself is started, nothing is tidied behind our back.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.editor=false",
    "core.askPass=",
    "core.sshCommand=false",
    "credential.helper=",
    "gc.auto=0",
    "gc.autoDetach=false",
    "maintenance.auto=false",
    "protocol.allow=never",
    "submodule.recurse=false",
    "diff.ignoreSubmodules=all",
    "diff.external=",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false",
    "log.showSignature=false",
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("LC_ALL", "C"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_ALLOW_PROTOCOL_FROM_USER", "0"),
    ("GIT_PROTOCOL_FROM_USER", "0"),
    ("GIT_EDITOR", "false"),
    ("GIT_SEQUENCE_EDITOR", "false"),
    ("GIT_PAGER", "cat"),
    ("GIT_ATTR_NOSYSTEM", "1"),
];

/// Variables of the user's that reach git: where it lives, where it may put temporary files.
const PASSED: &[&str] = &["TMPDIR", "TZ"];
/// Passed as well where the user's own configuration counts.
const PASSED_FOR_CONFIG: &[&str] = &["HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME"];

/// The absolute entries of the user's `PATH`: a relative one would let a work tree choose the program.
pub fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let absolute = std::env::split_paths(&path).filter(|p| p.is_absolute() || crate::mutant::off("p12_search_path"));
    std::env::join_paths(absolute).unwrap_or_default()
}

/// The git program that [`search_path`] finds.
pub fn program() -> Result<PathBuf, GitError> {
    std::env::split_paths(&search_path())
        .map(|dir| dir.join("git"))
        .find(|file| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
        .ok_or_else(|| ToolError::Missing { program: "git".into() }.into())
}

/// One git command being put together.
#[derive(Debug)]
#[must_use = "a command does nothing until it is run"]
pub struct GitCommand {
    verb: String,
    command: Command,
    settings: Vec<OsString>,
    arguments: Vec<OsString>,
    input: Vec<u8>,
    deadline: Duration,
}

impl GitCommand {
    /// `program verb` in the repository `git_dir`, on `worktree` if it has one.
    pub(super) fn new(program: &Path, git_dir: &Path, worktree: Option<&Path>, verb: &str) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", search_path()).env("GIT_DIR", git_dir).envs(ENVIRONMENT.iter().copied());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        pass(&mut command, PASSED);
        if let Some(worktree) = worktree {
            command.env("GIT_WORK_TREE", worktree);
        }
        command.current_dir(worktree.unwrap_or(git_dir));
        Self {
            verb: verb.to_owned(),
            command,
            settings: SETTINGS.iter().filter(|setting| !is_off(setting)).map(OsString::from).collect(),
            arguments: Vec::new(),
            input: Vec::new(),
            deadline: DEADLINE,
        }
    }

    /// One more argument after the verb.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments after the verb.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// One configuration value (`key=value`) for this command only; wins over the hardened ones.
    pub fn setting(mut self, setting: impl Into<OsString>) -> Self {
        self.settings.push(setting.into());
        self
    }

    /// Sets one variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Lets the user's own and the system's configuration count.
    pub fn user_config(mut self) -> Self {
        self.command.env_remove("GIT_CONFIG_NOSYSTEM").env_remove("GIT_CONFIG_GLOBAL");
        pass(&mut self.command, PASSED_FOR_CONFIG);
        self
    }

    /// What the command reads on its standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Another deadline than the usual one.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it; any exit status is an answer.
    pub fn output(mut self) -> Result<Output, GitError> {
        for setting in &self.settings {
            self.command.arg("-c").arg(setting);
        }
        self.command.arg(&self.verb).args(&self.arguments);
        Ok(tool::run(&mut self.command, &self.input, self.deadline)?)
    }

    /// Runs it; a failure is an error with git's own words.
    pub fn run(self) -> Result<Vec<u8>, GitError> {
        let verb = self.verb.clone();
        let output = self.output()?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(failed(&verb, &output)),
        }
    }
}

/// The error for a command whose status its caller has looked at.
pub(super) fn failed(verb: &str, output: &Output) -> GitError {
    let said = clean(&output.stderr_text());
    let detail = if said.is_empty() { output.status.to_string() } else { said };
    GitError::Failed { verb: verb.to_owned(), detail }
}

/// Whether a test has switched this setting off.
fn is_off(setting: &str) -> bool {
    setting.starts_with("core.hooksPath=") && crate::mutant::off("p20_hooks")
}

fn pass(command: &mut Command, names: &[&str]) {
    for name in names {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn p21_the_environment_is_made_not_inherited() {
        let dir = tempfile::tempdir().unwrap();
        let fake = dir.path().join("git");
        fs::write(&fake, "#!/bin/sh\nenv\nprintf 'arg:%s\\n' \"$@\"\n").unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        let run = |command: GitCommand| String::from_utf8(command.run().unwrap()).unwrap();
        let make = || GitCommand::new(&fake, dir.path(), Some(dir.path()), "status");
        let (plain, users) = (run(make().arg("--porcelain")), run(make().user_config()));
        let names =
            |said: &str| said.lines().filter_map(|l| l.split_once('=').map(|(n, _)| n.to_owned())).collect::<Vec<_>>();
        for name in names(&plain).into_iter().chain(names(&users)).filter(|name| !name.starts_with("arg:")) {
            let ours = ENVIRONMENT.iter().any(|(n, _)| *n == name)
                || PASSED.contains(&&*name)
                || PASSED_FOR_CONFIG.contains(&&*name);
            let named =
                ["PATH", "GIT_DIR", "GIT_WORK_TREE", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL"].contains(&&*name);
            // The shell's own.
            assert!(ours || named || ["PWD", "OLDPWD", "_", "SHLVL"].contains(&&*name), "{name}");
        }
        assert!(plain.contains("GIT_CONFIG_GLOBAL=/dev/null") && !users.contains("GIT_CONFIG_GLOBAL"));
        for setting in ["core.hooksPath=/dev/null", "core.fsmonitor=false", "protocol.allow=never"] {
            assert!(plain.contains(&format!("arg:{setting}\n")), "{setting}");
        }
        assert!(plain.ends_with("arg:status\narg:--porcelain\n"));
    }
}
