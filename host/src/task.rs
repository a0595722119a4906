//! Runs asynchronous work from a command that is not a session.

use std::cell::RefCell;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use color_eyre::eyre::{Report, Result, WrapErr as _};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Failure, hinted};
use crate::supervisor::{Interrupted, Signals};

/// Runs it to its end; a backend's thread that hangs is not waited for.
///
/// # Errors
/// Its own, or there is no runtime.
pub(crate) fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().wrap_err("cannot start")?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

/// Runs work that a signal may end, so that what it started is ended too. `what` was being done then.
///
/// # Errors
/// Its own, or the signal.
pub(crate) fn interruptible(what: &str, work: impl Future<Output = Result<u8>>) -> Result<u8, Failure> {
    let both = async {
        let mut signals = Signals::install().wrap_err("cannot listen for signals")?;
        Ok::<_, Report>(signals.unless_interrupted(work).await)
    };
    match run(both)? {
        Ok(outcome) => Ok(outcome?),
        Err(Interrupted(signal)) => Err(Failure {
            report: hinted(format!("{what} was interrupted"), "what was there before is unchanged: type it again"),
            code: 128u8.saturating_add(signal as u8),
        }),
    }
}

/// From here on this process outlasts its terminal: what it does may be what closes it.
///
/// # Errors
/// There is no runtime.
pub(crate) fn outlast_terminal() -> Result<()> {
    // Once listened to, a signal never ends the process again; programs started from here are ended by it as ever.
    run(async { signal(SignalKind::hangup()).map(drop).wrap_err("cannot listen for signals") })
}

thread_local! {
    /// What ends the work that this thread is at.
    static OUTER: RefCell<Option<Arc<Stop>>> = const { RefCell::new(None) };
}

/// Whether a signal came that asks for the end.
pub(crate) struct Stop {
    came: AtomicU8,
    /// Readable once one came.
    event: EventFd,
}

impl Stop {
    /// Fails once a signal came.
    pub(crate) fn check(&self) -> Result<()> {
        match self.came.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(Report::msg("interrupted: what was begun is taken back")),
        }
    }

    /// The signal that came.
    pub(crate) fn signal(&self) -> Option<Signal> {
        Signal::try_from(i32::from(self.came.load(Ordering::Relaxed))).ok()
    }

    /// For who waits for something else.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Runs blocking work that undoes what it did where a signal comes: it asks between its steps.
///
/// # Errors
/// Its own, or there is no runtime.
pub(crate) fn stoppable<T>(work: impl FnOnce(&Stop) -> Result<T>) -> Result<T, Failure> {
    stoppable_by(|_| true, work)
}

/// As [`stoppable`], by those signals only. Inside other such work of this thread what ends that ends this: two that listen
/// would each stop the process where the terminal's key asks for it.
///
/// # Errors
/// Its own, or there is no runtime.
pub(crate) fn stoppable_by<T>(ends: fn(Signal) -> bool, work: impl FnOnce(&Stop) -> Result<T>) -> Result<T, Failure> {
    if let Some(outer) = OUTER.with_borrow(Clone::clone) {
        return Ok(work(&outer)?);
    }
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(Report::new)?;
    let stop = Arc::new(Stop { came: AtomicU8::new(0), event });
    let (done, mut over) = tokio::sync::oneshot::channel::<()>();
    let (ready, begun) = std::sync::mpsc::channel();
    let outcome = std::thread::scope(|scope| {
        let stop: &Arc<Stop> = &stop;
        scope.spawn(move || {
            let listening = run(async {
                let mut signals = Signals::install().wrap_err("cannot listen for signals")?;
                let _waits = ready.send(Ok(()));
                while let Err(Interrupted(signal)) = signals.unless_interrupted(&mut over).await {
                    if ends(signal) {
                        stop.came.store(signal as u8, Ordering::Relaxed);
                        let _full = stop.event.write(1);
                        break;
                    }
                }
                Ok(())
            });
            if let Err(e) = listening {
                let _waits = ready.send(Err(e));
            }
        });
        begun.recv().wrap_err("cannot listen for signals")??;
        OUTER.set(Some(stop.clone()));
        let outcome = work(stop);
        OUTER.set(None);
        drop(done);
        outcome
    });
    outcome.map_err(|report| match stop.came.load(Ordering::Relaxed) {
        0 => Failure::from(report),
        signal => Failure { report, code: 128u8.saturating_add(signal) },
    })
}
