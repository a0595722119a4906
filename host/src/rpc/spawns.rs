//! The `SpawnAgent` requests of a run: how often, how long, and each `request_id` only once (P39, P40).
//!
//! A spawn outlives the connection that asked for it (P53): it runs to its end or its deadline, and asking again with
//! its id, on any connection, gives its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use workmux_guest::words::Code;

use super::rate::Bucket;
use super::{HostActions, Limits, Refusal, SpawnAgent};

type Outcome = watch::Receiver<Option<Result<(), Refusal>>>;

/// All spawns of one run.
pub(super) struct Spawns {
    rate: Bucket,
    limits: Limits,
    state: Mutex<State>,
}

struct State {
    by_id: HashMap<String, Outcome>,
    running: JoinSet<()>,
}

impl Spawns {
    pub(super) fn new(limits: &Limits) -> Self {
        let state = State { by_id: HashMap::new(), running: JoinSet::new() };
        Self { rate: Bucket::new(limits.spawns), limits: limits.clone(), state: Mutex::new(state) }
    }

    /// Starts a spawn, or finds the one with this id, and waits for its outcome.
    pub(super) async fn spawn(
        &self,
        id: Option<String>,
        request: SpawnAgent,
        actions: &Arc<dyn HostActions>,
    ) -> Result<(), Refusal> {
        if crate::mutant::off("p53_own_task") {
            return actions.spawn_agent(request).await;
        }
        let mut outcome = self.start(id, request, actions)?;
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(Refusal::internal())),
            // Its task panicked or was ended.
            Err(_) => Err(Refusal::internal()),
        }
    }

    fn start(
        &self,
        id: Option<String>,
        request: SpawnAgent,
        actions: &Arc<dyn HostActions>,
    ) -> Result<Outcome, Refusal> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.running.try_join_next().is_some() {}
        if let Some(known) = id.as_ref().and_then(|id| state.by_id.get(id)) {
            return Ok(known.clone());
        }
        if id.is_some() && state.by_id.len() >= self.limits.request_ids {
            return Err(Refusal::new(Code::Quota, "this run has used too many request ids"));
        }
        if !self.rate.take() {
            return Err(Refusal::new(Code::Quota, "too many agents asked for at once; try again in a minute"));
        }
        let (tell, outcome) = watch::channel(None);
        let (actions, deadline) = (actions.clone(), self.limits.spawn);
        state.running.spawn(async move {
            let done = timeout(deadline, actions.spawn_agent(request)).await.unwrap_or_else(|_| {
                Err(Refusal::new(Code::Timeout, format!("no agent within {} s; given up", deadline.as_secs())))
            });
            let _nobody_waits = tell.send(Some(done));
        });
        if let Some(id) = id {
            state.by_id.insert(id, outcome.clone());
        }
        Ok(outcome)
    }

    /// Waits for the spawns under way; those that are not done by `until` are dropped.
    pub(super) async fn finish(&self, until: Instant) {
        let mut running = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut state.running)
        };
        let all = async { while running.join_next().await.is_some() {} };
        if timeout_at(until, all).await.is_err() {
            running.shutdown().await;
        }
    }
}
