//! Pulling: the engine's own pull, watched. It gets a terminal, because engines tell how far they are only there, and a
//! deadline that counts from the last byte, because some wait for ever.

use std::time::{Duration, Instant};

use workmux_plugin_api::{Context, Error, ErrorKind, Pulled, Result, Step, Tool};

use super::failures::{self, About};
use super::freshness::Local;
use super::layers::Layers;
use super::scratch::Scratch;
use super::{Wanted, tool};
use crate::engine::Engine;

/// How often a pull that says nothing is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What unpacking may take in silence once all bytes are here.
const UNPACK: Duration = Duration::from_secs(600);
/// Lines that are kept for the reason of a failure.
const KEPT: usize = 40;

pub(super) async fn pull(cx: &Context, wanted: &Wanted, last: Option<String>) -> Result<Pulled> {
    let name = wanted.image.name.as_str();
    // docker says whether there was anything new. podman does not, so what the name stood for is asked meanwhile, unless
    // it is known: a pull that changes it takes many times longer than this question.
    let before = match (wanted.engine, &last) {
        (Engine::Podman, None) => {
            Some(cx.start(tool(wanted.engine, &["image", "inspect", "--format", "{{.Id}}", name])).await?)
        }
        _ => None,
    };
    let tail = fetch(cx, wanted).await?;
    if wanted.engine == Engine::Docker {
        let updated = !tail.iter().any(|line| line.starts_with("Status: Image is up to date"));
        let id = if updated { Some(id(cx, wanted).await?) } else { last };
        return Ok(Pulled { id, updated });
    }
    let mut old = last;
    if let Some(mut asked) = before {
        while let Step::Printed { lines } = asked.next(LOOK).await? {
            old = lines.into_iter().find(|line| is_id(line)).or(old);
        }
    }
    let id = tail.into_iter().rev().find(|line| is_id(line));
    Ok(Pulled { updated: id != old, id })
}

/// Runs the pull; its last lines.
async fn fetch(cx: &Context, wanted: &Wanted) -> Result<Vec<String>> {
    let mut command = Tool { terminal: true, ..tool(wanted.engine, &["pull", &wanted.image.name]) };
    let mut _scratch = None;
    if wanted.engine == Engine::Podman {
        command = _scratch.insert(Scratch::new()?).keeps(wanted.engine, command);
    }
    let mut pull = cx.start(command).await?;
    let (mut layers, mut tail) = (Layers::default(), Vec::new());
    let stall = Duration::from_secs(wanted.table.pull_timeout.unwrap_or(60));
    // A pull that fetches nothing has nothing to show.
    let (mut moved, mut shown) = (Instant::now(), false);
    loop {
        match pull.next(LOOK.min(stall)).await? {
            Step::Printed { lines } => {
                let mut news = false;
                for line in &lines {
                    news |= layers.take(line);
                }
                if news {
                    moved = Instant::now();
                    shown |= layers.any_missing();
                    let (done, total) = layers.bytes();
                    if shown {
                        cx.progress(layers.text(), done, total);
                    }
                }
                tail.extend(lines);
                tail.drain(..tail.len().saturating_sub(KEPT));
            }
            Step::Ended { code: Some(0) } => return Ok(tail),
            Step::Ended { .. } => return Err(failures::pull(&About::of(wanted), &tail)),
            _ => {}
        }
        let patience = if layers.all_fetched() { UNPACK.max(stall) } else { stall };
        if moved.elapsed() >= patience {
            pull.end().await?;
            return Err(stalled(wanted, patience));
        }
    }
}

fn stalled(wanted: &Wanted, after: Duration) -> Error {
    let registry = failures::registry(&wanted.image.name);
    Error::new(ErrorKind::Timeout, format!("nothing came from {registry} for {} s", after.as_secs()))
        .hint("look at the network and try again; 'sandbox.container.pull_timeout' gives it more time")
}

/// What the name stands for now.
async fn id(cx: &Context, wanted: &Wanted) -> Result<String> {
    let found = Local::find(cx, wanted.engine, &wanted.image.name).await?;
    found.map(|found| found.id).ok_or_else(|| {
        let message =
            format!("'{}' says that it pulled '{}', and does not have it", wanted.engine.name(), wanted.image.name);
        Error::new(ErrorKind::ToolFailed, message).hint(format!(
            "try by hand: {} pull {}",
            wanted.engine.name(),
            wanted.image.name
        ))
    })
}

fn is_id(line: &str) -> bool {
    let digits = line.strip_prefix("sha256:").unwrap_or(line);
    digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}
