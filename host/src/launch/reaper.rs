//! Takes away what killed supervisors left: beside the run that is starting, never delaying it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use workmux_plugin_api::ReleaseRequest;

use crate::plugins::Registry;
use crate::runs::{self, Orphan};
use crate::surroundings::Surroundings;

/// How long a run that is over waits for the reaper it started.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reaping under way.
pub(super) struct Reaping(JoinHandle<()>);

/// Looks for orphans and takes them away.
pub(super) fn begin(surroundings: &Surroundings) -> Reaping {
    let state = surroundings.state.clone();
    Reaping(tokio::spawn(async move {
        orphans(&state).await;
        git(state).await;
    }))
}

/// Ends guests that only their backends reach, before anybody takes up what they worked on: what such a guest still did
/// would be lost. Almost always there is none.
pub(super) async fn distant_guests(surroundings: &Surroundings) {
    if runs::has_distant_guests(&surroundings.state) {
        orphans(&surroundings.state).await;
    }
}

async fn orphans(state: &Path) {
    let state = state.to_owned();
    let found = tokio::task::spawn_blocking(move || {
        runs::end_guests(&state);
        runs::orphans(&state)
    });
    for orphan in found.await.unwrap_or_default() {
        reap(orphan).await;
    }
}

impl Reaping {
    /// Waits for it, but not for ever: what is left is found by the next command.
    pub(super) async fn end(self) {
        let _late = tokio::time::timeout(PATIENCE, self.0).await;
    }
}

async fn reap(orphan: Orphan) {
    if let Some(record) = &orphan.record
        && let Some(instance) = record.instance.clone()
        && let Some(backend) = backend(&record.backend)
    {
        let request =
            ReleaseRequest { settings: record.settings.clone(), instance, run: record.run.clone(), ended: false };
        if let Err(e) = backend.release(request).await {
            // Kept, so that the next command tries again.
            crate::ui::warning(&format!("a sandbox of an ended run could not be removed: {}", e));
            return;
        }
    }
    if let Err(e) = orphan.remove() {
        crate::ui::warning(&format!("the record of an ended run could not be removed: {e}"));
    }
}

fn backend(name: &str) -> Option<crate::plugins::Backend> {
    let registry: Registry = super::registry().ok()?;
    crate::routing::load(&registry, name).ok()
}

async fn git(state: PathBuf) {
    let reaped = tokio::task::spawn_blocking(move || reap_git(&state)).await;
    for imported in reaped.into_iter().flatten() {
        match imported {
            Ok(imported) => super::told::report(&imported),
            Err(e) => crate::ui::warning(&format!("work of an ended run could not be imported yet: {e}")),
        }
    }
}

fn reap_git(state: &Path) -> Vec<Result<crate::git::Imported, crate::git::GitError>> {
    crate::git::reap(state)
}
