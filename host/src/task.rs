//! Runs asynchronous work from a command that is not a session.

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
