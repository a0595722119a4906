//! The way from a backend's name to a loaded backend, and the list of what is installed.
//!
//! Lazy: finding one name looks at files of that name only. The first directory of the search order that has the name
//! decides; where its file cannot be used that is an error, never a silent change to another one. Only a directory
//! that others can write, or a missing one, is passed over.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use workmux_plugin_api::manifest::valid_name;
use workmux_plugin_api::{Capability, Manifest};

use super::backend::{Backend, Core, Events, Silent};
use super::call::{self, Lost};
use super::pins::{Ask, Candidate, Nobody, Pins, Standing};
use super::search::{self, Kind, Place};
use super::toolbox::{self, Toolbox};
use super::trace::Trace;
use super::trial::Trial;
use super::trust::{Opened, Trust, quoted};
use super::{Environment, Rejection, image, loader, manifest};

/// What is installed.
pub struct Registry {
    pub(super) environment: Environment,
    pub(super) trust: Trust,
    pub(super) pins: Pins,
    trial: Trial,
    ask: Box<dyn Ask>,
    events: Arc<dyn Events>,
    trace: Option<Arc<Trace>>,
    pub(super) places: Vec<Place>,
    search_path: OnceLock<Vec<PathBuf>>,
    loaded: Mutex<BTreeMap<String, Backend>>,
}

/// One library of the search order.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The backend's name by its file name.
    pub name: String,
    /// Where it was found.
    pub path: PathBuf,
    /// What it is to us.
    pub state: State,
    /// Why it may be used or not, where that decides: not where an earlier one has its name.
    pub standing: Option<Standing>,
    /// What it says of itself, where that can be read. Foreign text.
    pub manifest: Option<Manifest>,
}

/// What a library is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The one that is used.
    Winner,
    /// An earlier one has its name.
    Shadowed {
        /// The earlier one.
        by: PathBuf,
    },
    /// It cannot be used.
    Rejected(Rejection),
}

/// Why there is no such backend.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FindError {
    /// No library has the name.
    #[error("there is no backend '{name}'{}", in_brackets(.passed_over))]
    Unknown {
        /// The name.
        name: String,
        /// The names that would be found.
        installed: Vec<String>,
        /// Libraries of the name in directories that are not looked at.
        passed_over: Vec<(PathBuf, Rejection)>,
    },
    /// The library that has the name cannot be used.
    #[error("cannot use the backend '{name}' in {}: {why}", quoted(.path))]
    Unusable {
        /// The name.
        name: String,
        /// The library.
        path: PathBuf,
        /// Why not.
        why: Rejection,
    },
}

impl FindError {
    /// The next thing to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unusable { why, .. } => why.fix.clone(),
            Self::Unknown { passed_over, .. } if !passed_over.is_empty() => passed_over[0].1.fix.clone(),
            Self::Unknown { installed, .. } if installed.is_empty() => {
                Some("no backend is installed; 'workmux plugin list' shows where they are looked for".into())
            }
            Self::Unknown { installed, .. } => Some(format!("installed: {}", installed.join(", "))),
        }
    }
}

fn in_brackets(list: &[(PathBuf, Rejection)]) -> String {
    list.iter().map(|(path, why)| format!(" ({} is not used: {why})", quoted(path))).collect()
}

/// A library that passed every check that runs none of its code.
pub(super) struct Examined {
    pub(super) opened: Opened,
    pub(super) found: manifest::Found,
    pinned: bool,
}

impl Registry {
    /// Looks at nothing yet.
    pub fn new(environment: Environment) -> Self {
        Self {
            trust: Trust::new(environment.identity),
            pins: Pins::below(&environment.state_dir),
            trial: Trial::new(&environment.trial, &environment.cache_dir, environment.deadlines.load),
            places: search::places(&environment),
            ask: Box::new(Nobody),
            events: Arc::new(Silent),
            trace: Trace::wanted(&environment),
            search_path: OnceLock::new(),
            loaded: Mutex::default(),
            environment,
        }
    }

    /// With somebody who can be asked whether to use a library; without, the answer is an error with the command.
    #[must_use]
    pub fn with_ask(mut self, ask: impl Ask + 'static) -> Self {
        self.ask = Box::new(ask);
        self
    }

    /// With a listener to what backends say while they work.
    #[must_use]
    pub fn with_events(mut self, events: Arc<dyn Events>) -> Self {
        self.events = events;
        self
    }

    /// The backend of this name, loaded once. Blocks: it may ask the user, and tries new libraries in a child.
    pub fn find(&self, name: &str) -> Result<Backend, FindError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backend) = loaded.get(name) {
            return Ok(backend.clone());
        }
        let (place, path) = self.winner(name)?;
        let backend = self
            .examine(place, &path, name)
            .and_then(|examined| self.load(examined, name, self.hidden(place, name)))
            .map_err(|why| unusable(name, &path, why))?;
        loaded.insert(name.to_owned(), backend.clone());
        Ok(backend)
    }

    /// What the backend of this name says of itself. Runs none of its code.
    pub fn manifest(&self, name: &str) -> Result<Manifest, FindError> {
        let (place, path) = self.winner(name)?;
        match self.examine(place, &path, name) {
            Ok(examined) => Ok(examined.found.manifest),
            Err(why) => Err(unusable(name, &path, why)),
        }
    }

    /// The first of these names that is installed and one of whose tools is on the search path. Presence decides, not health.
    pub fn default_backend(&self, order: &[&str]) -> Option<String> {
        let present = |name: &&&str| {
            self.manifest(name).is_ok_and(|manifest| {
                let found = |tool: &String| toolbox::look_up(self.search_path(), tool).is_some();
                manifest.tools.is_empty() || manifest.tools.iter().any(found)
            })
        };
        order.iter().find(present).map(|name| (*name).to_owned())
    }

    /// The names that would be found, sorted.
    pub fn names(&self) -> Vec<String> {
        let winners = self.all().into_iter().filter(|listing| listing.state == State::Winner);
        winners.map(|listing| listing.name).collect()
    }

    /// The names of backends whose manifests offer this, sorted: for the error of one that does not.
    pub fn offering(&self, capability: Capability) -> Vec<String> {
        let winners = self.all().into_iter().filter(|listing| listing.state == State::Winner);
        winners
            .filter(|listing| {
                let offered = listing.manifest.as_ref().is_some_and(|m| m.capabilities.contains(&capability));
                offered || crate::mutant::off("p81_missing")
            })
            .map(|listing| listing.name)
            .collect()
    }

    /// Every library of the search order, by name, in search order. Runs none of their code.
    pub fn all(&self) -> Vec<Listing> {
        let mut list = Vec::new();
        let mut deciding: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut seen = Vec::new();
        for place in &self.places {
            let closed = self.trust.directory(&place.dir);
            for (name, path) in search::candidates(&place.dir) {
                // Cargo puts a library at two places, under two names of one file.
                let identity = path.metadata().map(|m| (m.dev(), m.ino())).ok();
                if identity.is_some_and(|id| seen.contains(&id)) && place.kind == Kind::Build {
                    continue;
                }
                seen.extend(identity);
                if let Err(why) = &closed {
                    let state = State::Rejected(why.clone());
                    list.push(Listing { name, path, state, standing: None, manifest: None });
                    continue;
                }
                let examined = self.examine(place, &path, &name);
                let (state, standing) = match (deciding.get(&name), &examined) {
                    (Some(by), _) => (State::Shadowed { by: by.clone() }, None),
                    (None, Ok(examined)) => {
                        let (verdict, standing) = self.confirmed(examined);
                        (verdict.map_or_else(State::Rejected, |()| State::Winner), standing)
                    }
                    (None, Err(why)) => (State::Rejected(why.clone()), None),
                };
                deciding.entry(name.clone()).or_insert_with(|| path.clone());
                list.push(Listing { name, path, state, standing, manifest: examined.ok().map(|e| e.found.manifest) });
            }
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// Records that the user trusts the library at `path` as it is now; answers its manifest.
    pub fn confirm(&self, path: &Path) -> Result<Manifest, FindError> {
        let name = path.file_name().and_then(search::backend_name);
        let name = name.ok_or_else(|| {
            let why = Rejection::new("its file name is not that of a backend")
                .fix(format!("name it '{}'", search::file_name("NAME")));
            unusable(&crate::text::line(&path.to_string_lossy()), path, why)
        })?;
        let place = Place { dir: path.parent().unwrap_or(path).to_owned(), kind: Kind::Chosen };
        let record = || {
            let Examined { opened, found, .. } = self.examine(&place, path, &name)?;
            let sha256 = manifest::hash(&opened.file, &found.manifest)?;
            let candidate = Candidate { path: &opened.path, sha256: &sha256, manifest: &found.manifest };
            self.pins.put(&self.trust, &candidate)?;
            Ok(found.manifest)
        };
        record().map_err(|why| unusable(&name, path, why))
    }

    /// The directories that are looked at, in order.
    pub fn directories(&self) -> Vec<&Path> {
        self.places.iter().map(|place| place.dir.as_path()).collect()
    }

    /// The user's search path without relative directories and without those that others can write.
    pub fn search_path(&self) -> &[PathBuf] {
        self.search_path.get_or_init(|| toolbox::search_path(&self.environment, &self.trust))
    }

    /// The file that decides about a name.
    pub(super) fn winner(&self, name: &str) -> Result<(&Place, PathBuf), FindError> {
        let mut passed_over = Vec::new();
        // Else a name could be a path.
        if valid_name(name) {
            for (place, path) in self.places.iter().filter_map(|place| Some((place, exists(place, name)?))) {
                match self.trust.directory(&place.dir) {
                    Ok(_) => return Ok((place, path)),
                    Err(why) => passed_over.push((path, why)),
                }
            }
        }
        Err(FindError::Unknown { name: crate::text::line(name), installed: self.names(), passed_over })
    }

    /// What would be found if `place` did not have the name.
    pub(super) fn hidden(&self, place: &Place, name: &str) -> Option<PathBuf> {
        let later = self.places.iter().skip_while(|other| *other != place).skip(1);
        later.filter(|other| self.trust.directory(&other.dir).is_ok()).find_map(|other| exists(other, name))
    }

    pub(super) fn examine(&self, place: &Place, path: &Path, name: &str) -> Result<Examined, Rejection> {
        let opened = self.trust.open(path)?;
        image::check(&opened.file, opened.metadata.len())?;
        let found = manifest::read(&self.trust, path, name, &opened.file)?;
        let pinned = self.needs_pin(place.kind, opened.metadata.uid());
        Ok(Examined { opened, found, pinned })
    }

    /// Whether somebody else than this program's installer put it there.
    fn needs_pin(&self, kind: Kind, owner: u32) -> bool {
        let installer = || self.environment.executable.metadata().map(|m| m.uid()).ok();
        match kind {
            Kind::Chosen | Kind::User => true,
            Kind::Build | Kind::Prefix => owner != 0 && installer() != Some(owner),
            Kind::System => owner != 0,
        }
    }

    /// For listings: what [`Self::load`] would say without asking anybody, and why it would.
    fn confirmed(&self, examined: &Examined) -> (Result<(), Rejection>, Option<Standing>) {
        let Examined { opened, found, pinned } = examined;
        if !pinned {
            return (Ok(()), Some(Standing::Program));
        }
        let candidate = manifest::hash(&opened.file, &found.manifest).and_then(|sha256| {
            let candidate = Candidate { path: &opened.path, sha256: &sha256, manifest: &found.manifest };
            let standing = self.pins.standing(&self.trust, &candidate)?;
            Ok((self.pins.require(&self.trust, &Nobody, &candidate, None), standing))
        });
        match candidate {
            Ok((verdict, standing)) => (verdict, Some(standing)),
            Err(why) => (Err(why), None),
        }
    }

    fn load(&self, examined: Examined, name: &str, hides: Option<PathBuf>) -> Result<Backend, Rejection> {
        let Examined { opened, found, pinned } = examined;
        let named = found.manifest.sha256.as_deref();
        // What the user confirmed is compared each time; whether a file of our own is whole, once.
        if pinned || (named.is_some() && !self.trial.passed(&opened, named)) {
            let sha256 = manifest::hash(&opened.file, &found.manifest)?;
            let candidate = Candidate { path: &opened.path, sha256: &sha256, manifest: &found.manifest };
            if pinned {
                self.pins.require(&self.trust, &*self.ask, &candidate, hides.as_deref())?;
            }
        }
        found.agrees(&opened.file)?;
        self.trial.pass(&opened, named)?;

        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        let descriptor = PathBuf::from(format!("/proc/self/fd/{}", opened.file.as_raw_fd()));
        // Never closed: the loader knows libraries by the path they were opened with, and would take another one
        // under the same number for this one.
        std::mem::forget(opened.file);
        let deadlines = self.environment.deadlines;
        let timed = Trace::begin(self.trace.as_ref(), name, "load");
        let loaded = call::blocking(name, deadlines.load, move || {
            loader::load(&descriptor).map(|backend| &*Box::leak(Box::new(backend)))
        })
        .map_err(|lost| match lost {
            Lost::Deadline(after) => Rejection::new(format!("it did not start within {} s", after.as_secs_f32())),
            Lost::Died => Rejection::new("it panicked while it was loaded"),
            Lost::Thread(e) => Rejection::new(format!("no thread could be started for it: {e}")),
        })
        .flatten();
        timed.end(&loaded);
        let loaded = loaded?;
        manifest::keeps(&found.manifest, loaded.features(), loaded.capabilities())?;
        let core = Core {
            name,
            loaded,
            toolbox: Arc::new(Toolbox::new(&self.environment, self.search_path(), &found.manifest)),
            manifest: found.manifest,
            path: opened.path,
            state_dir: self.environment.state_dir.join("backends").join(name),
            deadlines,
            trace: self.trace.clone(),
        };
        Ok(Backend::new(core, Arc::clone(&self.events)))
    }
}

pub(super) fn exists(place: &Place, name: &str) -> Option<PathBuf> {
    let path = place.dir.join(search::file_name(name));
    // Also a dangling link: it decides, and the error says what is wrong with it.
    path.symlink_metadata().is_ok().then_some(path)
}

fn unusable(name: &str, path: &Path, why: Rejection) -> FindError {
    FindError::Unusable { name: name.to_owned(), path: path.to_owned(), why }
}
