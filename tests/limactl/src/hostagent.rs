//! The process behind a running instance: it starts the machine, waits until that is ready, reports, answers on its
//! socket, and goes when it is told to or when the machine is gone.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use crate::events::{self, PERIOD, Status};
use crate::failure::{Failure, Result};
use crate::faults::Faults;
use crate::flags::{Flag, Takes, Words};
use crate::guest::{self, Guest, Port};
use crate::log;
use crate::ssh;
use crate::store::{Instance, Store, live_pid};

pub(crate) const FLAGS: [Flag; 2] = [Flag("pidfile", None, Takes::Text), Flag("socket", None, Takes::Text)];

/// How long a guest may take over the power button.
const POWER_OFF: Duration = Duration::from_secs(5);

/// What happens to it.
enum Happened {
    /// It is to go.
    Asked,
    /// The machine is no more.
    MachineEnded,
    /// The machine booted.
    Booted,
}

/// The signals that ask it to go. They are caught, not blocked: a blocked one would be so in the whole guest.
struct Asking {
    runtime: Runtime,
    interrupt: Signals,
    terminate: Signals,
}

impl Asking {
    fn listen() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(inside);
        Ok(Self { runtime, interrupt, terminate })
    }

    fn pass_on(mut self, asked: &Sender<Happened>) {
        self.runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = self.interrupt.recv() => {}
                    _ = self.terminate.recv() => {}
                }
                if asked.send(Happened::Asked).is_err() {
                    break;
                }
            }
        });
    }
}

/// Runs until the instance does not.
pub(crate) fn run(store: &Store, words: &Words) -> Result<i32> {
    let names = words.texts();
    let (Some(pid_file), Some(socket), [name]) = (words.text("pidfile"), words.text("socket"), names.as_slice()) else {
        return Err("requires --pidfile, --socket and one instance".into());
    };
    let (pid_file, socket) = (Path::new(pid_file), Path::new(socket));
    log::as_json();
    // Before anybody can know whom to ask.
    let asking = Asking::listen().map_err(|e| Failure::new(format!("signals: {e}")))?;
    let another = |pid| -> Failure {
        let file = pid_file.display();
        format!("another hostagent may already be running with pid {pid} (pidfile \"{file}\")").into()
    };
    let there = pid_file.exists();
    match live_pid(pid_file)? {
        0 if there => _ = fs::remove_file(pid_file),
        0 => {}
        other => return Err(another(other)),
    }
    // Complete and at once: of two that come together one is the instance's, and the other takes nothing of it away.
    let own = pid_file.with_extension(format!("{}.tmp", getpid()));
    fs::write(&own, format!("{}\n", getpid())).map_err(|e| Failure::file("open", &own, &e))?;
    let taken = fs::hard_link(&own, pid_file);
    let _linked = fs::remove_file(&own);
    match taken {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Err(another(live_pid(pid_file)?)),
        taken => taken.map_err(|e| Failure::file("open", pid_file, &e))?,
    }
    let ended = serve(store, name, socket, asking);
    let status = Status { exiting: true, errors: ended.iter().cloned().collect(), ..Status::default() };
    // Whoever waits for the last event finds the instance stopped.
    let _gone = fs::remove_file(socket);
    let _gone = fs::remove_file(pid_file);
    events::emit(&status);
    ended.map_or(Ok(0), |why| Err(why.into()))
}

/// Has the instance run; the error that ended it, if one did.
fn serve(store: &Store, name: &str, socket: &Path, asking: Asking) -> Option<String> {
    let served = || {
        let instance = store.load(name)?;
        let config = instance.config()?.clone();
        let faults = store.faults(name)?;
        let port = Port::reserve(config.ssh_port)?;
        let elsewhere = faults.wrong_port || faults.ssh_hangs;
        let shown = if elsewhere { somebody_else(faults.ssh_hangs)? } else { port.number };
        answer(socket, shown)?;
        log::info(&format!("hostagent socket created at {}", socket.display()));
        events::emit(&Status { ssh_port: shown, ..Status::default() });
        ssh::write_config(&store.home, &instance, &config, shown)?;
        if let Some(why) = &faults.fail_start {
            return Err(why.clone().into());
        }
        thread::sleep(Duration::from_millis(faults.broken_window_ms));
        let machine = guest::start(&instance, &config, &store.home, port.number, !faults.ssh_refused)?;
        let driver = instance.file("qemu.pid");
        let ended = fs::write(&driver, format!("{}\n", machine.first))
            .map_err(|e| Failure::file("open", &driver, &e))
            .and_then(|()| attend(&instance, machine, &port, shown, &faults, asking));
        let _gone = fs::remove_file(&driver);
        ended
    };
    served().err().map(|failure| failure.message)
}

/// Watches over the machine until it or we are to go.
fn attend(instance: &Instance, machine: Guest, port: &Port, shown: u16, faults: &Faults, asking: Asking) -> Result {
    let Guest { mut around, first, mut said } = machine;
    let (send, happened) = mpsc::channel();
    let (asked, booted, ended) = (send.clone(), send.clone(), send);
    thread::spawn(move || asking.pass_on(&asked));
    let delay = Duration::from_millis(faults.boot_ms);
    thread::spawn(move || {
        thread::sleep(delay);
        if guest::boots(&mut said) {
            let _nobody = booted.send(Happened::Booted);
        }
    });
    let over = Arc::new(AtomicBool::new(false));
    let watch = Arc::clone(&over);
    thread::spawn(move || {
        let _status = around.wait();
        watch.store(true, Ordering::Release);
        let _nobody = ended.send(Happened::MachineEnded);
    });

    log::info("Waiting for the essential requirement 1 of 2: \"ssh\"");
    let mut waits_for_ssh = false;
    let asked = loop {
        match happened.recv_timeout(PERIOD) {
            Ok(Happened::Asked) => break true,
            Ok(Happened::MachineEnded) if faults.hostagent_outlives_driver => {}
            Ok(Happened::MachineEnded) => break false,
            Ok(Happened::Booted) => waits_for_ssh = !faults.hang_start,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(PERIOD),
        }
        let unreachable = faults.ssh_refused || shown != port.number;
        let reachable = || unreachable || (port.answers() && open_master(instance));
        if waits_for_ssh && reachable() {
            waits_for_ssh = false;
            log::info("The final requirement 1 of 1 is satisfied");
            ready(shown, first, faults);
        }
    };
    if !asked {
        return Err("driver exited unexpectedly".into());
    }
    log::info("Received SIGINT, shutting down the host agent");
    let _closed = master(instance, &["-O", "exit"]);
    thread::sleep(Duration::from_millis(faults.stop_ms));
    if let Some(button) = guest::button(first) {
        let _already_gone = kill(Pid::from_raw(button), Signal::SIGTERM);
    }
    let until = Instant::now() + POWER_OFF;
    while !over.load(Ordering::Acquire) && Instant::now() < until {
        thread::sleep(PERIOD);
    }
    let _already_gone = kill(Pid::from_raw(first), Signal::SIGKILL);
    while !over.load(Ordering::Acquire) {
        thread::sleep(PERIOD);
    }
    Ok(())
}

/// Says that the instance runs, and lets happen what is to happen then.
fn ready(shown: u16, first: i32, faults: &Faults) {
    let errors: Vec<_> = faults.degraded.iter().cloned().collect();
    events::emit(&Status { running: true, degraded: !errors.is_empty(), errors, ssh_port: shown, ..Status::default() });
    for (delay, whom) in [(faults.driver_dies_after_ms, first), (faults.hostagent_dies_after_ms, getpid().as_raw())] {
        if let Some(delay) = delay {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(delay));
                let _already_gone = kill(Pid::from_raw(whom), Signal::SIGKILL);
            });
        }
    }
}

/// Opens the connection that all others share.
fn open_master(instance: &Instance) -> bool {
    master(instance, &["-o", "LogLevel=ERROR"])
}

fn master(instance: &Instance, words: &[&str]) -> bool {
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(instance.file("ssh.config")).args(words).arg(instance.hostname());
    if !words.contains(&"-O") {
        ssh.arg("true");
    }
    ssh.stdin(Stdio::null()).stdout(Stdio::null());
    ssh.status().is_ok_and(|status| status.success())
}

/// Answers on the socket which port leads into the guest.
fn answer(socket: &Path, port: u16) -> Result {
    let _left_behind = fs::remove_file(socket);
    let listener = UnixListener::bind(socket).map_err(|e| Failure::file("listen unix", socket, &e))?;
    thread::spawn(move || {
        let body = format!("{{\"sshLocalPort\":{port}}}");
        for mut stream in listener.incoming().flatten() {
            let Ok(copy) = stream.try_clone() else { continue };
            let _deadline = copy.set_read_timeout(Some(Duration::from_secs(3)));
            let mut request = BufReader::new(copy).lines();
            while request.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let _gone = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    Ok(())
}

/// A port at which somebody listens who does not speak ssh, or does not speak at all.
fn somebody_else(silent: bool) -> Result<u16> {
    let fail = |e: std::io::Error| Failure::new(format!("listen tcp: {e}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail)?;
    let port = listener.local_addr().map_err(fail)?.port();
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if silent {
                held.push(stream);
            } else {
                let _gone = stream.write_all(b"220 no shell here\r\n");
            }
        }
    });
    Ok(port)
}
