//! What `workmux plugin list` and `workmux plugin info` show, as text and as data.

use serde::Serialize;
use workmux_plugin_api::{Manifest, Word};

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
        Self { name, path, state, shadowed_by, reason, fix, manifest }
    }
}

/// `workmux plugin list --json`.
pub fn list_json(registry: &Registry) -> Vec<Entry> {
    registry.all().into_iter().map(Entry::from).collect()
}

/// `workmux plugin list`.
pub fn list(registry: &Registry) -> String {
    let all = registry.all();
    let mut rows = vec![["NAME", "VERSION", "ISOLATION", "STATE", "LIBRARY"].map(str::to_owned)];
    let mut notes = Vec::new();
    for Listing { name, path, state, manifest } in &all {
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
        rows.push([name.clone(), version, isolation, state, path]);
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

/// `workmux plugin info NAME`. Runs none of its code.
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
    for key in manifest.config.get("properties").and_then(|p| p.as_object()).into_iter().flatten() {
        let about = key.1.get("description").and_then(|d| d.as_str()).unwrap_or_default();
        rows.push(["setting".into(), crate::text::line(&format!("{}  {about}", key.0))]);
    }
    for Listing { path, state, .. } in all {
        let path = crate::text::line(&path.to_string_lossy());
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
