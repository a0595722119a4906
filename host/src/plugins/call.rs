//! Runs a library's code on a thread of its own, so that what hangs there hangs nobody else.
//!
//! One thread per call. A call that is cancelled drops its future there, where destructors may hang as well; a thread
//! that does not come back is given up and costs only its memory.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::crash;

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Since the start or the last sign of life.
    pub(super) silence: Duration,
    /// In all.
    pub(super) total: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// The time is over.
    Deadline(Duration),
    /// The thread ended without one: a panic that nothing caught.
    Died,
    /// It could not be started.
    Thread(io::Error),
}

/// What a cancelled call gets to drop what it owns, before this process may go on and end.
const DROP: Duration = Duration::from_millis(500);

/// A call under way; dropping it cancels it.
pub(super) struct Running<T> {
    answer: oneshot::Receiver<T>,
    answered: bool,
    /// Its end is the signal.
    cancel: Option<oneshot::Sender<Infallible>>,
    /// Ends when the call's future has been dropped.
    dropped: mpsc::Receiver<Infallible>,
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        drop(self.cancel.take());
        if !self.answered {
            // What it owns may be files; a destructor that hangs is given up.
            let _gone = self.dropped.recv_timeout(DROP);
        }
    }
}

/// Starts a call into the library of this backend. `make` gets the thread's runtime, which only has timers.
pub(super) fn start<T, F>(
    backend: &'static str,
    make: impl FnOnce(Handle) -> F + Send + 'static,
) -> Result<Running<T>, Lost>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (answered, answer) = oneshot::channel();
    let (cancel, cancelled) = oneshot::channel::<Infallible>();
    let runtime = Builder::new_current_thread().enable_time().build().map_err(Lost::Thread)?;
    let (end, dropped) = mpsc::sync_channel::<Infallible>(0);
    let body = move || {
        let _named = crash::inside(backend);
        let handle = runtime.handle().clone();
        let _end = end;
        runtime.block_on(async move {
            tokio::select! {
                biased;
                _ = cancelled => {}
                answer = make(handle) => drop(answered.send(answer)),
            }
        });
    };
    thread(backend, body).map_err(Lost::Thread)?;
    Ok(Running { answer, answered: false, cancel: Some(cancel), dropped })
}

impl<T> Running<T> {
    /// Waits without end.
    pub(super) async fn outcome(mut self) -> Result<T, Lost> {
        let answer = (&mut self.answer).await;
        self.answered = true;
        answer.map_err(|_| Lost::Died)
    }

    /// Waits; `alive` tells of signs of life. Needs a runtime with timers.
    pub(super) async fn within(&mut self, patience: Patience, alive: &Notify) -> Result<T, Lost> {
        let Patience { silence, total } = match crate::mutant::off("p77_deadline") {
            true => Patience { silence: Duration::from_secs(86400), total: Duration::from_secs(86400) },
            false => patience,
        };
        let end = Instant::now() + total;
        let mut until = (Instant::now() + silence).min(end);
        loop {
            tokio::select! {
                biased;
                answer = &mut self.answer => {
                    self.answered = true;
                    return answer.map_err(|_| Lost::Died);
                }
                () = tokio::time::sleep_until(until) => return Err(Lost::Deadline(if until == end { total } else { silence })),
                () = alive.notified() => until = (Instant::now() + silence).min(end),
            }
        }
    }
}

/// Runs blocking code of a library.
pub(super) fn blocking<T: Send + 'static>(
    backend: &'static str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Lost> {
    let (answered, answer) = mpsc::sync_channel(1);
    let body = move || {
        let _named = crash::inside(backend);
        let _nobody_waits = answered.send(work());
    };
    thread(backend, body).map_err(Lost::Thread)?;
    answer.recv_timeout(limit).map_err(|e| match e {
        mpsc::RecvTimeoutError::Timeout => Lost::Deadline(limit),
        mpsc::RecvTimeoutError::Disconnected => Lost::Died,
    })
}

/// A detached thread that bears the backend's name.
pub(super) fn thread(backend: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(format!("backend {backend}")).spawn(body).map(drop)
}
