//! What the guest's requests do on the host: status and title reach the window the run was started in, and the record of
//! the worktree it works for; what concerns other worktrees is `worktrees`' work, on a thread of its own.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::Task;
use super::log::Log;
use crate::config::Config;
use crate::multiplexer::{Icons, Location, RunWindow, Shown, Status, Title};
use crate::rpc::{FamilyRequest, HostActions, Refusal, SpawnAgent};
use crate::worktrees::{Family, change_state};

/// The actions of one run.
pub(super) struct Actions {
    icons: Icons,
    status_format: bool,
    /// Looked up at the first request: most commands never ask.
    window: OnceCell<RunWindow>,
    log: Log,
    family: Family,
    /// The record of the worktree whose agent this is.
    record: Option<PathBuf>,
    last: Mutex<Option<Status>>,
}

impl Actions {
    /// For a run of this process, with the user's icons.
    pub(super) fn new(config: &Config, log: Log, task: Option<&Task>, family: Family) -> Self {
        let actions = Self {
            icons: Icons::of_user(&config.status_icons),
            status_format: config.status_format,
            window: OnceCell::new(),
            log,
            record: task.filter(|task| task.leads).map(|task| task.directory.clone()),
            last: Mutex::new(None),
            family,
        };
        let run = actions.family.run.clone();
        actions.keep(|state| state.run = Some(run));
        actions
    }

    /// The run, as the origin of other agents.
    pub(super) fn family(&self) -> &Family {
        &self.family
    }

    /// The command has begun.
    pub(super) fn begun(&self) {
        self.keep(|state| state.begun = true);
    }

    /// The command has ended: what it said it was doing it does no more. What it wants seen stays to be seen.
    pub(super) async fn end(&self) {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last == Some(Status::Working) {
            self.tell("status", self.window().await.clear().await);
        }
    }

    fn keep(&self, change: impl FnOnce(&mut crate::worktrees::State)) {
        let Some(record) = &self.record else { return };
        if let Err(e) = change_state(record, change) {
            self.log.line(&format!("status not kept: {e}"));
        }
    }

    async fn window(&self) -> &RunWindow {
        self.window
            .get_or_init(|| {
                let location = Location::from_environment(|name| std::env::var_os(name));
                RunWindow::find(location, self.icons.clone(), self.status_format)
            })
            .await
    }

    fn tell(&self, what: &str, shown: Shown) {
        if let Shown::No(why) = shown {
            self.log.line(&format!("{what} not shown: {why}"));
        }
    }

    /// Work that blocks, for as long as its caller waits for it or longer.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Family) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let family = self.family.clone();
        let outcome = tokio::task::spawn_blocking(move || work(&family)).await;
        outcome.unwrap_or_else(|panicked| {
            self.log.line(&panicked.to_string());
            Err(Refusal::internal())
        })
    }
}

#[async_trait]
impl HostActions for Actions {
    async fn set_status(&self, status: Status, _prompt: Option<String>) -> Result<(), Refusal> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        self.keep(|state| state.say(status.word()));
        self.tell("status", self.window().await.set_status(status).await);
        Ok(())
    }

    async fn set_title(&self, title: Title) -> Result<(), Refusal> {
        self.tell("title", self.window().await.set_title(title).await);
        Ok(())
    }

    async fn spawn_agent(&self, request: SpawnAgent) -> Result<(), Refusal> {
        self.blocking(move |family| family.spawn(&request)).await
    }

    async fn family(&self, request: FamilyRequest) -> Result<Vec<String>, Refusal> {
        self.blocking(move |family| family.ask(request)).await
    }

    fn note(&self, line: &str, journaled: bool) {
        self.log.line(line);
        if !journaled {
            self.family.refused_before(line);
        }
    }
}
