//! Private directories in which merges are computed, and what those that were killed have left there.

use std::fs;
use std::path::Path;

use color_eyre::eyre::{Report, Result, WrapErr as _};
use tempfile::TempDir;

use super::find::Here;
use crate::runs::private_directory;

/// Below the state directory. What lies there while nobody merges is of no use.
pub(super) const MERGES: &str = "merges";

/// A new one, gone when it is dropped.
pub(super) fn directory(state: &Path) -> Result<TempDir> {
    let made = private_directory(&state.join(MERGES)).and_then(tempfile::tempdir_in);
    made.wrap_err("cannot make a private directory")
}

/// Takes away what is left, while nobody merges: git's records of worktrees there as well.
pub(super) fn sweep(here: &Here) -> Result<()> {
    let merges = here.store.merges();
    for left in here.repository.checkouts().map_err(Report::new)? {
        if left.root.starts_with(&merges) {
            let _next_time = fs::remove_dir_all(&left.admin_dir);
        }
    }
    for left in fs::read_dir(merges).into_iter().flatten().flatten() {
        let _next_time = fs::remove_dir_all(left.path());
    }
    Ok(())
}
