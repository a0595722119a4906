//! Which backend serves a command: the one table from commands to capabilities, and the choice where none is named.

use color_eyre::eyre::{Report, Result};
use workmux_plugin_api::{Capability, Isolation, Manifest};

use crate::config::{Config, DEFAULT_BACKENDS};
use crate::error::hinted;
use crate::plugins::{Backend, FindError, Registry};

/// What a command needs of a backend beyond running commands: the whole routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// As it is typed.
    pub name: &'static str,
    /// What the backend must offer.
    pub capability: Capability,
}

/// `sandbox build`
pub const BUILD: Operation = Operation { name: "sandbox build", capability: Capability::Images };
/// `sandbox pull`
pub const PULL: Operation = Operation { name: "sandbox pull", capability: Capability::Images };
/// `sandbox init-dockerfile`
pub const INIT_DOCKERFILE: Operation = Operation { name: "sandbox init-dockerfile", capability: Capability::Images };
/// `sandbox stop`
pub const STOP: Operation = Operation { name: "sandbox stop", capability: Capability::Instances };
/// `sandbox prune`
pub const PRUNE: Operation = Operation { name: "sandbox prune", capability: Capability::Instances };
/// `sandbox shell --exec`
pub const ATTACH: Operation = Operation { name: "sandbox shell --exec", capability: Capability::Attach };
/// `sandbox install-dev`
pub const INSTALL_DEV: Operation = Operation { name: "sandbox install-dev", capability: Capability::Install };

/// A backend that was chosen but not loaded.
pub struct Chosen<'a> {
    registry: &'a Registry,
    manifest: Manifest,
    /// What to tell the user where nobody asked for this backend.
    pub unasked: Option<String>,
}

impl Chosen<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Other backends of the default list that are present, for a user whose first one fails.
    pub fn others(&self) -> Vec<String> {
        let rest = DEFAULT_BACKENDS.iter().filter(|name| **name != self.name());
        rest.filter_map(|name| self.registry.default_backend(&[name])).map(|name| format!("'{name}'")).collect()
    }

    /// Loads it. Blocks.
    ///
    /// # Errors
    /// Why it cannot be used, and what to do.
    pub fn load(&self) -> Result<Backend> {
        load(self.registry, self.name())
    }
}

/// Loads a backend by name. Blocks.
///
/// # Errors
/// Why it cannot be used, and what to do.
pub fn load(registry: &Registry, name: &str) -> Result<Backend> {
    registry.find(name).map_err(report)
}

/// The backend for `agent`, `shell` and `run`: the flag's, else the configured one, else the first of the default list
/// that is present. Presence decides, never health: a stopped engine is an error, not another sandbox.
///
/// # Errors
/// None is there, or the one that was named cannot be used.
pub fn choose<'a>(registry: &'a Registry, config: &Config, flag: Option<&str>) -> Result<Chosen<'a>> {
    let (name, unasked) = match flag.or(config.sandbox.backend.as_deref()) {
        Some(name) => (name.to_owned(), None),
        None => {
            let name = registry.default_backend(&DEFAULT_BACKENDS).ok_or_else(|| nothing(registry))?;
            let line = format!("using backend '{name}', the first one present; 'sandbox.backend' sets it");
            (name, Some(line))
        }
    };
    let manifest = registry.manifest(&name).map_err(report)?;
    // A configured backend is the user's word or was confirmed; the default list never gets here.
    if manifest.isolation == Isolation::None && unasked.is_some() {
        return Err(nothing(registry));
    }
    Ok(Chosen { registry, manifest, unasked })
}

/// The backend for a command on images: the flag's, else the one a run would use where it has the capability, else the
/// one that has it. Says so where that is another.
///
/// # Errors
/// None has it, several have it, or the one that was named does not.
pub fn serving(operation: Operation, registry: &Registry, config: &Config, flag: Option<&str>) -> Result<Manifest> {
    let able = |name: &str| -> Result<Option<Manifest>> {
        let manifest = registry.manifest(name).map_err(report)?;
        Ok(Some(manifest).filter(|manifest| manifest.capabilities.contains(&operation.capability)))
    };
    if let Some(name) = flag {
        return able(name)?.ok_or_else(|| not_provided(operation, flag, registry));
    }
    let usual = match &config.sandbox.backend {
        Some(name) => Some(name.clone()),
        None => registry.default_backend(&DEFAULT_BACKENDS),
    };
    if let Some(name) = &usual
        && let Some(manifest) = able(name)?
    {
        return Ok(manifest);
    }
    let offering = registry.offering(operation.capability);
    let first = DEFAULT_BACKENDS.iter().find(|name| offering.iter().any(|offered| offered == *name));
    let other = match (first, offering.as_slice()) {
        (Some(name), _) => *name,
        (None, [only]) => only.as_str(),
        _ => return Err(not_provided(operation, usual.as_deref(), registry)),
    };
    if let Some(usual) = &usual {
        crate::ui::note(&format!(
            "'{}' is done by backend '{other}', since '{usual}' has no such thing",
            operation.name
        ));
    }
    able(other)?.ok_or_else(|| not_provided(operation, Some(other), registry))
}

fn nothing(registry: &Registry) -> Report {
    let names = registry.names();
    let wanted: Vec<String> = names
        .iter()
        .filter(|name| DEFAULT_BACKENDS.contains(&name.as_str()))
        .filter_map(|name| {
            let manifest = registry.manifest(name).ok()?;
            Some(format!("'{name}' needs {}", crate::text::line(manifest.tools.first()?)))
        })
        .collect();
    let hint = if wanted.is_empty() {
        "see where backends are looked for: workmux plugin list".to_owned()
    } else {
        format!("install what one of them needs ({}), or name another with --backend", wanted.join(", "))
    };
    hinted("no sandbox backend can be used: none is configured and none of the default ones has its tool on PATH", hint)
}

/// The uniform error for an operation that a backend does not have (P81). `backend` is the one that was asked, if one
/// was.
pub fn not_provided(operation: Operation, backend: Option<&str>, registry: &Registry) -> Report {
    let offering = registry.offering(operation.capability);
    let message = match backend {
        Some(backend) => format!("'{}' is not provided by backend '{}'", operation.name, crate::text::line(backend)),
        None => format!("'{}' is not provided by any installed backend", operation.name),
    };
    let hint = if offering.is_empty() {
        format!(
            "it needs a backend with the capability '{}'; installed ones: workmux plugin list",
            operation.capability
        )
    } else {
        format!("backends that provide it: {} (choose with --backend)", offering.join(", "))
    };
    hinted(message, hint)
}

/// A backend that cannot be had, with the next step.
pub fn report(error: FindError) -> Report {
    match error.hint() {
        Some(hint) => hinted(error.to_string(), hint),
        None => Report::new(error),
    }
}
