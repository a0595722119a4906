//! `start`: launches the host agent and follows what it reports. Nothing here is locked, as in Lima: two starts of one
//! instance get in each other's way.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::create::{check_errors, load_or_create, prepare};
use crate::events::{Follower, PERIOD, Status};
use crate::failure::{Failure, Result};
use crate::flags::{self, Words};
use crate::log;
use crate::ssh;
use crate::store::{Instance, Status as State, Store};

/// How long a start may take where nobody says.
const TIMEOUT: Duration = Duration::from_secs(600);
/// How long the host agent has to write its file.
const AGENT_DEADLINE: Duration = Duration::from_secs(5);
/// How long starts that are to collide wait for each other.
const TOGETHER: Duration = Duration::from_secs(20);

/// The command.
pub(super) fn run(store: &Store, words: &Words) -> Result<i32> {
    if words.on("foreground") {
        return Err("fake-limactl has no --foreground".into());
    }
    let instance = load_or_create(store, words, false)?;
    check_errors(&instance)?;
    match instance.status {
        State::Running => {
            let name = store.version.quote(&instance.name);
            let message = format!(
                "The instance {name} is already running. Run `limactl shell {}` to open the shell.",
                instance.name
            );
            log::info(&message);
            return Ok(0);
        }
        State::Stopped => {}
        other => log::warning(&format!("expected status \"Stopped\", got \"{}\"", other.text())),
    }
    let timeout = words.text("timeout").and_then(flags::duration).unwrap_or(TIMEOUT);
    start(store, &instance, timeout).map(|()| 0)
}

/// Starts a stopped instance.
pub(super) fn start(store: &Store, instance: &Instance, timeout: Duration) -> Result {
    let pid_file = instance.file("ha.pid");
    if pid_file.exists() {
        let name = store.version.quote(&instance.name);
        let hint = format!("hint: remove \"{}\" if the instance is not actually running", pid_file.display());
        return Err(format!("instance {name} seems running ({hint})").into());
    }
    wait_for_others(store, instance)?;
    log::info(&format!(
        "Starting the instance {} with internal VM driver \"qemu\"",
        store.version.quote(&instance.name)
    ));
    prepare(store, instance)?;
    ssh::ensure_key(&store.home)?;
    let mut agent = launch(instance, &pid_file)?;
    let until = Instant::now() + AGENT_DEADLINE;
    while !pid_file.exists() {
        if Instant::now() > until {
            let (pid_file, hint) = (pid_file.display(), instance.file("ha.stderr.log"));
            return Err(format!(
                "hostagent (\"{pid_file}\") did not start up in 5s (hint: see \"{}\")",
                hint.display()
            )
            .into());
        }
        // It may have come and gone.
        if agent.try_wait().is_ok_and(|status| status.is_some()) {
            break;
        }
        thread::sleep(PERIOD);
    }
    follow(store, instance, &mut agent, timeout)
}

/// Widens the time between a start's check and its act, until so many are in it as a test says.
fn wait_for_others(store: &Store, instance: &Instance) -> Result {
    let together = store.faults(&instance.name)?.start_together;
    let mine = instance.file(&format!("start-{}.tmp", std::process::id()));
    if together < 2 {
        return Ok(());
    }
    fs::write(&mine, "").map_err(|e| Failure::file("open", &mine, &e))?;
    let until = Instant::now() + TOGETHER;
    let past = || {
        let names = fs::read_dir(&instance.dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with("start-")).count()
    };
    while past() < together && Instant::now() < until {
        thread::sleep(PERIOD);
    }
    Ok(())
}

fn launch(instance: &Instance, pid_file: &Path) -> Result<Child> {
    let log = |name: &str| {
        let path = instance.file(name);
        let _absent = fs::remove_file(&path);
        fs::File::create(&path).map_err(|e| Failure::file("open", &path, &e))
    };
    let (out, err) = (log("ha.stdout.log")?, log("ha.stderr.log")?);
    let program = std::env::current_exe().map_err(|e| Failure::file("readlink", Path::new("/proc/self/exe"), &e))?;
    let mut agent = Command::new(program);
    agent
        .arg("hostagent")
        .arg("--pidfile")
        .arg(pid_file)
        .arg("--socket")
        .arg(instance.file("ha.sock"))
        .arg(&instance.name);
    agent.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    agent.spawn().map_err(|e| Failure::file("fork/exec", Path::new("limactl"), &e))
}

/// Follows the host agent until the instance runs or does not. It stays behind either way.
fn follow(store: &Store, instance: &Instance, agent: &mut Child, timeout: Duration) -> Result {
    let path = instance.file("ha.stdout.log");
    let mut log = Follower::open(&path).map_err(|e| Failure::file("open", &path, &e))?;
    let said = instance.file("ha.stderr.log");
    let mut said = Follower::open(&said).map_err(|e| Failure::file("open", &said, &e))?;
    let hint = format!("(hint: see \"{}\")", instance.file("ha.stderr.log").display());
    let until = Instant::now() + timeout;
    let mut told_port = false;
    loop {
        // Before its log is read for the last time.
        let ended = agent.try_wait().ok().flatten();
        said.lines().unwrap_or_default().iter().for_each(|line| pass_on(line));
        let Some(statuses) = log.statuses() else { return Err(no_event()) };
        for Status { running, degraded, exiting, errors, ssh_port } in statuses {
            if ssh_port != 0 && !told_port {
                told_port = true;
                log::info(&format!("SSH Local Port: {ssh_port}"));
            }
            if !errors.is_empty() {
                log::error(&format!("[{}]", errors.join(" ")));
            }
            if exiting {
                return Err(format!("exiting, status={{Exiting:true Errors:[{}]}} {hint}", errors.join(" ")).into());
            }
            if running && degraded {
                log::warning(&format!(
                    "DEGRADED. The VM seems running, but file sharing and port forwarding may not work. {hint}"
                ));
                return Err(
                    format!("degraded, status={{Running:true Degraded:true Errors:[{}]}}", errors.join(" ")).into()
                );
            }
            if running {
                let name = &instance.name;
                log::info(&format!("READY. Run `limactl shell {name}` to open the shell."));
                let message = instance.config().map(|config| config.message.clone()).unwrap_or_default();
                if !message.is_empty() {
                    log::info(&format!("Message from the instance {}:", store.version.quote(name)));
                    super::say(&mut std::io::stderr(), &format!("{}\n", message.trim_end()));
                }
                return Ok(());
            }
        }
        if let Some(status) = ended {
            return Err(format!("host agent process has exited: exit status {}", status.code().unwrap_or(-1)).into());
        }
        if Instant::now() > until {
            return Err(no_event());
        }
        thread::sleep(PERIOD);
    }
}

/// Says what the host agent said.
fn pass_on(line: &str) {
    let line = line.trim_end();
    let parsed: Value = serde_json::from_str(line).unwrap_or_default();
    let message = format!("[hostagent] {}", parsed["msg"].as_str().unwrap_or(line));
    match parsed["level"].as_str() {
        Some("warning") => log::warning(&message),
        Some("error" | "fatal") => log::error(&message),
        _ => log::info(&message),
    }
}

fn no_event() -> Failure {
    Failure::new("did not receive an event with the \"running\" status")
}
