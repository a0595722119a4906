//! `stop`: asks the host agent and waits for the instance, or ends both at once.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::DEFAULT;
use crate::events::{Follower, PERIOD};
use crate::failure::{Failure, Result};
use crate::flags::Words;
use crate::log;
use crate::store::{Instance, Status, Store, is_live};

/// How long an instance may take.
const TIMEOUT: Duration = Duration::from_secs(190);
/// How long the kernel may take over what was killed.
const GONE: Duration = Duration::from_secs(2);

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
        let Some(statuses) = log.statuses().filter(|_| Instant::now() < until) else {
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

/// Ends whatever belongs to an instance at once, and removes what stands for it.
pub(super) fn stop_forcibly(instance: &Instance) {
    for (what, pid) in [("qemu driver", instance.driver), ("host agent", instance.host_agent)] {
        if pid > 0 {
            log::info(&format!("Sending SIGKILL to the {what} process {pid}"));
            if let Err(e) = kill(Pid::from_raw(pid), Signal::SIGKILL) {
                log::error(&e.desc().to_lowercase());
            }
        } else {
            log::info(&format!("The {what} process seems already stopped"));
        }
    }
    let until = Instant::now() + GONE;
    while [instance.driver, instance.host_agent].into_iter().any(is_live) && Instant::now() < until {
        thread::sleep(PERIOD);
    }
    log::info(&format!("Removing *.pid *.sock *.tmp under \"{}\"", instance.dir.display()));
    for entry in fs::read_dir(&instance.dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| ["pid", "sock", "tmp"].iter().any(|e| extension == *e)) {
            log::info(&format!("Removing \"{}\"", path.display()));
            let _already_gone = fs::remove_file(path);
        }
    }
}
