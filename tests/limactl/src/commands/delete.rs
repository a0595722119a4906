//! `delete`: ends and removes instances, and stops at the first that it may not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::stop::stop_forcibly;
use crate::failure::{Failure, Result};
use crate::flags::Words;
use crate::log;
use crate::store::{Instance, Status, Store};

/// The command.
pub(super) fn run(store: &Store, words: &Words) -> Result<i32> {
    for name in words.texts() {
        let quoted = store.version.quote(&name);
        let instance = match store.inspect(&name) {
            Ok(instance) => instance,
            Err(failure) if failure.missing && !(store.version.lists_strays() && store.home.join(&name).exists()) => {
                log::warning(&format!("Ignoring non-existent instance {quoted}"));
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let refused = |why: &str| Failure::new(format!("failed to delete instance {quoted}: {why}"));
        if instance.protected {
            return Err(refused(
                "instance is protected to prohibit accidental removal (Hint: use `limactl unprotect`)",
            ));
        }
        if !words.on("force") && instance.status != Status::Stopped {
            let (wanted, got) = (store.version.quote("Stopped"), store.version.quote(instance.status.text()));
            return Err(refused(&format!("expected status {wanted}, got {got}")));
        }
        remove(&instance).map_err(|failure| refused(&failure.message))?;
        log::info(&format!("Deleted {quoted} ({})", store.version.quote(&instance.dir.display().to_string())));
    }
    Ok(0)
}

/// Removes an instance whole.
fn remove(instance: &Instance) -> Result {
    stop_forcibly(instance);
    let removed = fs::remove_dir_all(&instance.dir).or_else(|_| {
        // Guests leave folders that nobody may change; a disk would not mind.
        make_writable(&instance.dir);
        fs::remove_dir_all(&instance.dir)
    });
    removed.map_err(|e| Failure::file("failed to remove", &instance.dir, &e))
}

fn make_writable(folder: &Path) {
    let _not_ours = fs::set_permissions(folder, Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}
