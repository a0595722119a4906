//! Accepts connections, gives each a slot and a task of its own, and closes them all in the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::answer::{Desk, encode};
use super::connection::{Stop, serve, too_many};
use super::listener::Stream;
use super::{HostActions, Limits, Listener, Refusal, Token};

/// What to wait when the system has no descriptor for a new connection.
const RETRY: Duration = Duration::from_millis(100);

/// The RPC service of one run. Dropping it ends it at once; [`Server::drain`] lets it finish.
#[derive(Debug)]
pub struct Server {
    accepting: JoinHandle<()>,
    stop: watch::Sender<Option<Instant>>,
    #[cfg(test)]
    pub(super) strangers: Arc<Semaphore>,
    #[cfg(test)]
    pub(super) seats: Arc<Semaphore>,
}

impl Server {
    /// Serves `listener` on the current runtime.
    pub fn start(listener: Listener, token: Token, actions: Arc<dyn HostActions>, limits: Limits) -> Self {
        let strangers = Arc::new(Semaphore::new(limits.strangers));
        let desk = Arc::new(Desk::new(token, actions, limits));
        let (stop, stopping) = watch::channel(None);
        Self {
            stop,
            #[cfg(test)]
            strangers: strangers.clone(),
            #[cfg(test)]
            seats: desk.seats.clone(),
            accepting: tokio::spawn(accept(listener, desk, strangers, stopping)),
        }
    }

    /// Takes no new connection, answers what has already been asked, and closes; after `grace`, whatever is unfinished.
    pub async fn drain(mut self, grace: Duration) {
        let _ended_before = self.stop.send(Some(Instant::now() + grace));
        let _panicked = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: Listener, desk: Arc<Desk>, strangers: Arc<Semaphore>, mut stop: Stop) {
    let mut connections = JoinSet::new();
    let until = loop {
        tokio::select! {
            until = stopping(&mut stop) => break until,
            Some(ended) = connections.join_next() => {
                // A panic took its own connection with it, and no more (P52).
                if let Err(broken) = ended {
                    assert!(!crate::mutant::off("p52_alone"), "{broken}");
                    desk.note(&Refusal::internal());
                }
            }
            accepted = listener.accept() => match accepted {
                Ok(stream) => {
                    admit(stream, &desk, &strangers, &stop, &mut connections);
                    if crate::mutant::off("p55_at_once") {
                        drop(connections.join_next().await);
                    }
                    // Lets a guest that sent its token at once give its slot back before the next is counted.
                    tokio::task::yield_now().await;
                }
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(_) => tokio::time::sleep(RETRY).await,
            },
        }
    };
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout_at(until, all).await.is_err() {
        connections.shutdown().await;
    }
    desk.spawns.finish(until).await;
}

fn admit(stream: Stream, desk: &Arc<Desk>, strangers: &Arc<Semaphore>, stop: &Stop, connections: &mut JoinSet<()>) {
    let Ok(slot) = strangers.clone().try_acquire_owned() else {
        stream.turn_away(&encode(&too_many().answer()));
        return;
    };
    match stream {
        Stream::Unix(stream) => connections.spawn(serve(stream, desk.clone(), slot, stop.clone())),
        Stream::Tcp(stream) => connections.spawn(serve(stream, desk.clone(), slot, stop.clone())),
    };
}

/// Until the service is being closed: by when. Its owner being gone closes it at once.
async fn stopping(stop: &mut Stop) -> Instant {
    let until = stop.wait_for(Option::is_some).await.ok().and_then(|until| *until);
    until.unwrap_or_else(Instant::now)
}
