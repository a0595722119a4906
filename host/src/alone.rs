//! Runs one test of this very program in a process of its own: to count its descriptors, or with a guard switched off.

use std::process::Command;
use std::time::Duration;

use crate::tool;

const ALONE: &str = "WORKMUX_TEST_ALONE";
/// A test that hangs without its guard has failed as well.
const DEADLINE: Duration = Duration::from_secs(60);

/// Whether this process runs one test only; if not, runs `test` in one that does, and sees that it passes.
pub(crate) fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let report = passes(test, None).unwrap_or_else(|report| panic!("{report}"));
    assert!(report.contains("1 passed"), "{report}");
    false
}

/// Runs a test by its whole name, with a guard off or not; its output.
pub(crate) fn passes(test: &str, guard_off: Option<&str>) -> Result<String, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.args([test, "--exact", "--test-threads", "1"]).env(ALONE, "1").env("RUST_BACKTRACE", "0");
    if let Some(guard) = guard_off {
        command.env("WORKMUX_MUTANT", guard);
    }
    let output = tool::run(&mut command, b"", DEADLINE).map_err(|e| e.to_string())?;
    let report = String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr_text();
    if output.status.success() { Ok(report) } else { Err(report) }
}
