//! What the host does for a backend during one call: runs tools, waits, takes its events.
//!
//! Everything here ends with the call, also where the backend's own thread hangs: [`Services::end`] is called by the
//! one who waited. The backend may poll these futures on a thread of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use workmux_plugin_api::abi::import::HostServices;
use workmux_plugin_api::{Error, ErrorKind, Level, Result, Step, Tool, ToolOutput, async_trait};

use super::backend::Events;
use super::call;
use super::toolbox::Toolbox;
use super::trace::{Outcome as _, Trace};
use crate::tool::stream::{Happened, Stream, TIDY};
use crate::tool::{self, Cancel, ToolError};

/// Tools of one call that may run at the same time.
const MAX_TOOLS: usize = 32;
/// Longest wait or tool; the call's own deadline is what counts.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// What killing a call's tools may take before it is left to itself.
const KILL: Duration = Duration::from_secs(1);

/// The services of one call.
pub(super) struct Services {
    backend: &'static str,
    toolbox: Arc<Toolbox>,
    events: Arc<dyn Events>,
    timers: Handle,
    shared: Arc<Shared>,
    trace: Option<Arc<Trace>>,
}

/// The side of a call's services that outlives its thread.
pub(super) struct Shared {
    /// Told of each progress event.
    pub(super) alive: Notify,
    tools: Mutex<Tools>,
    streams: Mutex<BTreeMap<u64, Arc<Stream>>>,
    ended: Condvar,
    log: Mutex<Meter>,
    progress: Mutex<Meter>,
    /// Bytes of the request and of the answer.
    exchanged: Mutex<(usize, usize)>,
}

#[derive(Default)]
struct Tools {
    closed: bool,
    next: u64,
    running: BTreeMap<u64, Cancel>,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            alive: Notify::new(),
            tools: Mutex::default(),
            streams: Mutex::default(),
            ended: Condvar::new(),
            log: Mutex::new(Meter::new(50, 10)),
            progress: Mutex::new(Meter::new(20, 20)),
            exchanged: Mutex::default(),
        })
    }

    /// The call is over: its tools are killed, and no new one starts. Returns when they are gone.
    pub(super) fn end(&self) {
        let mut tools = lock(&self.tools);
        tools.closed = true;
        tools.running.values().for_each(Cancel::cancel);
        let patience = if lock(&self.streams).is_empty() { KILL } else { KILL + TIDY };
        let _gone = self.ended.wait_timeout_while(tools, patience, |tools| !tools.running.is_empty());
    }

    /// How much went to the backend and came back.
    pub(super) fn exchanged(&self) -> (usize, usize) {
        *lock(&self.exchanged)
    }

    fn stream(&self, number: u64) -> Result<Arc<Stream>> {
        let found = lock(&self.streams).get(&number).map(Arc::clone);
        found.ok_or_else(|| Error::internal(format!("asked for a tool number {number}, which there is not")))
    }

    fn is_over(&self) -> bool {
        lock(&self.tools).closed
    }

    fn begin(self: &Arc<Self>) -> Result<Ticket> {
        let mut tools = lock(&self.tools);
        if tools.closed {
            return Err(Error::new(ErrorKind::Cancelled, "the call is over"));
        }
        if tools.running.len() >= MAX_TOOLS {
            return Err(Error::new(ErrorKind::LimitHit, format!("more than {MAX_TOOLS} tools at once")));
        }
        let cancel = Cancel::new()?;
        tools.next += 1;
        let number = tools.next;
        tools.running.insert(number, cancel.clone());
        Ok(Ticket { shared: Arc::clone(self), number, cancel })
    }
}

/// A running tool's place in the list.
struct Ticket {
    shared: Arc<Shared>,
    number: u64,
    cancel: Cancel,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.shared.tools).running.remove(&self.number);
        self.shared.ended.notify_all();
    }
}

impl Services {
    pub(super) fn new(
        backend: &'static str,
        toolbox: Arc<Toolbox>,
        events: Arc<dyn Events>,
        timers: Handle,
        shared: Arc<Shared>,
        trace: Option<Arc<Trace>>,
    ) -> Self {
        Self { backend, toolbox, events, timers, shared, trace }
    }
}

#[async_trait]
impl HostServices for Services {
    async fn run(&self, tool: Tool) -> Result<ToolOutput> {
        let mut command = self.toolbox.command(&tool)?;
        let mut timed = Trace::tool(self.trace.as_ref(), self.backend, &tool);
        let (ticket, input) = (self.shared.begin()?, tool.input.len());
        let cancel = CancelOnDrop(ticket.cancel.clone());
        let deadline = match tool.deadline_ms {
            0 => tool::QUESTION,
            ms => Duration::from_millis(ms).min(LONGEST),
        };
        let (answered, answer) = oneshot::channel();
        call::thread(self.backend, move || {
            let output = tool::run_cancellable(&mut command, tool.input.as_bytes(), deadline, Some(&ticket.cancel));
            drop(ticket);
            let _cancelled = answered.send(output);
        })?;
        let output = answer.await.map_err(|_| Error::internal("a tool was lost"))?;
        drop(cancel);
        let output = output.map_err(tool_error);
        if let Ok(output) = &output {
            timed.bytes(input, output.stdout.len() + output.stderr.len());
        }
        timed.ended(|| match &output {
            Ok(output) => output.status.to_string(),
            Err(e) => e.outcome(),
        });
        let output = output?;
        Ok(ToolOutput {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    async fn start(&self, tool: Tool) -> Result<u64> {
        let command = self.toolbox.command(&tool)?;
        let ticket = self.shared.begin()?;
        let (number, cancel) = (ticket.number, ticket.cancel.clone());
        let timed = Trace::tool(self.trace.as_ref(), self.backend, &tool);
        let deadline = (tool.deadline_ms > 0).then(|| Duration::from_millis(tool.deadline_ms).min(LONGEST));
        let stream = Stream::start(command, tool.terminal, tool.work_goes_on, deadline, cancel, move || {
            drop(ticket);
            timed.ended(|| "over".to_owned());
        })
        .map_err(tool_error)?;
        lock(&self.shared.streams).insert(number, Arc::new(stream));
        Ok(number)
    }

    async fn next(&self, number: u64, within: Duration) -> Result<Step> {
        let stream = self.shared.stream(number)?;
        // Not on this thread's runtime, of which there may be none.
        let timer = self.timers.spawn(tokio::time::sleep(within.min(LONGEST)));
        let _stop = AbortOnDrop(timer.abort_handle());
        tokio::select! {
            biased;
            happened = stream.next() => match happened.map_err(tool_error)? {
                Happened::Printed(lines) => Ok(Step::Printed { lines }),
                Happened::Ended(code) => Ok(Step::Ended { code }),
            },
            _ = timer => Ok(Step::Quiet),
        }
    }

    async fn end(&self, number: u64) -> Result<()> {
        self.shared.stream(number)?.end().await;
        lock(&self.shared.streams).remove(&number);
        Ok(())
    }

    async fn sleep(&self, time: Duration) -> Result<()> {
        // A task of the call's runtime: this future may be polled where there is none.
        let timer = self.timers.spawn(tokio::time::sleep(time.min(LONGEST)));
        let _stop = AbortOnDrop(timer.abort_handle());
        timer.await.map_err(|_| Error::new(ErrorKind::Cancelled, "the call is over"))
    }

    fn exchanged(&self, asked: usize, answered: usize) {
        *lock(&self.shared.exchanged) = (asked, answered);
    }

    fn log(&self, level: Level, text: String) {
        // A thread that was given up does not go on talking.
        if self.shared.is_over() {
            return;
        }
        let Some(dropped) = lock(&self.shared.log).take() else { return };
        if dropped > 0 {
            self.events.log(self.backend, Level::Warning, &format!("{dropped} lines were left out"));
        }
        self.events.log(self.backend, level, &crate::text::line(&text));
    }

    fn progress(&self, text: String, done: u64, total: u64) {
        self.shared.alive.notify_one();
        if !self.shared.is_over() && lock(&self.shared.progress).take().is_some() {
            self.events.progress(self.backend, &crate::text::line(&text), done, total);
        }
    }
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn tool_error(error: ToolError) -> Error {
    let kind = match &error {
        ToolError::Missing { .. } => ErrorKind::MissingTool,
        ToolError::Deadline { .. } => ErrorKind::Timeout,
        ToolError::Flood { .. } => ErrorKind::LimitHit,
        ToolError::Cancelled { .. } => ErrorKind::Cancelled,
        ToolError::Start { .. } | ToolError::Io { .. } => ErrorKind::ToolFailed,
    };
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    let error = Error::new(kind, error.to_string());
    cause.into_iter().fold(error, Error::cause)
}

/// Lets a few through at once and a few each second.
struct Meter {
    burst: u32,
    per_second: u32,
    left: f64,
    at: Instant,
    dropped: u64,
}

impl Meter {
    fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second, left: f64::from(burst), at: Instant::now(), dropped: 0 }
    }

    /// Whether one more may pass; if so, how many could not since the last.
    fn take(&mut self) -> Option<u64> {
        let now = Instant::now();
        let gained = now.duration_since(self.at).as_secs_f64() * f64::from(self.per_second);
        self.left = (self.left + gained).min(f64::from(self.burst));
        self.at = now;
        if self.left < 1.0 {
            self.dropped += 1;
            return None;
        }
        self.left -= 1.0;
        Some(std::mem::take(&mut self.dropped))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
