//! A sandbox's command over the shared connection ([`mux`](crate::mux)), as a session of the host's.
//!
//! A machine takes a few commands over one connection and no more. What it does not take there goes over a connection of
//! its own, by `ssh`; nobody need know.

use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::oneshot;
use workmux_plugin_api::{Ended, Error, ErrorKind, Origin, Plan, Result, Session, SessionInfo, Stdio, async_trait};

use crate::mux::{Mux, Opened};

/// A command that has not begun, or is under way.
pub(crate) struct Shared {
    mux: Mutex<Option<Mux>>,
    command: String,
    /// The same by `ssh`, over the shared connection: for people.
    by_hand: Plan,
    /// The same by `ssh`, over a connection of its own.
    alone: Plan,
    work: Arc<Mutex<Work>>,
}

/// What has to be ended for the command to end.
#[derive(Default)]
enum Work {
    #[default]
    None,
    Shared(UnixStream),
    Alone(Child),
    /// Nothing may begin any more.
    Over,
}

impl Shared {
    pub(crate) fn new(mux: Mux, command: String, by_hand: Plan, alone: Plan) -> Self {
        Self { mux: Mutex::new(Some(mux)), command, by_hand, alone, work: Arc::default() }
    }
}

#[async_trait]
impl Session for Shared {
    async fn run(&self, stdio: Stdio) -> Result<Ended> {
        let mux = lock(&self.mux).take().ok_or_else(|| Error::internal("the command was run before"))?;
        let ends_with_this = EndsWithThis(Arc::clone(&self.work));
        let (work, command, alone) = (Arc::clone(&self.work), self.command.clone(), self.alone.clone());
        let (tell, told) = oneshot::channel();
        let wait = move || drop(tell.send(run(mux, &command, &alone, &stdio, &work)));
        thread::Builder::new().name("lima".into()).spawn(wait).map_err(|e| failed(&e))?;
        let ended = told.await.map_err(|_| Error::internal("the command's thread is gone"))?;
        drop(ends_with_this);
        ended
    }

    /// Only before the guest's first process is there to be told: whatever it is, the command has not begun.
    fn signal(&self, _signal: i32) {
        end(&self.work);
    }

    fn info(&self) -> SessionInfo {
        SessionInfo { explains_itself: true, by_hand: Some(self.by_hand.clone()) }
    }
}

/// Ends the command when the host does not wait for it any more.
struct EndsWithThis(Arc<Mutex<Work>>);

impl Drop for EndsWithThis {
    fn drop(&mut self) {
        end(&self.0);
    }
}

fn end(work: &Mutex<Work>) {
    match std::mem::replace(&mut *lock(work), Work::Over) {
        // The process that holds the connection closes the command's channel with this one.
        Work::Shared(stream) => drop(stream.shutdown(Shutdown::Both)),
        Work::Alone(mut child) => {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
        Work::None | Work::Over => {}
    }
}

/// Takes note of what is to be ended; false where the end has come first.
fn begin(work: &Mutex<Work>, new: Work) -> bool {
    let mut work = lock(work);
    let goes_on = !matches!(*work, Work::Over);
    if goes_on {
        *work = new;
    }
    goes_on
}

fn run(mut mux: Mux, command: &str, alone: &Plan, stdio: &Stdio, work: &Mutex<Work>) -> Result<Ended> {
    if !begin(work, Work::Shared(mux.handle().map_err(|e| failed(&e))?)) {
        return Ok(LOST);
    }
    match mux.open(command, [stdio.stdin.as_fd(), stdio.stdout.as_fd(), stdio.stderr.as_fd()]) {
        Ok(Opened::Yes) => {
            let code = mux.ended().map_err(|e| failed(&e))?;
            Ok(code.map_or(LOST, |code| Ended { origin: Origin::Guest, code: Some(code), signal: None }))
        }
        Ok(Opened::No) | Err(_) => by_itself(alone, stdio, work),
    }
}

/// The command over a connection of its own.
fn by_itself(plan: &Plan, stdio: &Stdio, work: &Mutex<Work>) -> Result<Ended> {
    let copies = || Ok((stdio.stdin.try_clone()?, stdio.stdout.try_clone()?, stdio.stderr.try_clone()?));
    let (stdin, stdout, stderr) = copies().map_err(|e| failed(&e))?;
    let mut command = Command::new(&plan.program);
    // A group of its own: keys of the user's terminal are for the guest, who is told.
    command.args(plan.args.iter().map(|word| word.as_os_str())).current_dir("/").process_group(0);
    command.env_clear().envs(["HOME", "PATH"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let pid = {
        // Held until the child is noted: an end that comes meanwhile waits for it.
        let mut work = lock(work);
        if matches!(*work, Work::Over) {
            return Ok(LOST);
        }
        let child = command.spawn().map_err(|e| failed(&e))?;
        let pid = Pid::from_raw(child.id().cast_signed());
        *work = Work::Alone(child);
        pid
    };
    drop(command);
    // Without reaping: until it is taken from its place, whoever ends it can name it.
    while let Err(nix::Error::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
    let Work::Alone(mut child) = std::mem::replace(&mut *lock(work), Work::Over) else { return Ok(LOST) };
    let status = child.wait().map_err(|e| failed(&e))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Ended { origin: Origin::Backend, code, signal: status.signal() })
}

/// An end that says nothing of the guest's: only its first process does. `ssh` has a code for it.
const LOST: Ended = Ended { origin: Origin::Backend, code: Some(255), signal: None };

fn failed(e: &std::io::Error) -> Error {
    Error::new(ErrorKind::ToolFailed, "the command could not be handed to the machine").cause(e.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    fn stdio() -> Stdio {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        Stdio { stdin: null(), stdout: null(), stderr: null() }
    }

    fn plan(script: &str) -> Plan {
        Plan { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()], ..Plan::default() }
    }

    #[test]
    fn what_is_not_taken_runs_by_itself_and_its_status_is_not_the_guests() {
        let ended = by_itself(&plan("exit 7"), &stdio(), &Mutex::default()).unwrap();
        assert_eq!((ended.origin, ended.code), (Origin::Backend, Some(7)));
    }

    #[test]
    fn an_end_reaches_it_whenever_it_comes() {
        let work = Arc::new(Mutex::new(Work::None));
        let running = Arc::clone(&work);
        let waiting = thread::spawn(move || by_itself(&plan("exec sleep 1000"), &stdio(), &running));
        while !matches!(*lock(&work), Work::Alone(_)) {
            thread::yield_now();
        }
        end(&work);
        assert_eq!(waiting.join().unwrap().unwrap(), LOST);
        // Nothing begins after it.
        assert_eq!(by_itself(&plan("exit 7"), &stdio(), &work).unwrap(), LOST);
    }
}
