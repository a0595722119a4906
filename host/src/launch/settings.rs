//! A backend's own table on its way to the backend: judged by the schema, confirmed where the project must ask, refused
//! with file and line where the backend cannot use it.

use color_eyre::eyre::{Report, Result};
use workmux_plugin_api::SettingsRequest;
use workmux_plugin_api::{Manifest, Settings};

use crate::config::Loaded;
use crate::config::approvals::{Approvals, Nobody, Recorded};
use crate::config::backend_table::{BackendTable, merge_backend_table};
use crate::config::report::ConfigError;
use crate::git::Repository;
use crate::surroundings::Surroundings;

/// Runs `work` with approvals that ask on the terminal, if there is one. Outside a repository nothing was ever approved.
pub(super) fn with_approvals<T>(
    surroundings: &Surroundings,
    repository: Option<&Repository>,
    can_ask: bool,
    work: impl FnOnce(&mut dyn Approvals) -> T,
) -> T {
    let Some(repository) = repository else { return work(&mut Nobody) };
    let mut ask = |question: &crate::config::approvals::Question| {
        crate::ui::note(&format!(
            "the project wants to set '{}' ({}):",
            crate::text::line(&question.key),
            question.place
        ));
        for line in question.content.lines() {
            crate::ui::note(&format!("    {line}"));
        }
        crate::ui::confirm("Use it?")
    };
    let ask = if can_ask { Some(&mut ask as crate::config::approvals::Ask) } else { None };
    work(&mut Recorded::new(&surroundings.state, &repository.common_dir, ask))
}

/// The table, judged. Its warnings and refusals are printed.
pub(super) fn table(
    manifest: &Manifest,
    loaded: &Loaded,
    surroundings: &Surroundings,
    repository: &Repository,
    can_ask: bool,
) -> Result<BackendTable> {
    let table = judged(manifest, loaded, surroundings, Some(repository), can_ask)?;
    tell(&table);
    Ok(table)
}

/// Prints what is wrong with a table and what of it is not used.
pub(super) fn tell(table: &BackendTable) {
    for warning in &table.warnings {
        crate::ui::warning(&warning.to_string());
    }
    for refusal in &table.refusals {
        crate::ui::warning(&refusal.to_string());
    }
}

/// The table, judged and nothing printed.
pub(super) fn judged(
    manifest: &Manifest,
    loaded: &Loaded,
    surroundings: &Surroundings,
    repository: Option<&Repository>,
    can_ask: bool,
) -> Result<BackendTable> {
    with_approvals(surroundings, repository, can_ask, |approvals| {
        merge_backend_table(&manifest.name, &manifest.config, loaded, approvals)
    })
    .map_err(|problems| Report::new(ConfigError::Problems(problems)))
}

/// What the backend is asked.
pub(super) fn request(table: &BackendTable) -> SettingsRequest {
    SettingsRequest { user: table.user.clone(), project: table.project.clone(), merged: table.merged.clone() }
}

/// Turns the backend's refusals into one error that names each key with file and line.
pub(super) fn accepted(backend: &str, table: &BackendTable, settings: Settings) -> Result<Settings> {
    if settings.refusals.is_empty() {
        return Ok(settings);
    }
    let lines: Vec<String> = settings
        .refusals
        .iter()
        .take(16)
        .map(|refusal| {
            let place = table.place(&refusal.key).map(|p| format!("{p}: ")).unwrap_or_default();
            format!(
                "{place}'sandbox.{backend}.{}': {}",
                crate::text::line(&refusal.key),
                crate::text::line(&refusal.reason)
            )
        })
        .collect();
    Err(Report::msg(lines.join("\n")).wrap_err(format!("backend '{backend}' cannot use its settings")))
}
