//! What a run would find here, for whoever only wants to know: nothing is started, asked or printed. The same reading
//! as a run's, by the same code.

use std::path::{Path, PathBuf};

use color_eyre::eyre::{Report, Result};
use workmux_plugin_api::manifest::Root;
use workmux_plugin_api::{CheckRequest, ImageRequest, Manifest, SettingsRequest};

use super::{NEEDED, agent, guest_program, owner, settings, sources, tell};
use crate::config::backend_table::BackendTable;
use crate::config::{self, Config, Loaded};
use crate::error::from_backend;
use crate::git::{GitError, Repository};
use crate::plugins::Backend;
use crate::surroundings::Surroundings;

/// The checkout and the configuration, as far as they can be had.
pub struct Survey<'a> {
    surroundings: &'a Surroundings,
    /// The checkout the user stands in.
    pub repository: Result<Repository, GitError>,
    loaded: Result<Loaded>,
}

impl<'a> Survey<'a> {
    /// Looks around in the current directory.
    pub fn new(surroundings: &'a Surroundings) -> Self {
        let cwd = surroundings.cwd.canonicalize().unwrap_or_else(|_| surroundings.cwd.clone());
        let repository = Repository::discover(&cwd);
        let loaded = load(&cwd, repository.as_ref().ok(), surroundings, false);
        Self { surroundings, repository, loaded }
    }

    /// Looks around for a command that does something: the user is asked about what the project wants, and mistakes are
    /// told.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn asking(surroundings: &'a Surroundings) -> Result<Self> {
        let cwd = surroundings.cwd.canonicalize().unwrap_or_else(|_| surroundings.cwd.clone());
        let repository = Repository::discover(&cwd);
        let loaded = load(&cwd, repository.as_ref().ok(), surroundings, crate::ui::can_ask())?;
        tell(&loaded, &NEEDED);
        Ok(Self { surroundings, repository, loaded: Ok(loaded) })
    }

    /// What a run works with.
    ///
    /// # Errors
    /// The keys that it needs have mistakes, or the files cannot be read.
    pub fn valid_config(&self) -> Result<&Config> {
        match &self.loaded {
            Ok(loaded) => Ok(loaded.config(&NEEDED)?),
            Err(e) => Err(Report::msg(format!("{e:#}"))),
        }
    }

    /// How to name the configured image to a backend.
    ///
    /// # Errors
    /// The backend cannot use its table.
    pub async fn image_request(&self, backend: &Backend) -> Result<ImageRequest> {
        let table = self.table(backend.manifest())?;
        table.iter().for_each(settings::tell);
        let CheckRequest { settings, image, agent } = self.request(backend, table.as_ref()).await?;
        Ok(ImageRequest { settings, image, agent })
    }

    /// The program of the agent that would be started, and where it is on this machine, if it is.
    pub fn agent(&self) -> Option<(String, Option<PathBuf>)> {
        agent::program(self.config()?, self.surroundings)
    }

    /// What the files say, with their mistakes.
    ///
    /// # Errors
    /// They cannot be read at all.
    pub fn loaded(&self) -> Result<&Loaded, &Report> {
        self.loaded.as_ref()
    }

    /// What a run works with, where the keys that it needs have no mistakes.
    pub fn config(&self) -> Option<&Config> {
        self.loaded.as_ref().ok()?.config(&NEEDED).ok()
    }

    /// The mistakes that stop a run, and then those that do not.
    pub fn mistakes(&self) -> (Vec<String>, Vec<String>) {
        let Ok(loaded) = &self.loaded else { return Default::default() };
        let stopping = match loaded.config(&NEEDED) {
            Err(config::report::ConfigError::Problems(problems)) => problems,
            _ => Vec::new(),
        };
        let others = loaded.problems().iter().filter(|problem| !stopping.contains(problem));
        let others = others.map(ToString::to_string).collect();
        (stopping.iter().map(ToString::to_string).collect(), others)
    }

    /// What the project wants and does not get.
    pub fn refusals(&self) -> Vec<String> {
        let Ok(loaded) = &self.loaded else { return Vec::new() };
        loaded.refusals(&NEEDED).map(ToString::to_string).collect()
    }

    /// A backend's own table, judged by its schema; an empty one where the files cannot be read.
    ///
    /// # Errors
    /// The table has mistakes.
    pub fn table(&self, manifest: &Manifest) -> Result<Option<BackendTable>> {
        let Ok(loaded) = &self.loaded else { return Ok(None) };
        settings::judged(manifest, loaded, self.surroundings, self.repository.as_ref().ok(), false).map(Some)
    }

    /// What to ask a backend about its health, after it read its own table.
    ///
    /// # Errors
    /// It cannot use the table.
    pub async fn request(&self, backend: &Backend, table: Option<&BackendTable>) -> Result<CheckRequest> {
        let empty = || serde_json::Value::Object(serde_json::Map::new());
        let request = match table {
            Some(table) => settings::request(table),
            None => SettingsRequest { user: empty(), project: empty(), merged: empty() },
        };
        let answer = backend.settings(request).await.map_err(|e| from_backend(&e))?;
        let settings = match table {
            Some(table) => settings::accepted(backend.name(), table, answer)?,
            None => answer,
        };
        let defaults = Config::default();
        let config = self.config().unwrap_or(&defaults);
        let agent = agent::row(config.agent(), config, self.surroundings).name.to_owned();
        Ok(CheckRequest { settings: settings.value, image: config.sandbox.image.clone(), agent })
    }

    /// As root: goes on as the owner of the worktree, where a run would; then this does not return.
    ///
    /// # Errors
    /// That is not possible.
    pub fn become_owner(&self, manifest: &Manifest) -> Result<()> {
        match &self.repository {
            Ok(repository) if manifest.root == Root::BecomeOwner => owner::become_owner(&repository.worktree),
            _ => Ok(()),
        }
    }
}

fn load(cwd: &Path, repository: Option<&Repository>, surroundings: &Surroundings, can_ask: bool) -> Result<Loaded> {
    let mut loaded = config::load(&sources(cwd, repository, surroundings))?;
    settings::with_approvals(surroundings, repository, can_ask, |approvals| loaded.approve(&NEEDED, approvals))?;
    Ok(loaded)
}

/// The program that goes into every sandbox.
///
/// # Errors
/// It is not where it should be.
pub fn guest_program(surroundings: &Surroundings) -> Result<PathBuf> {
    guest_program::find(surroundings)
}
