//! What `workmux plugin list` and `workmux plugin info` show, as text and as data.

use serde::Serialize;
use workmux_plugin_api::{Manifest, Word};

use super::pins::Standing;
use super::registry::{FindError, Listing, Registry, State};
use super::toolbox;

/// One library, as data. Stable: scripts read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    name: String,
    path: Word,
    /// `winner`, `shadowed` or `rejected`.
    state: &'static str,
    /// `program`, `confirmed`, `changed` or `unconfirmed`; absent where it does not decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<&'static str>,
    /// Of a library that was confirmed as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadowed_by: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<Manifest>,
}

impl From<Listing> for Entry {
    fn from(listing: Listing) -> Self {
        let (state, shadowed_by, reason, fix) = match listing.state {
            State::Winner => ("winner", None, None, None),
            State::Shadowed { by } => ("shadowed", Some(by.into()), None, None),
            State::Rejected(why) => ("rejected", None, Some(why.reason), why.fix),
        };
        let (name, path, manifest) = (listing.name, listing.path.into(), listing.manifest);
        let trust = listing.standing.as_ref().map(word);
        let sha256 = match listing.standing {
            Some(Standing::Confirmed { sha256 }) => Some(sha256),
            _ => None,
        };
        Self { name, path, state, trust, sha256, shadowed_by, reason, fix, manifest }
    }
}

fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Program => "program",
        Standing::Confirmed { .. } => "confirmed",
        Standing::Changed { .. } => "changed",
        Standing::Unconfirmed => "unconfirmed",
    }
}

/// Why it may be used or not.
fn sentence(standing: &Standing) -> String {
    match standing {
        Standing::Program => "came with the program".to_owned(),
        Standing::Confirmed { sha256 } => format!("confirmed by you as it is, SHA-256 {sha256}"),
        Standing::Changed { version } => format!("the file changed since you confirmed it (it was {version} then)"),
        Standing::Unconfirmed => "not confirmed by you".to_owned(),
    }
}

/// `workmux plugin list --json`.
pub fn list_json(registry: &Registry) -> Vec<Entry> {
    registry.all().into_iter().map(Entry::from).collect()
}

/// `workmux plugin list`.
pub fn list(registry: &Registry) -> String {
    let all = registry.all();
    let mut rows = vec![["NAME", "VERSION", "ISOLATION", "STATE", "TRUST", "LIBRARY"].map(str::to_owned)];
    let mut notes = Vec::new();
    for Listing { name, path, state, standing, manifest } in &all {
        let path = crate::text::line(&path.to_string_lossy());
        let version = manifest.as_ref().map_or_else(|| "-".into(), |m| crate::text::line(&m.version));
        let isolation = manifest.as_ref().map_or_else(|| "-".into(), |m| m.isolation.to_string());
        let state = match state {
            State::Winner => "used".to_owned(),
            State::Shadowed { .. } => "shadowed".to_owned(),
            State::Rejected(why) => {
                notes.push(format!("'{path}' is not used: {why}"));
                notes.extend(why.fix.iter().map(|fix| format!("  {fix}")));
                "rejected".to_owned()
            }
        };
        let trust = standing.as_ref().map_or("-", word).to_owned();
        rows.push([name.clone(), version, isolation, state, trust, path]);
    }
    if all.is_empty() {
        let dirs =
            registry.directories().into_iter().map(|dir| format!("  {}", crate::text::line(&dir.to_string_lossy())));
        return format!("No backend is installed. Looked in:\n{}\n", dirs.collect::<Vec<_>>().join("\n"));
    }
    let mut text = table(&rows);
    if !notes.is_empty() {
        text.push('\n');
        notes.iter().for_each(|note| text.extend([note, "\n"]));
    }
    text
}

/// The facts of `workmux plugin info NAME`; its settings are the configuration's to tell. Runs none of its code.
pub fn info(registry: &Registry, name: &str) -> Result<String, FindError> {
    let manifest = registry.manifest(name)?;
    let all: Vec<Listing> = registry.all().into_iter().filter(|listing| listing.name == name).collect();
    let list = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    let tool = |name: &String| match toolbox::look_up(registry.search_path(), name) {
        Some(path) => format!("{} ({})", crate::text::line(name), crate::text::line(&path.to_string_lossy())),
        None => format!("{} (not installed)", crate::text::line(name)),
    };
    let mut rows = vec![
        ["name", &manifest.name].map(str::to_owned),
        ["version", &crate::text::line(&manifest.version)].map(str::to_owned),
        ["protocol".into(), manifest.protocol.to_string()],
        ["summary", &crate::text::line(&manifest.summary)].map(str::to_owned),
        ["isolation".into(), manifest.isolation.to_string()],
        ["capabilities".into(), list(manifest.capabilities.iter().map(ToString::to_string).collect())],
        ["tools".into(), list(manifest.tools.iter().chain(&manifest.optional_tools).map(tool).collect())],
        ["tools see".into(), list(manifest.tool_env.iter().map(|name| crate::text::line(name)).collect())],
    ];
    for Listing { path, state, standing, .. } in all {
        let path = crate::text::line(&path.to_string_lossy());
        rows.extend(standing.map(|standing| ["trust".into(), sentence(&standing)]));
        rows.push(match state {
            State::Winner => ["library".into(), path],
            State::Shadowed { .. } => ["hides".into(), path],
            State::Rejected(why) => ["not used".into(), format!("{path}: {why}")],
        });
    }
    Ok(table(&rows))
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
