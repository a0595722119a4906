//! What the connections of one run share, and how one request gets its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use workmux_guest::words::{Answer, Code};

use super::family::FamilyRequest;
use super::latest::Latest;
use super::rate::Bucket;
use super::request::{Request, parse};
use super::spawns::Spawns;
use super::{HostActions, Limits, Refusal, Token};
use crate::multiplexer::{Status, Title};
use crate::text;

/// Characters of one note.
const NOTE: usize = 300;

/// What all connections of a run share.
pub(super) struct Desk {
    pub(super) limits: Limits,
    pub(super) token: Token,
    /// Slots of connections that have shown the token.
    pub(super) seats: Arc<Semaphore>,
    pub(super) spawns: Spawns,
    actions: Arc<dyn HostActions>,
    rate: Bucket,
    family: Bucket,
    notes: Bucket,
    statuses: Latest<(Status, Option<String>)>,
    titles: Latest<Title>,
}

impl Desk {
    pub(super) fn new(token: Token, actions: Arc<dyn HostActions>, limits: Limits) -> Self {
        Self {
            token,
            seats: Arc::new(Semaphore::new(limits.connections)),
            spawns: Spawns::new(&limits),
            actions,
            rate: Bucket::new(limits.status),
            family: Bucket::new(limits.family),
            notes: Bucket::new(limits.notes),
            statuses: Latest::new(),
            titles: Latest::new(),
            limits,
        }
    }

    /// The answer to one request line: messages, then how it ended. Only a line that is no text at all ends the connection (`Err`).
    pub(super) async fn answer(&self, line: &[u8]) -> Result<Vec<Answer>, Refusal> {
        let line = std::str::from_utf8(line).map_err(|_| Refusal::new(Code::Malformed, "a line is not UTF-8"))?;
        let outcome = match parse(line, &self.limits) {
            Ok(request) => self.carry_out(request).await,
            Err(refusal) => Err(refusal),
        };
        Ok(match outcome {
            Ok(messages) => {
                let messages = messages.into_iter().map(|message| Answer::Output { message });
                messages.chain([Answer::Ok {}]).collect()
            }
            Err(refusal) => {
                self.note(&refusal);
                vec![refusal.answer()]
            }
        })
    }

    /// Records a refusal, unless there are too many to be worth reading.
    pub(super) fn note(&self, refusal: &Refusal) {
        if self.notes.take() {
            self.actions.note(&text::short(&format!("guest request refused: {refusal}"), NOTE), refusal.journaled);
        }
    }

    async fn carry_out(&self, request: Request) -> Result<Vec<String>, Refusal> {
        match request {
            Request::Heartbeat => Ok(()),
            Request::Family(request) => return self.ask(request).await,
            Request::SetStatus { status, prompt } => {
                let show = |(status, prompt)| self.actions.set_status(status, prompt);
                self.show(self.statuses.wish((status, prompt), show)).await
            }
            Request::SetTitle { title } => {
                self.show(self.titles.wish(title, |title| self.actions.set_title(title))).await
            }
            Request::SpawnAgent { id, request } => self.spawns.spawn(id, request, &self.actions).await,
        }
        .map(|()| Vec::new())
    }

    async fn ask(&self, request: FamilyRequest) -> Result<Vec<String>, Refusal> {
        if !self.family.take() {
            return Err(Refusal::new(Code::Quota, "too many requests about agents; slow down"));
        }
        let (answers, deadline) = (request.answers(), request.deadline(&self.limits));
        let messages = in_time(deadline, self.actions.family(request)).await?;
        FamilyRequest::fit(answers, &messages, self.limits.output)
    }

    async fn show(&self, work: impl Future<Output = Result<(), Refusal>>) -> Result<(), Refusal> {
        if !self.rate.take() {
            return Err(Refusal::new(Code::Quota, "too many statuses and titles; slow down"));
        }
        in_time(self.limits.request, work).await
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let late = || Refusal::new(Code::Timeout, format!("not done within {} s", limit.as_secs()));
    if crate::mutant::off("p51_deadline") {
        return work.await;
    }
    timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

/// An answer as it goes over the wire.
pub(super) fn encode(answer: &Answer) -> Vec<u8> {
    // Strings and numbers: there is nothing in an answer that JSON cannot say.
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}
