//! Where each agent's hooks go: its settings directory on this host, and the one that sandboxes get instead.

use std::path::PathBuf;

use color_eyre::eyre::Result;

use super::hooks::{How, how};
use crate::agents::{Agent, known};
use crate::config::{self, Sources};
use crate::surroundings::Surroundings;

/// The key that gives sandboxes another directory.
const KEY: &str = "sandbox.agent_config_dir";

/// What says where an agent's settings are.
pub(super) struct Places<'a> {
    surroundings: &'a Surroundings,
    configured: Option<String>,
}

impl<'a> Places<'a> {
    /// Reads the user's configuration. No project has a say in where a user's agents keep their settings, so none is
    /// looked for: the search starts, and ends, where the user's own file is.
    pub(super) fn read(surroundings: &'a Surroundings) -> Result<Self> {
        let sources = Sources {
            start: surroundings.config_home.join("workmux"),
            home: surroundings.home.clone(),
            xdg_config_home: Some(surroundings.config_home.clone()),
            ..Sources::default()
        };
        let loaded = config::load(&sources)?;
        let configured = loaded.config(&[KEY])?.sandbox.agent_config_dir.clone();
        Ok(Self { surroundings, configured })
    }

    /// Whether this user has the agent.
    pub(super) fn has(&self, agent: &str) -> bool {
        let Some(agent) = known(agent) else { return false };
        let host = self.host(agent).into_iter().chain(self.settings(agent, None));
        // A directory for all agents says nothing about one.
        let own = self.configured.as_deref().filter(|configured| configured.contains("{agent}"));
        host.chain(own.and_then(|own| self.settings(agent, Some(own)))).any(|directory| directory.is_dir())
    }

    /// The files of an agent. A directory that is missing is left out, unless the agent was `named`; the one for
    /// sandboxes is made by the next start anyway.
    pub(super) fn files(&self, agent: &str, named: bool) -> Vec<PathBuf> {
        let (Some(agent), Some(how)) = (known(agent), how(agent)) else { return Vec::new() };
        let host = self.host(agent).filter(|directory| named || directory.is_dir() || self.is_beside(agent));
        let mut directories: Vec<PathBuf> = host.into_iter().collect();
        let file = match how {
            How::Json { file, .. } => {
                let configured = self.configured.as_deref();
                directories.extend(configured.and_then(|configured| self.settings(agent, Some(configured))));
                file
            }
            How::Plugin => {
                // A sandbox sees the usual one, wherever this host has it.
                let usual = agent.read_only.first().map(|shared| self.surroundings.home.join(shared.host));
                directories.extend(usual.filter(|usual| usual.is_dir()));
                super::plugin::FILE
            }
        };
        let mut files: Vec<PathBuf> = directories.into_iter().map(|directory| directory.join(file)).collect();
        files.dedup();
        files
    }

    /// Where the agent looks for its hooks on this host.
    fn host(&self, agent: &Agent) -> Option<PathBuf> {
        match how(agent.name)? {
            How::Json { .. } => self.settings(agent, None),
            How::Plugin => Some(self.surroundings.config_home.join(agent.name)),
        }
    }

    /// Whether its hooks lie in another directory than its settings, and only the settings are there.
    fn is_beside(&self, agent: &Agent) -> bool {
        self.host(agent) != self.settings(agent, None)
            && self.settings(agent, None).is_some_and(|directory| directory.is_dir())
    }

    fn settings(&self, agent: &Agent, configured: Option<&str>) -> Option<PathBuf> {
        agent.settings_dir(&self.surroundings.home, &|name| std::env::var_os(name), configured)
    }
}
