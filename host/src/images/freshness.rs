//! Whether a published image is the newest: asked beside a run, once a day, and acted on at the next start.
//!
//! The record is a file per image. Nothing depends on it: what cannot be read or written counts as not known.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use workmux_plugin_api::{Freshness, FreshnessRequest, Image, ImageRequest};

use super::pull_stale;
use crate::plugins::Backend;
use crate::surroundings::Surroundings;

/// How long an answer counts.
const VALID: Duration = Duration::from_secs(24 * 3600);
/// A command that takes less is not burdened with the question.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was found out about one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    image: String,
    /// Seconds since 1970.
    checked_at: u64,
    is_fresh: bool,
    local_image_id: Option<String>,
}

/// Where it is kept.
fn file(state: &Path, image: &str) -> PathBuf {
    state.join(format!("image-freshness-{}.json", image.replace(['/', ':'], "-")))
}

fn read(state: &Path, image: &str) -> Option<Record> {
    let text = std::fs::read(file(state, image)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    (record.image == image).then_some(record)
}

fn write(state: &Path, image: &str, is_fresh: bool, id: Option<String>) {
    let record = Record { image: image.to_owned(), checked_at: now(), is_fresh, local_image_id: id };
    let written = || -> std::io::Result<()> {
        let mut new = tempfile::NamedTempFile::new_in(state)?;
        new.write_all(&serde_json::to_vec(&record)?)?;
        new.persist(file(state, image)).map(drop).map_err(|e| e.error)
    };
    // The question is asked again another time.
    let _not_kept = std::fs::create_dir_all(state).and_then(|()| written());
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What the name stood for when it was last seen.
pub(super) fn last(state: &Path, image: &str) -> Option<String> {
    read(state, image)?.local_image_id
}

/// It stands for something of this machine's own now.
pub(super) fn forget(state: &Path, image: &str) {
    let _not_there = std::fs::remove_file(file(state, image));
}

/// A pull made it the newest.
pub(super) fn pulled(state: &Path, image: &str, id: Option<String>) {
    write(state, image, true, id);
}

/// Before a start from a published image: gets the newer one that the last answer told of, unless the one here was
/// changed since.
pub(crate) async fn catch_up(backend: &Backend, request: &ImageRequest, image: &Image, surroundings: &Surroundings) {
    let Some(record) = read(&surroundings.state, &image.name).filter(|record| !record.is_fresh) else { return };
    let question = FreshnessRequest { image: request.clone(), ask_registry: false };
    let Ok(Freshness { id, local: false, .. }) = backend.freshness(question).await else { return };
    if id.is_some() && id == record.local_image_id {
        pull_stale(backend, request.clone(), &image.name, surroundings).await;
    }
}

/// Beside a run of a published image: finds out whether there is a newer one, if that is not known. Never fails, never speaks.
pub(crate) async fn find_out(backend: Backend, request: ImageRequest, image: Image, state: PathBuf) {
    if !due(read(&state, &image.name), now()) {
        return;
    }
    tokio::time::sleep(PATIENCE).await;
    let question = FreshnessRequest { image: request, ask_registry: true };
    if let Ok(Freshness { id: Some(id), local: false, newest: Some(newest) }) = backend.freshness(question).await {
        write(&state, &image.name, newest, Some(id));
    }
}

fn due(record: Option<Record>, now: u64) -> bool {
    // A clock that went back makes a record of the future, which says nothing.
    record.is_none_or(|record| record.checked_at > now || now - record.checked_at >= VALID.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_a_day() {
        let record = |checked_at| Some(Record { image: "x".into(), checked_at, is_fresh: true, local_image_id: None });
        assert!(due(None, 0) && due(record(0), 86_400) && due(record(10), 9));
        assert!(!due(record(0), 86_399) && !due(record(10), 10));
    }

    #[test]
    fn a_record_is_of_one_image_and_what_is_broken_is_unknown() {
        let temp = tempfile::tempdir().unwrap();
        let state = temp.path().join("state");
        pulled(&state, "registry.example/a/b:c", Some("sha256:1".into()));
        let path = state.join("image-freshness-registry.example-a-b-c.json");
        let record = read(&state, "registry.example/a/b:c").unwrap();
        assert!(path.exists() && record.is_fresh && record.local_image_id.as_deref() == Some("sha256:1"));
        // Another image with the same file name.
        assert_eq!(read(&state, "registry.example/a-b:c"), None);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(read(&state, "registry.example/a/b:c"), None);
    }
}
