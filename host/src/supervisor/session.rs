//! A command that a backend runs itself, as something to wait for, signal and end.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use workmux_plugin_api::{Ended, Origin};

use crate::plugins::{CallError, Session};

type Outcome = Result<Ended, CallError>;

/// A session under way. The backend's code runs on a thread of its own; dropping the future ends the command.
pub(super) struct RunningSession {
    session: Arc<Session>,
    run: Run,
}

enum Run {
    Going(Pin<Box<dyn Future<Output = Outcome>>>),
    /// We ended it, and nobody was told yet.
    Killed,
    Over,
}

impl RunningSession {
    pub(super) fn start(session: Session, [stdin, stdout, stderr]: [OwnedFd; 3]) -> Self {
        let session = Arc::new(session);
        let running = Arc::clone(&session);
        Self { session, run: Run::Going(Box::pin(async move { running.run(stdin, stdout, stderr).await })) }
    }

    /// Its end. Pending for ever once told.
    pub(super) async fn wait(&mut self) -> Outcome {
        let outcome = match &mut self.run {
            Run::Going(run) => run.await,
            Run::Killed => Ok(Ended { origin: Origin::Backend, code: None, signal: Some(libc::SIGKILL) }),
            Run::Over => std::future::pending().await,
        };
        self.run = Run::Over;
        outcome
    }

    pub(super) fn signal(&self, signal: i32) {
        self.session.signal(signal);
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) {
        self.session.resize(rows, columns);
    }

    pub(super) fn end(&mut self) {
        if matches!(self.run, Run::Going(_)) {
            self.run = Run::Killed;
        }
    }
}
