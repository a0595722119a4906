//! The child that loads one backend and asks it about its health: `workmux __check-backend NAME`. What the library does
//! to its process it does to this one.

use std::time::{Duration, Instant};

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::backends::advice;
use super::finding::{Finding, without_values};
use super::place;
use crate::error::parts;
use crate::launch::survey::Survey;
use crate::plugins::{Backend, CallError, Deadlines, Environment, FindError, Registry};
use crate::routing;
use crate::surroundings::Surroundings;

/// The hidden command.
pub(super) const WORD: &str = "__check-backend";
/// What the answer's line begins with: the library's own output may come before.
pub(super) const MARK: &str = "workmux-check: ";

/// What trying and what loading may take; the rest of the time is for answers.
const LOAD: Duration = Duration::from_secs(3);
/// A backend's own tools get 4 s; its parent ends this process after 5.
const TOTAL: Duration = Duration::from_millis(4500);

/// The hidden command: says what was found, on one line.
pub(crate) fn main(name: &str) {
    let findings = ask(name).unwrap_or_else(|report| vec![failed("check", &report, name)]);
    let answer = serde_json::to_string(&findings).unwrap_or_default();
    crate::ui::result(&format!("\n{MARK}{answer}\n"));
}

fn ask(name: &str) -> Result<Vec<Finding>> {
    let end = Instant::now() + TOTAL;
    let surroundings = Surroundings::read()?;
    let survey = Survey::new(&surroundings);
    let mut environment = Environment::current().wrap_err("cannot tell where plugins are")?;
    environment.deadlines = Deadlines { question: TOTAL, load: LOAD, ..Deadlines::default() };
    // Nobody is asked, nobody listens.
    let registry = Registry::new(environment);
    let backend = match registry.find(name) {
        Ok(backend) => backend,
        Err(FindError::Unusable { why, .. }) => {
            return Ok(vec![Finding::bad("library", &why.reason, why.fix.unwrap_or_else(|| advice(name)))]);
        }
        Err(e) => return Err(routing::report(e)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().wrap_err("cannot ask it")?;
    let left = end.saturating_duration_since(Instant::now());
    let answer = runtime.block_on(async { tokio::time::timeout(left, questions(&backend, &survey)).await });
    // Its threads may hang.
    runtime.shutdown_background();
    Ok(answer.unwrap_or_else(|_| {
        let text = format!("did not answer within {} s", TOTAL.as_secs_f32());
        vec![Finding::bad("check", text, advice(name))]
    }))
}

async fn questions(backend: &Backend, survey: &Survey<'_>) -> Vec<Finding> {
    let manifest = backend.manifest();
    let table = match survey.table(manifest) {
        Ok(table) => table,
        Err(report) => {
            let finding = Finding::failure("settings", &report);
            let causes: Vec<String> = finding.causes.iter().map(|cause| without_values(cause)).collect();
            return vec![finding.because(causes)];
        }
    };
    let mut all: Vec<Finding> = table.iter().flat_map(place::table).collect();
    let request = match survey.request(backend, table.as_ref()).await {
        Ok(request) => request,
        Err(report) => {
            all.push(failed("settings", &report, backend.name()));
            return all;
        }
    };
    match backend.check(request).await {
        Ok(findings) => all.extend(findings.into_iter().map(Finding::of_backend)),
        Err(CallError { error, .. }) => {
            let hint = error.hint.filter(|hint| !is_ours(hint)).unwrap_or_else(|| advice(backend.name()));
            all.push(Finding::bad("check", error.message, hint).because(error.causes));
        }
    }
    all
}

fn failed(subject: &str, report: &Report, backend: &str) -> Finding {
    let hint = parts(report).hint.filter(|hint| !is_ours(hint));
    Finding::failure(subject, report).hint(hint.unwrap_or_else(|| advice(backend)))
}

/// Whether it sends the user to where they are.
fn is_ours(hint: &str) -> bool {
    hint.contains("workmux doctor")
}
