//! What the host does for a backend during a call: running tools, waiting, progress and log lines.
//!
//! A backend has no runtime of its own: its futures are driven by the host, so `tokio::process` and `tokio::time` do
//! not work inside them. These services do. Each belongs to one call and ends with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result, Word};

/// The host's side of [`Context`], implemented by the ABI's import half and by tests.
#[async_trait]
pub(crate) trait Services: Send + Sync {
    async fn invoke(&self, op: &str, body: String) -> Result<String>;
    fn emit(&self, event: String);
}

/// One call's way back to the host.
#[derive(Clone)]
pub struct Context {
    services: Arc<dyn Services>,
    facts: CallFacts,
    started: Instant,
}

/// What the host says with each call besides the request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CallFacts {
    /// Milliseconds.
    pub(crate) deadline_ms: u64,
    pub(crate) state_dir: PathBuf,
    pub(crate) tools: BTreeMap<String, PathBuf>,
}

/// A program to run to its end.
///
/// It runs with a cleared environment (the manifest's `tool_env` and `PATH` only), in a process group of its own,
/// which is killed at the deadline and when the call ends. Its output is bounded at 16 MiB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tool {
    /// A name from the manifest's `tools`, or an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<Word>,
    /// Variables on top of the manifest's.
    pub env: Vec<(String, Word)>,
    /// Bytes for its standard input, as text.
    pub input: String,
    /// Milliseconds; 0 = 30 s, or for [`Context::start`] as long as the call.
    pub deadline_ms: u64,
    /// For [`Context::start`]: its output goes to a pseudo-terminal, because some tools tell how far they are only there.
    pub terminal: bool,
    /// For [`Context::start`]: what it has started may go on when it is ended early, because it is whole by itself (a
    /// machine that boots). It alone is asked to end then.
    pub work_goes_on: bool,
}

/// What a tool left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolOutput {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output; bytes that are not UTF-8 replaced.
    pub stdout: String,
    /// Standard error; bytes that are not UTF-8 replaced.
    pub stderr: String,
}

/// What a tool that was started with [`Context::start`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// It printed these lines, on either stream. A carriage return ends a line too; what moves a cursor or colours is
    /// gone, and so are empty lines.
    Printed {
        /// The lines.
        lines: Vec<String>,
    },
    /// Nothing, for as long as was waited.
    Quiet,
    /// It ended.
    Ended {
        /// Its exit code; `None` when a signal ended it.
        code: Option<i32>,
    },
}

/// A tool that runs while the call goes on; ends with the call at the latest.
///
/// Ended early, the other programs it has started are killed, so that it can tidy up after them; where that does
/// not end it, it is asked to end by SIGTERM. 3 s later it is killed.
pub struct RunningTool<'a> {
    cx: &'a Context,
    number: u64,
}

impl RunningTool<'_> {
    /// What it does next, within this time. It waits in its output until somebody reads on.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] at the tool's deadline.
    pub async fn next(&mut self, within: Duration) -> Result<Step> {
        let question = NextStep { number: self.number, within_ms: millis(within) };
        self.cx.ask("tool.next", &question).await
    }

    /// Ends it; returns when it is gone.
    pub async fn end(self) -> Result<()> {
        self.cx.ask("tool.end", &self.number).await
    }
}

/// The question behind [`RunningTool::next`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct NextStep {
    pub(crate) number: u64,
    pub(crate) within_ms: u64,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// For the log only.
    Debug,
    /// The user sees it.
    Warning,
}

/// What flows to the host while a call runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    Log { level: Level, text: String },
    Progress { text: String, done: u64, total: u64 },
}

impl Context {
    pub(crate) fn new(services: Arc<dyn Services>, facts: CallFacts) -> Self {
        Self { services, facts, started: Instant::now() }
    }

    /// Runs a tool to its end.
    ///
    /// # Errors
    /// [`ErrorKind::MissingTool`] where it is not installed, [`ErrorKind::Timeout`] at its deadline. A tool that ends
    /// with a code other than 0 is an answer, not an error.
    pub async fn run(&self, tool: Tool) -> Result<ToolOutput> {
        self.ask("run", &tool).await
    }

    /// Starts a tool and lets it run, for those that work long and tell how far they are.
    ///
    /// # Errors
    /// [`ErrorKind::MissingTool`] where it is not installed.
    pub async fn start(&self, tool: Tool) -> Result<RunningTool<'_>> {
        Ok(RunningTool { cx: self, number: self.ask("tool.start", &tool).await? })
    }

    /// Waits.
    pub async fn sleep(&self, time: Duration) -> Result<()> {
        self.ask("sleep", &millis(time)).await
    }

    /// Adds a line to the log, or shows it to the user. Control bytes are removed and the length is bounded.
    pub fn log(&self, level: Level, text: impl Into<String>) {
        self.emit(&Event::Log { level, text: text.into() });
    }

    /// Shows how far a long step is; `total` 0 = not known. Also proof of life: the deadline of `prepare` counts from
    /// the last one.
    pub fn progress(&self, text: impl Into<String>, done: u64, total: u64) {
        self.emit(&Event::Progress { text: text.into(), done, total });
    }

    /// A private directory that this backend may keep things in between runs. Exists.
    pub fn state_dir(&self) -> &Path {
        &self.facts.state_dir
    }

    /// Where a tool of the manifest is, if it is installed.
    pub fn tool(&self, name: &str) -> Option<&Path> {
        self.facts.tools.get(name).map(PathBuf::as_path)
    }

    /// [`Self::tool`], or the error to answer when it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::MissingTool`] with `hint` as the next thing to do.
    pub fn require_tool(&self, name: &str, hint: &str) -> Result<&Path> {
        self.tool(name).ok_or_else(|| {
            Error::new(ErrorKind::MissingTool, format!("'{name}' is not installed or not on PATH")).hint(hint)
        })
    }

    /// When the host gives this call up.
    pub fn deadline(&self) -> Instant {
        self.started + Duration::from_millis(self.facts.deadline_ms)
    }

    async fn ask<Q: Serialize, A: for<'de> Deserialize<'de>>(&self, op: &str, question: &Q) -> Result<A> {
        let body =
            serde_json::to_string(question).map_err(|e| Error::internal("request to the host").cause(e.to_string()))?;
        let answer = self.services.invoke(op, body).await?;
        serde_json::from_str(&answer).map_err(|e| Error::internal("answer of the host").cause(e.to_string()))
    }

    fn emit(&self, event: &Event) {
        if let Ok(text) = serde_json::to_string(event) {
            self.services.emit(text);
        }
    }
}
