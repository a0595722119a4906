//! `validate`: whether files could be instances.

use std::path::Path;

use crate::config::{self, Config};
use crate::failure::{Failure, Result};
use crate::flags::Words;
use crate::log;
use crate::store::Store;

/// The command.
pub(super) fn run(store: &Store, words: &Words) -> Result<i32> {
    for file in words.texts() {
        let quoted = store.version.quote(&file);
        let path = Path::new(&file);
        let read = || {
            let text = std::fs::read_to_string(path).map_err(|e| Failure::file("open", path, &e))?;
            let tree = config::parse(&text)?;
            for key in config::unknown_keys(&tree) {
                log::warning(&format!("Non-strict YAML detected; please check for typos: unknown field \"{key}\""));
            }
            Config::fill(&tree, "validate", &store.version)?.validate()
        };
        read().map_err(|failure| Failure::new(format!("failed to load YAML file {quoted}: {}", failure.message)))?;
        log::info(&format!("{quoted}: OK"));
    }
    Ok(0)
}
