//! Takes a run's container away: after a crash, or where its end was not seen.

use workmux_plugin_api::{Context, Error, ErrorKind, Result, Tool, ToolOutput};

use crate::engine::Engine;
use crate::labels::{MANAGED, RUN};

/// Stopping takes a moment more than asking.
const DEADLINE_MS: u64 = 25_000;

/// Removes the run's container, found by its label and never by its name. Nothing there is fine.
pub(crate) async fn remove(cx: &Context, engine: Engine, run: &str) -> Result<()> {
    let label = format!("label={RUN}={run}");
    let managed = format!("label={MANAGED}");
    let listed =
        ask(cx, engine, &["ps", "--all", "--quiet", "--no-trunc", "--filter", &label, "--filter", &managed]).await?;
    let ids: Vec<&str> = listed.stdout.split_whitespace().filter(|id| is_id(id)).collect();
    if ids.is_empty() {
        return Ok(());
    }
    remove_ids(cx, engine, &ids).await
}

/// Removes containers.
pub(crate) async fn remove_ids(cx: &Context, engine: Engine, ids: &[&str]) -> Result<()> {
    let mut words = vec!["rm", "--force", "--volumes"];
    if engine == Engine::Podman {
        // It would wait for a guest that ignores signals.
        words.extend(["--time", "0"]);
    }
    words.extend(ids);
    match ask(cx, engine, &words).await {
        // Gone by itself in between.
        Err(e)
            if e.causes
                .iter()
                .any(|cause| cause.contains("o such container") || cause.contains("already in progress")) =>
        {
            Ok(())
        }
        other => other.map(drop),
    }
}

pub(crate) fn is_id(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Asks the engine something; a code other than 0 is an error with its last line as the cause.
pub(crate) async fn ask(cx: &Context, engine: Engine, words: &[&str]) -> Result<ToolOutput> {
    let output = output(cx, engine, words).await?;
    if output.code == Some(0) {
        return Ok(output);
    }
    let said = output.stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    let what = words.first().copied().unwrap_or_default();
    Err(Error::new(ErrorKind::ToolFailed, format!("'{} {what}' failed", engine.name())).cause(said.trim()))
}

/// Asks the engine something, whatever its code.
pub(crate) async fn output(cx: &Context, engine: Engine, words: &[&str]) -> Result<ToolOutput> {
    let args = words.iter().map(|word| (*word).into()).collect();
    cx.run(Tool { program: engine.name().into(), args, deadline_ms: DEADLINE_MS, ..Tool::default() }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_an_id_is_passed_on() {
        assert!(is_id(&"a1".repeat(32)));
        for odd in ["", "--all", "wm-x", &"g".repeat(64), &"a".repeat(63)] {
            assert!(!is_id(odd), "{odd}");
        }
    }
}
