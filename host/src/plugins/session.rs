//! A command that a backend runs itself, as the supervisor drives it.
//!
//! Running it, signals and sizes are the library's code, and so is its destructor: none of that on our threads.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use workmux_plugin_api::abi::import::LoadedSession;
use workmux_plugin_api::{Ended, Error, SessionInfo};

use super::backend::{CallError, lost_error};
use super::trace::Trace;
use super::{answers, call, crash};

/// A command that the backend runs itself.
pub struct Session {
    backend: &'static str,
    object: Mutex<Option<LoadedSession>>,
    controls: SyncSender<Control>,
    info: Arc<SessionInfo>,
    trace: Option<Arc<Trace>>,
}

enum Control {
    Signal(i32),
    Resize(u16, u16),
    Drop(LoadedSession),
}

/// Signals and sizes waiting for a backend that is slow to take them; more are lost.
const MAX_CONTROLS: usize = 64;

impl Session {
    pub(super) fn new(backend: &'static str, object: LoadedSession, trace: Option<Arc<Trace>>) -> Result<Self, Error> {
        let (controls, todo) = sync_channel(MAX_CONTROLS);
        let (controlled, info) = (object.clone(), Arc::clone(object.info()));
        call::thread(backend, move || {
            let _named = crash::inside(backend);
            for control in todo {
                match control {
                    Control::Signal(signal) => controlled.signal(signal),
                    Control::Resize(rows, columns) => controlled.resize(rows, columns),
                    Control::Drop(object) => drop(object),
                }
            }
        })?;
        Ok(Self { backend, object: Mutex::new(Some(object)), controls, info, trace })
    }

    /// Runs the command to its end over these descriptors: standard input, output and error. Once. Has no deadline;
    /// dropping the future ends the command.
    pub async fn run(&self, stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> Result<Ended, CallError> {
        let failed =
            |error| CallError { backend: self.backend.to_owned(), verb: "session", error: answers::error(error) };
        let object = self.object.lock().unwrap_or_else(PoisonError::into_inner).take();
        let object = object.ok_or_else(|| failed(Error::internal("the session was run before")))?;
        let timed = Trace::begin(self.trace.as_ref(), self.backend, "session");
        let running = call::start(self.backend, move |_timers| async move { object.run(stdin, stdout, stderr).await });
        let answer = match running {
            Ok(running) => running.outcome().await,
            Err(e) => Err(e),
        };
        let answer =
            answer.unwrap_or_else(|lost| Err(lost_error("session", lost))).and_then(answers::ended).map_err(failed);
        timed.end(&answer);
        answer
    }

    /// What the backend says of it.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// Sends a signal to the command, soon.
    pub fn signal(&self, signal: i32) {
        let _lost = self.controls.try_send(Control::Signal(signal));
    }

    /// Tells the terminal's size, soon.
    pub fn resize(&self, rows: u16, columns: u16) {
        let _lost = self.controls.try_send(Control::Resize(rows, columns));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Its destructor is the library's code: not on this thread, and rather never than here.
        if let Some(object) = self.object.get_mut().unwrap_or_else(PoisonError::into_inner).take()
            && let Err(e) = self.controls.try_send(Control::Drop(object))
        {
            std::mem::forget(e);
        }
    }
}
