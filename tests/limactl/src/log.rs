//! What `limactl` says on standard error: logrus' lines, as text or as JSON.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::quoting;

/// Logrus' levels, the least important first.
const LEVELS: [&str; 7] = ["trace", "debug", "info", "warning", "error", "fatal", "panic"];

static JSON: AtomicBool = AtomicBool::new(false);
/// What is less important than this is not said.
static LEAST: AtomicUsize = AtomicUsize::new(2);

/// Says what is at least this important; whether there is such a level.
pub(crate) fn set_level(name: &str) -> bool {
    let name = if name == "warn" { "warning" } else { name };
    let level = LEVELS.iter().position(|level| level.eq_ignore_ascii_case(name));
    LEAST.store(level.unwrap_or(2), Ordering::Relaxed);
    level.is_some()
}

/// One JSON object for each line from now on.
pub(crate) fn as_json() {
    JSON.store(true, Ordering::Relaxed);
}

pub(crate) fn info(message: &str) {
    line("info", message);
}

pub(crate) fn warning(message: &str) {
    line("warning", message);
}

pub(crate) fn error(message: &str) {
    line("error", message);
}

pub(crate) fn fatal(message: &str) {
    line("fatal", message);
}

/// The time, as log lines and events have it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn line(level: &str, message: &str) {
    if LEVELS.iter().position(|l| *l == level).is_some_and(|at| at < LEAST.load(Ordering::Relaxed)) {
        return;
    }
    let line = if JSON.load(Ordering::Relaxed) {
        json!({"level": level, "msg": message, "time": now()}).to_string()
    } else {
        let plain =
            !message.is_empty() && message.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b));
        let shown = if plain { message.to_owned() } else { quoting::double(message) };
        format!("time={} level={level} msg={shown}", quoting::double(&now()))
    };
    // Nobody may listen any more.
    let _unheard = writeln!(std::io::stderr(), "{line}");
}
