//! Why a sandbox did not start, asked of the backend: what its program's words meant, else what is wrong with the machine.

use color_eyre::eyre::Report;
use serde_json::Value;
use workmux_plugin_api::{CheckRequest, ExplainRequest, Instance, Remedy};

use crate::error::{because, explained, failed};
use crate::plugins::Backend;
use crate::supervisor::Unstarted;

/// What the sandbox was to be.
pub(super) struct About {
    pub(super) image: Option<String>,
    pub(super) agent: &'static str,
}

/// A sandbox that did not start.
pub(super) struct Failed {
    /// Why.
    pub(super) report: Report,
    /// What would cure that.
    pub(super) remedy: Option<Remedy>,
}

impl<E: Into<Report>> From<E> for Failed {
    fn from(report: E) -> Self {
        Self { report: report.into(), remedy: None }
    }
}

/// The same failure with a reason, where one can be had.
pub(super) async fn explain(
    report: Report,
    backend: &Backend,
    settings: &Value,
    instance: &Instance,
    about: &About,
) -> Failed {
    if let Some(unstarted) = report.downcast_ref::<Unstarted>() {
        let request = ExplainRequest {
            settings: settings.clone(),
            instance: instance.clone(),
            code: unstarted.code,
            stderr: unstarted.said.clone(),
        };
        if let Ok(Some(error)) = backend.explain(request).await {
            return Failed { report: explained(backend.name(), &error), remedy: error.remedy };
        }
        // The program's own words, above ours.
        crate::ui::raw_error(&unstarted.said);
    }
    // It had begun: only the backend knows what became of it.
    let request =
        ExplainRequest { settings: settings.clone(), instance: instance.clone(), ..ExplainRequest::default() };
    if !report.is::<Unstarted>()
        && let Ok(Some(error)) = backend.explain(request).await
    {
        return Failed { report: failed(&report.to_string(), &error), remedy: error.remedy };
    }
    let request =
        CheckRequest { settings: settings.clone(), image: about.image.clone(), agent: about.agent.to_owned() };
    let findings = backend.check(request).await.unwrap_or_default();
    match findings.into_iter().find_map(|f| f.state.err().map(|e| (f.subject, e))) {
        Some((subject, error)) => because(&subject, &error).wrap_err(report.to_string()).into(),
        None => report.into(),
    }
}
