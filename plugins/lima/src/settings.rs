//! The table `sandbox.lima`. The host has applied what a project may set before this code sees it.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workmux_plugin_api::{Error, ErrorKind, Refusal, Result, Settings};

use crate::provision;

/// Less than this does not boot a distribution.
const LEAST_MEMORY: u64 = 256 << 20;
/// The default image alone is as large.
const LEAST_DISK: u64 = 4 << 30;
const MEMORY: u64 = 4 << 30;
const DISK: u64 = 100 << 30;
const CPUS: u32 = 4;

/// The table, read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) isolation: Isolation,
    projects_dir: Option<String>,
    cpus: Option<u32>,
    memory: Option<Size>,
    disk: Option<Size>,
    pub(crate) provision: Option<String>,
    pub(crate) skip_default_provision: bool,
    /// The user's word, given beforehand, that a machine may write git's own files of a main checkout.
    pub(crate) accept_reduced_git_metadata_isolation: bool,
}

/// Who shares a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Isolation {
    /// The worktrees of one repository.
    #[default]
    Project,
    /// Everything below one directory.
    Shared,
}

/// An amount of bytes: a number, or text such as `8G`, which counts in steps of 1024.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

impl Size {
    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(*bytes),
            Self::Text(text) => bytes(text),
        }
    }
}

/// Bytes of a text such as `8G` or `4GiB`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    parse_size::Config::new().with_binary().parse_size(text).ok()
}

impl Table {
    pub(crate) fn cpus(&self) -> u32 {
        self.cpus.unwrap_or(CPUS)
    }

    pub(crate) fn memory(&self) -> u64 {
        self.memory.as_ref().and_then(Size::bytes).unwrap_or(MEMORY)
    }

    pub(crate) fn disk(&self) -> u64 {
        self.disk.as_ref().and_then(Size::bytes).unwrap_or(DISK)
    }

    /// The directory of all projects, where machines are shared.
    pub(crate) fn projects_dir(&self, home: &Path) -> Option<PathBuf> {
        let written = self.projects_dir.as_deref().filter(|_| self.isolation == Isolation::Shared)?;
        let path = match written.strip_prefix('~') {
            Some("") => home.to_owned(),
            Some(below) if below.starts_with('/') => home.join(below.trim_start_matches('/')),
            _ => written.into(),
        };
        Some(path.components().collect())
    }

    /// Each key that cannot be used, with the reason.
    fn mistakes(&self) -> Vec<Refusal> {
        let mut all = Vec::new();
        let mut refuse = |key: &str, reason: String| all.push(Refusal { key: key.into(), reason });
        if self.cpus == Some(0) {
            refuse("cpus", "must be 1 or more".into());
        }
        for (key, size, least, example) in
            [("memory", &self.memory, LEAST_MEMORY, "8GiB"), ("disk", &self.disk, LEAST_DISK, "50GiB")]
        {
            match size.as_ref().map(Size::bytes) {
                Some(None) => refuse(key, format!("must be a size such as '{example}'")),
                Some(Some(bytes)) if bytes < least => {
                    refuse(key, format!("must be {} MiB or more", least >> 20));
                }
                _ => {}
            }
        }
        match (self.isolation, &self.projects_dir) {
            (Isolation::Shared, None) => {
                refuse("isolation", "needs 'projects_dir', the directory of all projects".into());
            }
            (_, Some(path)) if !is_plain(path) => {
                refuse("projects_dir", "must be an absolute path, or one below your home such as '~/src'".into());
            }
            _ => {}
        }
        if let Some(reason) = self.provision.as_deref().and_then(provision::mistake) {
            all.push(Refusal { key: "provision".into(), reason });
        }
        all
    }
}

/// Absolute or below the home, and leading nowhere else.
fn is_plain(path: &str) -> bool {
    let rooted = path.starts_with('/') || path.starts_with("~/");
    rooted && !Path::new(path).components().any(|c| c == Component::ParentDir) && !path.contains(['\n', '\0'])
}

/// The verb `settings`.
pub(crate) fn answer(merged: Value) -> Settings {
    let refusals = match parse(&merged) {
        Ok(table) => table.mistakes(),
        Err((key, reason)) => vec![Refusal { key, reason }],
    };
    Settings { value: merged, refusals, ..Settings::default() }
}

/// The table as [`answer`] handed it out; null is an empty one.
pub(crate) fn read(value: &Value) -> Result<Table> {
    parse(value)
        .map_err(|(key, reason)| Error::new(ErrorKind::InvalidSettings, format!("'sandbox.lima.{key}' {reason}")))
}

fn parse(value: &Value) -> Result<Table, (String, String)> {
    let Value::Object(keys) = value else {
        return if value.is_null() { Ok(Table::default()) } else { Err((String::new(), "must be a table".into())) };
    };
    // One by one, so that the answer can name the key.
    for (key, value) in keys {
        let one = Value::Object([(key.clone(), value.clone())].into_iter().collect());
        if let Err(e) = Table::deserialize(one) {
            let reason = match key.as_str() {
                "memory" | "disk" => "must be a size such as '8GiB'".into(),
                "cpus" => "must be a whole number".into(),
                _ => e.to_string(),
            };
            return Err((key.clone(), reason));
        }
    }
    Table::deserialize(value).map_err(|e| (String::new(), e.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let table = read(&Value::Null).unwrap();
        assert_eq!((table.cpus(), table.memory(), table.disk()), (4, 4 << 30, 100 << 30));
        assert_eq!(table.isolation, Isolation::Project);
    }

    #[test]
    fn a_wrong_value_is_refused_by_its_key() {
        for (table, key) in [
            (json!({"cpus": 0}), "cpus"),
            (json!({"cpus": 1.5}), "cpus"),
            (json!({"memory": "lots"}), "memory"),
            (json!({"memory": "1M"}), "memory"),
            (json!({"disk": "1G"}), "disk"),
            (json!({"isolation": "none"}), "isolation"),
            (json!({"isolation": "shared"}), "isolation"),
            (json!({"isolation": "shared", "projects_dir": "src"}), "projects_dir"),
            (json!({"isolation": "shared", "projects_dir": "/src/../etc"}), "projects_dir"),
            (json!({"surprise": 1}), "surprise"),
        ] {
            let refusals = answer(table.clone()).refusals;
            assert_eq!(refusals.len(), 1, "{table}");
            assert_eq!(refusals[0].key, key, "{table}");
        }
        assert_eq!(answer(json!({"memory": 1_073_741_824_u64, "disk": "20GB", "cpus": 2})).refusals, []);
    }

    #[test]
    fn the_directory_of_projects_counts_for_shared_machines_only() {
        let home = Path::new("/home/ann");
        let of = |table: Value| read(&table).unwrap().projects_dir(home);
        assert_eq!(of(json!({"projects_dir": "~/src"})), None);
        assert_eq!(of(json!({"isolation": "shared", "projects_dir": "~/src/"})), Some("/home/ann/src".into()));
        assert_eq!(of(json!({"isolation": "shared", "projects_dir": "/src"})), Some("/src".into()));
    }
}
