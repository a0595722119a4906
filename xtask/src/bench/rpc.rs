//! A Heartbeat against the same bytes through a bare echo, directly and through the guest's relay. The pairs take turns
//! inside `host/benches/rpc.rs`, which holds both ends.

use std::path::Path;

use serde_json::Value;

use super::pairs::{Gate, Outcome};
use crate::workspace::cargo;
use crate::{Result, process};

const LIMIT: Gate = Gate::Ratio(1.5);

/// What the pairs say.
pub(super) fn outcomes(guest: &Path) -> Result<Vec<Outcome>> {
    let mut bench = cargo();
    bench.args(["bench", "--quiet", "-p", "workmux", "--bench", "rpc"]).env("WORKMUX_GUEST", guest);
    let said = process::output(&mut bench)?;
    let line = said.lines().rev().find(|l| l.starts_with('{')).ok_or("the benchmark of the RPC said nothing")?;
    let report: Value =
        serde_json::from_str(line).map_err(|e| format!("the benchmark of the RPC said '{line}': {e}"))?;
    [("direct", "rpc: Heartbeat, against a unix echo"), ("relayed", "rpc: relayed Heartbeat, against a relayed echo")]
        .into_iter()
        .map(|(route, name)| {
            let pairs =
                report[route].as_array().ok_or_else(|| format!("the benchmark of the RPC left out '{route}'"))?;
            let microseconds = |value: &Value| value.as_f64().unwrap_or(f64::NAN) / 1000.0;
            let times: Vec<_> = pairs.iter().map(|pair| (microseconds(&pair[1]), microseconds(&pair[0]))).collect();
            Ok(Outcome::of(name, LIMIT, &times))
        })
        .collect()
}
