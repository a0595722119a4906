//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};
use workmux_guest::words::{Answer, Code};

use super::Refusal;
use super::answer::{Desk, encode};
use super::lines::{Lines, TooLong};
use super::opening;

/// When the service is to be over: nothing new is begun once this is set.
pub(super) type Stop = watch::Receiver<Option<Instant>>;

/// Why a connection ends.
enum End {
    /// The guest is done, gone, or silent for too long.
    Quiet,
    /// The service is being closed.
    Stopped,
    /// The guest is told why, then closed.
    Refused(Refusal),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Quiet
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Serves one connection. It takes a stranger's slot until the token is shown, a seat afterwards.
pub(super) async fn serve<S>(stream: S, desk: Arc<Desk>, stranger: OwnedSemaphorePermit, stop: Stop)
where
    S: AsyncRead + AsyncWrite,
{
    let (read, write) = tokio::io::split(stream);
    let lines = Lines::new(read, desk.limits.line);
    let mut connection = Connection { lines, write, slot: stranger, stop, desk };
    let Err(end) = connection.converse().await;
    connection.close(end).await;
    if crate::mutant::off("p56_slot") {
        std::mem::forget(connection.slot);
    }
}

struct Connection<R, W> {
    lines: Lines<R>,
    write: W,
    /// Held until the last byte: a client that is being refused counts too.
    slot: OwnedSemaphorePermit,
    stop: Stop,
    desk: Arc<Desk>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    async fn converse(&mut self) -> Result<Infallible, End> {
        let first_line = self.desk.limits.first_line;
        let late = || Refusal::new(Code::Timeout, "no first line in time");
        let offered = within(first_line, self.open()).await.ok_or_else(late)??;
        match self.desk.seats.clone().try_acquire_owned() {
            Ok(seat) => self.slot = seat,
            Err(_) => return Err(too_many().into()),
        }
        if let Some(protocol) = offered {
            self.send(&Answer::Hello { protocol }).await?;
        }
        loop {
            let line = self.next().await?;
            let line = line.trim_ascii();
            if !line.is_empty() {
                for answer in self.desk.answer(line).await? {
                    self.send(&answer).await?;
                }
            }
        }
    }

    /// The first line: the token, or nothing.
    async fn open(&mut self) -> Result<Option<u32>, End> {
        loop {
            let strict = !crate::mutant::off("p47_first_line");
            if strict && !opening::plausible(self.lines.pending()) {
                return Err(opening::not_ours().into());
            }
            let limits = &self.desk.limits;
            match self.lines.take().map_err(|TooLong| too_long(limits.line))? {
                Some(line) => match opening::check(&line, &self.desk.token, limits) {
                    Err(_) if !strict => {}
                    checked => return Ok(checked?),
                },
                None if self.lines.ended() => return Err(End::Quiet),
                None => tokio::select! {
                    biased;
                    filled = self.lines.fill() => filled?,
                    () = stopped(&mut self.stop) => return Err(End::Stopped),
                },
            }
        }
    }

    /// The next line. Idling may take long; a line that has begun may not.
    async fn next(&mut self) -> Result<Vec<u8>, End> {
        let limits = &self.desk.limits;
        let mut begun = None;
        loop {
            if let Some(line) = self.lines.take().map_err(|TooLong| too_long(limits.line))? {
                return Ok(line);
            }
            if self.lines.ended() {
                return Err(End::Quiet);
            }
            if !self.lines.pending().is_empty() {
                begun.get_or_insert_with(Instant::now);
            }
            let left = begun.map_or(limits.idle, |at| limits.request.saturating_sub(at.elapsed()));
            let filled = within(left, async {
                tokio::select! {
                    // What the guest sent before the end is answered before the end.
                    biased;
                    filled = self.lines.fill() => filled.map_err(End::from),
                    () = stopped(&mut self.stop) => Err(End::Stopped),
                }
            });
            match filled.await {
                Some(filled) => filled?,
                None if begun.is_some() => {
                    return Err(Refusal::new(Code::Timeout, "a line was not finished in time").into());
                }
                None => return Err(End::Quiet),
            }
        }
    }

    async fn send(&mut self, answer: &Answer) -> Result<(), End> {
        // A guest that does not read its answers gets no more of them.
        within(self.desk.limits.request, self.write.write_all(&encode(answer))).await.ok_or(End::Quiet)??;
        Ok(())
    }

    /// Says why, if there is a reason, and waits a moment for the guest to read it: closing at once could take it back.
    async fn close(&mut self, end: End) {
        let said = match &end {
            End::Refused(refusal) => {
                self.desk.note(refusal);
                self.send(&refusal.answer()).await
            }
            End::Stopped => return,
            End::Quiet => Ok(()),
        };
        if said.is_ok() {
            let farewell = async {
                self.write.shutdown().await?;
                self.lines.discard().await
            };
            let _gone_anyway = tokio::time::timeout(self.desk.limits.linger, farewell).await;
        }
    }
}

/// Until the service is being closed, and what has arrived by then is known.
async fn stopped(stop: &mut Stop) {
    drop(stop.wait_for(Option::is_some).await);
    // Lets the runtime look at its sockets once more.
    tokio::task::yield_now().await;
}

/// The refusal of a connection that finds every slot taken.
pub(super) fn too_many() -> Refusal {
    Refusal::new(Code::Quota, "too many connections")
}

fn too_long(limit: usize) -> Refusal {
    Refusal::new(Code::TooLarge, format!("a line is longer than {limit} bytes"))
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    if crate::mutant::off("p48_deadline") { Some(work.await) } else { timeout(limit, work).await.ok() }
}
