//! `sandbox stop` and `sandbox prune`: what outlived its command, in every backend that has such instances.
//!
//! This file asks the backends and joins what they answer with our records; `stop` and `prune` decide and act, `shown`
//! words it. Ownership is the backend's to know, and it looks again right before it acts.

mod prune;
mod shown;
mod stop;

use std::collections::BTreeMap;
use std::sync::Arc;

use color_eyre::eyre::{Report, Result};
use serde_json::json;
use workmux_plugin_api::{Capability, InstanceInfo, InstanceRequest, InstancesRequest};

use crate::error::from_backend;
use crate::launch::survey::Survey;
use crate::plugins::{Backend, Registry};
use crate::progress::{Out, Progress};
use crate::routing::{self, Operation};
use crate::runs::{self, Record};
use crate::surroundings::Surroundings;

pub(crate) use prune::{Prune, prune};
pub(crate) use stop::{Stop, stop};

/// One instance and what we know of it.
struct One {
    info: InstanceInfo,
    /// Which of the asked backends has it.
    backend: usize,
    /// The run that uses it now.
    live: bool,
}

impl One {
    /// Somebody would miss it now.
    fn in_use(&self) -> bool {
        self.live || self.info.running
    }

    /// Its state in the backend's word, and what we know besides.
    fn state(&self, in_use: bool) -> String {
        let used = if in_use { ", in use" } else { "" };
        let unrecorded = if self.info.unrecorded { ", not recorded here" } else { "" };
        format!("{}{used}{unrecorded}", crate::text::line(&self.info.status))
    }
}

/// All backends that were asked, and all that they have.
struct Everything {
    /// What the backends tell of their work.
    progress: Arc<Progress>,
    backends: Vec<(Backend, serde_json::Value)>,
    instances: Vec<One>,
    /// Backends that could not be asked, with the reason.
    failed: Vec<Report>,
    /// The user's own is among them: an answer without it is none.
    incomplete: bool,
}

impl Everything {
    /// Asks every backend with the capability, or the named one.
    async fn ask(operation: Operation, flag: Option<&str>, surroundings: &Surroundings) -> Result<Self> {
        let registry = crate::launch::registry()?;
        let names = match flag {
            Some(name) => {
                let manifest = registry.manifest(name).map_err(routing::report)?;
                if !manifest.capabilities.contains(&Capability::Instances) {
                    return Err(routing::not_provided(operation, Some(name), &registry));
                }
                vec![name.to_owned()]
            }
            None => registry.offering(Capability::Instances),
        };
        if names.is_empty() {
            return Err(routing::not_provided(operation, None, &registry));
        }
        let survey = Survey::new(surroundings);
        let live: Vec<Record> = runs::live(&surroundings.state).into_iter().map(|(_, record)| record).collect();
        let progress = Arc::new(Progress::new(Out::Note));
        let mut all =
            Self { progress, backends: Vec::new(), instances: Vec::new(), failed: Vec::new(), incomplete: false };
        let own = survey.config().and_then(|config| config.sandbox.backend.clone());
        for name in names {
            match ask_one(&registry, &survey, &name, &all.progress).await {
                Ok((backend, settings, found)) => {
                    let at = all.backends.len();
                    let used = |info: &InstanceInfo| {
                        let is = |record: &Record| {
                            record.backend == name && record.instance.as_ref().is_some_and(|i| i.name == info.name)
                        };
                        live.iter().any(is)
                    };
                    let found = found.into_iter().map(|info| One { live: used(&info), backend: at, info });
                    all.instances.extend(found);
                    all.backends.push((backend, settings));
                }
                Err(report) => {
                    all.incomplete |= own.as_ref() == Some(&name);
                    all.failed.push(report);
                }
            }
        }
        all.instances.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        match all.backends.is_empty().then(|| all.failed.pop()).flatten() {
            // Nobody could be asked: that is the error, and not a remark.
            Some(report) => Err(report),
            None => Ok(all),
        }
    }

    /// What one of these is called: the backend's own word where all backends have the same.
    fn noun(&self) -> String {
        let mut nouns = self.backends.iter().map(|(backend, _)| backend.manifest().noun.as_str());
        match nouns.next() {
            Some(first) if nouns.all(|noun| noun == first) => crate::text::line(first),
            _ => "sandbox".to_owned(),
        }
    }

    /// The exit code of an answer that names nothing: there may be something all the same.
    fn nothing(&self) -> u8 {
        if self.incomplete { crate::error::ERROR } else { 0 }
    }

    fn remark_failures(&self) {
        for report in &self.failed {
            let causes: Vec<String> = report.chain().map(ToString::to_string).collect();
            crate::ui::warning(&causes.join(": "));
        }
    }

    fn backend_of(&self, one: &One) -> &Backend {
        &self.backends[one.backend].0
    }

    fn request(&self, one: &One, force: bool) -> InstanceRequest {
        InstanceRequest {
            settings: self.backends[one.backend].1.clone(),
            name: one.info.name.clone(),
            force,
            unrecorded: one.info.unrecorded,
        }
    }
}

async fn ask_one(
    registry: &Registry,
    survey: &Survey<'_>,
    name: &str,
    progress: &Arc<Progress>,
) -> Result<(Backend, serde_json::Value, Vec<InstanceInfo>)> {
    let backend = routing::load(registry, name)?.with_events(Arc::clone(progress) as _);
    let table = survey.table(backend.manifest())?;
    let settings = survey.request(&backend, table.as_ref()).await?.settings;
    let request = InstancesRequest { settings: settings.clone() };
    let found = backend.list(request).await.map_err(|e| from_backend(&e))?;
    Ok((backend, settings, found))
}

/// Does something to each, says how it went, and answers the exit code: failures are listed on standard error.
async fn each<F: Future<Output = Result<(), crate::plugins::CallError>>>(
    progress: &Progress,
    chosen: &[&One],
    done: &str,
    act: impl Fn(&One) -> F,
) -> u8 {
    let mut failures = BTreeMap::new();
    for one in chosen {
        let name = crate::text::line(&one.info.name);
        let outcome = act(one).await;
        progress.clear();
        match outcome {
            Ok(()) => crate::ui::print(&format!("✓ {done} '{name}'")),
            Err(e) => {
                crate::ui::print(&format!("✗ '{name}'"));
                failures.insert(name, from_backend(&e));
            }
        }
    }
    for (name, report) in &failures {
        crate::ui::raw_error(&format!("'{name}': {}", crate::error::render(report)));
    }
    if failures.is_empty() { 0 } else { crate::error::ERROR }
}

/// What is chosen, for programs.
fn as_json(everything: &Everything, chosen: &[&One]) -> String {
    let list = chosen.iter().map(|one| {
        json!({
            "name": one.info.name, "backend": everything.backend_of(one).name(), "status": one.info.status,
            "running": one.info.running, "in_use": one.live, "recorded": !one.info.unrecorded, "run": one.info.run, "worktree": one.info.worktree,
            "size": one.info.size, "created": one.info.created, "last_used": one.info.last_used,
        })
    });
    format!("{:#}", json!({ "instances": list.collect::<Vec<_>>() }))
}
