//! Runs asynchronous work from a command that is not a session.

use std::sync::atomic::{AtomicU8, Ordering};

use color_eyre::eyre::{Report, Result, WrapErr as _};

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

/// Runs blocking work that undoes what it did where a signal comes: it asks between its steps.
///
/// # Errors
/// Its own, or there is no runtime.
pub(crate) fn stoppable<T>(work: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<T>) -> Result<T, Failure> {
    let came = AtomicU8::new(0);
    let (done, over) = tokio::sync::oneshot::channel::<()>();
    let (ready, begun) = std::sync::mpsc::channel();
    let outcome = std::thread::scope(|scope| {
        let came = &came;
        scope.spawn(move || {
            let listening = run(async {
                let mut signals = Signals::install().wrap_err("cannot listen for signals")?;
                let _waits = ready.send(Ok(()));
                if let Err(Interrupted(signal)) = signals.unless_interrupted(over).await {
                    came.store(signal as u8, Ordering::Relaxed);
                }
                Ok(())
            });
            if let Err(e) = listening {
                let _waits = ready.send(Err(e));
            }
        });
        begun.recv().wrap_err("cannot listen for signals")??;
        let outcome = work(&|| match came.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(Report::msg("interrupted: what was begun is taken back")),
        });
        drop(done);
        outcome
    });
    outcome.map_err(|report| match came.load(Ordering::Relaxed) {
        0 => Failure::from(report),
        signal => Failure { report, code: 128u8.saturating_add(signal) },
    })
}
