//! `edit`: changes `lima.yaml` of an instance that does not run, by flags alone: there is no editor.

use std::path::Path;

use super::DEFAULT;
use crate::config::{self, Config};
use crate::edits;
use crate::failure::{Failure, Result};
use crate::flags::Words;
use crate::log;
use crate::store::{Status, Store};

/// Where Lima leaves what it refused: in the directory it was called in.
const REJECTED: &str = "lima.REJECTED.yaml";

/// The command.
pub(super) fn run(store: &Store, words: &Words) -> Result<i32> {
    let name = words.texts().pop().unwrap_or_else(|| DEFAULT.to_owned());
    let quoted = store.version.quote(&name);
    let instance = store.inspect(&name).map_err(|failure| {
        if failure.missing { Failure::new(format!("instance {quoted} not found")) } else { failure }
    })?;
    if instance.status == Status::Running {
        return Err("cannot edit a running instance".into());
    }
    let path = instance.file("lima.yaml");
    let text = std::fs::read_to_string(&path).map_err(|e| Failure::file("open", &path, &e))?;
    let mut tree = config::parse(&text)?;
    if !edits::apply(&mut tree, words)? {
        log::info("Aborting, no changes made to the instance");
        return Ok(0);
    }
    let checked = Config::fill(&tree, &name, &store.version).and_then(|config| config.validate());
    if let Err(failure) = checked {
        std::fs::write(REJECTED, tree.to_string()).map_err(|e| Failure::file("open", Path::new(REJECTED), &e))?;
        return Err(format!("the YAML is invalid, saved the buffer as \"{REJECTED}\": {}", failure.message).into());
    }
    std::fs::write(&path, tree.to_string()).map_err(|e| Failure::file("open", &path, &e))?;
    log::info(&format!("Instance {quoted} configuration edited"));
    Ok(0)
}
