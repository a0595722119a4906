//! The signals a supervisor acts on. Those a terminal's keys make reach the guest as bytes through its own terminal,
//! so what arrives here was sent to us on purpose.

use std::future::Future;
use std::io;

use nix::sys::signal::{Signal, raise};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sudden {
    /// The run should end.
    End(Signal),
    /// Job control stops us.
    Stop,
    /// The terminal has another size.
    Resize,
}

/// A signal ended a run before its command had begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ended by {0}")]
pub struct Interrupted(pub Signal);

/// The streams, installed before there is anything to leave behind.
pub struct Signals {
    interrupt: Stream,
    terminate: Stream,
    hangup: Stream,
    quit: Stream,
    stop: Stream,
    resize: Stream,
}

impl Signals {
    /// Installs them. They stay: from here on these signals end this process only where it says so.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    /// Does `work`, unless a signal asks for the end meanwhile.
    ///
    /// # Errors
    /// The signal; `work` was dropped.
    pub async fn unless_interrupted<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                sudden = self.next() => match sudden {
                    Sudden::End(signal) => return Err(Interrupted(signal)),
                    Sudden::Stop => stop_ourselves(),
                    Sudden::Resize => {}
                },
            }
        }
    }

    /// The next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Sudden {
        tokio::select! {
            _ = self.interrupt.recv() => Sudden::End(Signal::SIGINT),
            _ = self.terminate.recv() => Sudden::End(Signal::SIGTERM),
            _ = self.hangup.recv() => Sudden::End(Signal::SIGHUP),
            _ = self.quit.recv() => Sudden::End(Signal::SIGQUIT),
            _ = self.stop.recv() => Sudden::Stop,
            _ = self.resize.recv() => Sudden::Resize,
        }
    }
}

/// Stops this process; returns when somebody continues it.
pub(crate) fn stop_ourselves() {
    let _cannot_fail = raise(Signal::SIGSTOP);
}
