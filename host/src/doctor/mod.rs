//! `workmux doctor`: whether a sandbox would start here, and if not, what to do about it.
//!
//! Everything that is wrong is a finding, a broken configuration and a missing home included: the report is what a user
//! pastes when nothing else works. `machine` looks at what the host needs, `place` at the checkout and its
//! configuration, `backends` has the trusted backends asked by children (`ask`), `text` shows all of it.

mod ask;
mod backends;
mod finding;
mod machine;
mod place;
mod text;
mod tilde;

use std::path::Path;

use color_eyre::eyre::{Report, WrapErr as _};
use serde::Serialize;
use workmux_plugin_api::manifest::PROTOCOL;

use self::backends::{Examined, Standing};
use self::finding::Finding;
use self::machine::System;
use crate::error::{ERROR, Failure};
use crate::launch::survey::Survey;
use crate::plugins::{Environment, Registry, State};
use crate::surroundings::Surroundings;

pub(crate) use ask::main as check_main;

/// The whole report. Stable: scripts read it.
#[derive(Debug, Serialize)]
struct Diagnosis {
    version: &'static str,
    protocol: String,
    /// The backend that would be used here works, and nothing of the host's own is in its way.
    ok: bool,
    system: System,
    host: Vec<Finding>,
    backends: Vec<Examined>,
}

/// Prints the report; the answer is the exit code.
pub(crate) fn run(json: bool) -> Result<u8, Failure> {
    let surroundings = Surroundings::read();
    let diagnosis = diagnose(surroundings.as_ref());
    if json {
        crate::ui::print(&serde_json::to_string_pretty(&diagnosis).map_err(Report::new)?);
    } else {
        let home: Option<&Path> = surroundings.as_ref().ok().map(|s| s.home.as_path());
        crate::ui::print(&text::text(&diagnosis, home));
    }
    Ok(if diagnosis.ok { 0 } else { ERROR })
}

fn diagnose(surroundings: Result<&Surroundings, &Report>) -> Diagnosis {
    let mut host = machine::machine();
    let backends = match surroundings {
        Ok(surroundings) => {
            host.extend(machine::installation(surroundings));
            look_around(surroundings, &mut host)
        }
        Err(report) => {
            host.push(Finding::failure("surroundings", report));
            Vec::new()
        }
    };
    let works = |backend: &Examined| backend.state == Standing::Used && !backend.findings.iter().any(Finding::is_bad);
    Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        protocol: PROTOCOL.to_string(),
        ok: !host.iter().any(Finding::is_bad) && backends.iter().any(works),
        system: System::here(),
        host,
        backends,
    }
}

fn look_around(surroundings: &Surroundings, host: &mut Vec<Finding>) -> Vec<Examined> {
    let survey = Survey::new(surroundings);
    // Nobody is asked: what is not trusted yet is said.
    let registry = match Environment::current().wrap_err("cannot tell where plugins are") {
        Ok(environment) => Registry::new(environment),
        Err(report) => {
            host.push(Finding::failure("plugins", &report));
            return Vec::new();
        }
    };
    let listings = registry.all();
    let winners = listings.iter().filter(|listing| listing.state == State::Winner);
    let installed: Vec<String> = winners.map(|listing| listing.name.clone()).collect();
    host.extend(place::findings(&survey, &installed));
    let (chosen, said) = backends::choose(&registry, &survey);
    host.extend(said);
    backends::examine(listings, chosen.as_deref())
}
