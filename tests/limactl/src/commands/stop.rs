//! `stop`: asks the host agent and waits for the instance, or ends both at once.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{DEFAULT, stop_forcibly};
use crate::events::{Follower, PERIOD};
use crate::failure::{Failure, Result};
use crate::flags::Words;
use crate::log;
use crate::store::{Status, Store};

/// How long an instance may take.
const TIMEOUT: Duration = Duration::from_secs(190);

/// The command.
pub(super) fn run(store: &Store, words: &Words) -> Result<i32> {
    let name = words.texts().pop().unwrap_or_else(|| DEFAULT.to_owned());
    let instance = store.inspect(&name)?;
    if words.on("force") {
        stop_forcibly(&instance);
        return Ok(0);
    }
    if instance.status != Status::Running {
        let (wanted, got) = (store.version.quote("Running"), store.version.quote(instance.status.text()));
        return Err(format!("expected status {wanted}, got {got} (maybe use `limactl stop -f`?)").into());
    }
    let path = instance.file("ha.stdout.log");
    let mut log = Follower::open_end(&path).map_err(|e| Failure::file("open", &path, &e))?;
    log::info(&format!("Sending SIGINT to hostagent process {}", instance.host_agent));
    if let Err(e) = kill(Pid::from_raw(instance.host_agent), Signal::SIGINT) {
        log::error(&e.desc().to_lowercase());
    }
    log::info("Waiting for the host agent and the driver processes to shut down");
    let until = Instant::now() + TIMEOUT;
    loop {
        let Some(statuses) = log.more().filter(|_| Instant::now() < until) else {
            return Err("did not receive an event with the \"exiting\" status".into());
        };
        if statuses.iter().any(|status| status.exiting) {
            break;
        }
        thread::sleep(PERIOD);
    }
    log::info("Waiting for the instance to shut down");
    while store.inspect(&name)?.status != Status::Stopped {
        if Instant::now() > until {
            return Err("timed out waiting for instance to shut down after 3 minutes".into());
        }
        thread::sleep(PERIOD);
    }
    log::info(&format!("The instance {name} has shut down"));
    Ok(0)
}
