//! `protect` and `unprotect`: a file that keeps `delete` away.

use crate::failure::Result;
use crate::flags::Words;
use crate::log;
use crate::store::{Instance, Store};

/// `protect`.
pub(super) fn on(store: &Store, words: &Words) -> Result<i32> {
    each(store, words, true, |instance| std::fs::write(instance.file("protected"), ""))
}

/// `unprotect`.
pub(super) fn off(store: &Store, words: &Words) -> Result<i32> {
    each(store, words, false, |instance| std::fs::remove_file(instance.file("protected")))
}

/// Tries every instance, and tells all failures at the end.
fn each(store: &Store, words: &Words, on: bool, set: fn(&Instance) -> std::io::Result<()>) -> Result<i32> {
    let (verb, done, already) =
        if on { ("protect", "Protected", "already protected") } else { ("unprotect", "Unprotected", "not protected") };
    let mut failures = Vec::new();
    for name in words.texts() {
        let quoted = store.version.quote(&name);
        match store.inspect(&name) {
            Err(failure) => failures.push(format!("failed to inspect instance {quoted}: {}", failure.message)),
            Ok(instance) if instance.protected == on => {
                log::warning(&format!("Instance {quoted} is {already}. Skipping."))
            }
            Ok(instance) => match set(&instance) {
                Ok(()) => log::info(&format!("{done} {quoted}")),
                Err(e) => failures.push(format!("failed to {verb} instance {quoted}: {e}")),
            },
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(failures.join("\n").into()) }
}
