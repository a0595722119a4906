//! What a test makes go wrong: `fake.json` in the instance's directory, over `_fake.json` beside the instances, which holds
//! from before an instance exists. A fault lasts as long as it stands there.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::failure::{Failure, Result};

/// What goes wrong, or takes its time.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Faults {
    /// The release played, where `FAKE_LIMA_VERSION` does not reach.
    pub(crate) version: Option<String>,
    /// How long a boot takes.
    pub(crate) boot_ms: u64,
    /// How long the host agent is alone before there is a machine.
    pub(crate) broken_window_ms: u64,
    /// How long the machine takes to power off.
    pub(crate) stop_ms: u64,
    /// Between its check and its act, `start` waits until so many of them have passed the check.
    pub(crate) start_together: usize,
    /// The host agent gives up with this error.
    pub(crate) fail_start: Option<String>,
    /// The machine never gets ready.
    pub(crate) hang_start: bool,
    /// It gets ready, but with this error.
    pub(crate) degraded: Option<String>,
    /// The machine dies so long after it was ready.
    pub(crate) driver_dies_after_ms: Option<u64>,
    /// The host agent dies so long after the machine was ready, and leaves it behind.
    pub(crate) hostagent_dies_after_ms: Option<u64>,
    /// The host agent does not notice when the machine dies.
    pub(crate) hostagent_outlives_driver: bool,
    /// Nobody listens on the port for ssh.
    pub(crate) ssh_refused: bool,
    /// The port for ssh belongs to somebody else.
    pub(crate) wrong_port: bool,
    /// Whoever connects to the port for ssh waits for ever.
    pub(crate) ssh_hangs: bool,
    /// `list` prints this first.
    pub(crate) garbage_before_json: Option<String>,
    /// `list` takes so long.
    pub(crate) slow_list_ms: u64,
    /// There is no room for a disk.
    pub(crate) disk_full: bool,
}

impl Faults {
    /// Those of all instances.
    pub(crate) fn of_all(home: &Path) -> Result<Self> {
        parse(read(&home.join("_fake.json"))?)
    }

    /// Those of one instance.
    pub(crate) fn of_one(home: &Path, dir: &Path) -> Result<Self> {
        let mut all = read(&home.join("_fake.json"))?;
        all.extend(read(&dir.join("fake.json"))?);
        parse(all)
    }
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(e) => return Err(Failure::file("open", path, &e)),
    };
    serde_json::from_str(&text).map_err(|e| Failure::new(format!("fake-limactl: '{}': {e}", path.display())))
}

fn parse(all: Map<String, Value>) -> Result<Faults> {
    serde_json::from_value(Value::Object(all)).map_err(|e| Failure::new(format!("fake-limactl: a fault: {e}")))
}
