//! Where a backend's tools are and what environment they get: the variables its manifest names, and a search path of
//! directories nobody else can write.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use workmux_plugin_api::{Error, ErrorKind, Manifest, Result, Tool};

use super::Environment;
use super::trust::Trust;

/// The user's search path without relative entries and without those that others can write.
pub(super) fn search_path(environment: &Environment, trust: &Trust) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for dir in environment.var("PATH").map(std::env::split_paths).into_iter().flatten() {
        let safe = dir.is_absolute() && trust.directory(&dir).is_ok();
        if (safe || crate::mutant::off("p12_search_path")) && !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs
}

/// The program of this name.
pub(super) fn look_up(dirs: &[PathBuf], name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
        return None;
    }
    let executable = |path: &PathBuf| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    dirs.iter().map(|dir| dir.join(name)).find(executable)
}

/// One backend's tools.
#[derive(Debug)]
pub(super) struct Toolbox {
    tools: BTreeMap<String, PathBuf>,
    environment: Vec<(OsString, OsString)>,
    path: OsString,
}

impl Toolbox {
    pub(super) fn new(environment: &Environment, dirs: &[PathBuf], manifest: &Manifest) -> Self {
        let named = manifest.tools.iter().chain(&manifest.optional_tools);
        let variable = |name: &String| Some((name.into(), environment.var(name)?.to_owned()));
        Self {
            tools: named.filter_map(|name| Some((name.clone(), look_up(dirs, name)?))).collect(),
            environment: manifest.tool_env.iter().filter(|name| *name != "PATH").filter_map(variable).collect(),
            path: std::env::join_paths(dirs).unwrap_or_default(),
        }
    }

    pub(super) fn tools(&self) -> &BTreeMap<String, PathBuf> {
        &self.tools
    }

    /// The environment every tool and plan of this backend starts from.
    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut all = self.environment.clone();
        all.push(("PATH".into(), self.path.clone()));
        all
    }

    /// What to run for a tool call.
    pub(super) fn command(&self, tool: &Tool) -> Result<Command> {
        let mut command = Command::new(self.program(&tool.program)?);
        // Not where the user stands: tools read configuration from there.
        command.args(&tool.args).current_dir("/");
        if !crate::mutant::off("p80_environment") {
            command.env_clear();
        }
        command.envs(self.environment());
        for (name, value) in &tool.env {
            if !valid_variable(name) {
                return Err(Error::internal(format!("asked for a tool with the variable '{name}'")));
            }
            command.env(name, value);
        }
        Ok(command)
    }

    fn program(&self, program: &Path) -> Result<PathBuf> {
        let text = program.as_os_str().as_encoded_bytes();
        if program.is_absolute() && !text.contains(&0) {
            return Ok(program.to_owned());
        }
        let name = program.to_string_lossy();
        self.tools.get(&*name).cloned().ok_or_else(|| {
            Error::new(ErrorKind::MissingTool, format!("'{name}' is not installed, not on PATH or not in the manifest"))
        })
    }
}

/// Whether this can be the name of an environment variable.
pub(super) fn valid_variable(name: &str) -> bool {
    !name.is_empty() && name.len() <= 256 && !name.contains(['=', '\0'])
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;
    use crate::plugins::testing;

    #[test]
    fn p80_tools_get_a_cleared_environment_and_a_safe_path() {
        let temp = tempfile::tempdir().unwrap();
        for (dir, mode) in [("good", 0o755), ("open", 0o777)] {
            let dir = temp.path().join(dir);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("acme"), "#!/bin/sh\n/usr/bin/env; pwd").unwrap();
            fs::set_permissions(dir.join("acme"), Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
        }
        let mut environment = testing::environment(temp.path());
        let at = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
        let path = format!("{}:relative::.:{}:/nonexistent", at("open"), at("good"));
        for (name, value) in
            [("PATH", path.as_str()), ("ACME_HOST", "h"), ("AWS_SECRET", "sentinel"), ("LD_PRELOAD", "x")]
        {
            environment.variables.insert(name.into(), value.into());
        }
        let dirs = search_path(&environment, &Trust::new(environment.identity));
        assert_eq!(dirs, [temp.path().join("good")]);
        let manifest = "name='acme'\nversion='1'\nprotocol='0.1'\nsummary=''\nisolation='vm'\n\
                        tools=['acme','none']\ntool-env=['ACME_HOST','PATH','UNSET']\n";
        let toolbox = Toolbox::new(&environment, &dirs, &Manifest::parse(manifest).unwrap());

        let tool = Tool { program: "acme".into(), env: vec![("EXTRA".into(), "e".into())], ..Tool::default() };
        let output = toolbox.command(&tool).unwrap().output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("PWD=") && !l.starts_with("_=")).collect();
        lines.sort_unstable();
        let path = format!("PATH={}", at("good"));
        assert_eq!(lines, ["/", "ACME_HOST=h", "EXTRA=e", &path]);

        for wrong in ["other", "none", "../acme", "", "./acme"] {
            let error = toolbox.command(&Tool { program: wrong.into(), ..Tool::default() }).unwrap_err();
            assert_eq!(error.kind, ErrorKind::MissingTool, "{wrong}");
        }
        for name in ["", "A=B", "A\0"] {
            let tool = Tool { program: "acme".into(), env: vec![(name.into(), "".into())], ..Tool::default() };
            toolbox.command(&tool).unwrap_err();
        }
    }
}
