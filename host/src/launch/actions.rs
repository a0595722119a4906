//! What the guest's requests do on the host: status and title reach the window the run was started in.

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::log::Log;
use crate::config::Config;
use crate::multiplexer::{Icons, Location, RunWindow, Shown, Status, Title};
use crate::rpc::{HostActions, Refusal};

/// The actions of one run.
pub(super) struct Actions {
    icons: Icons,
    status_format: bool,
    /// Looked up at the first request: most commands never ask.
    window: OnceCell<RunWindow>,
    log: Log,
}

impl Actions {
    /// For a run of this process, with the user's icons.
    pub(super) fn new(config: &Config, log: Log) -> Self {
        Self {
            icons: Icons::of_user(&config.status_icons),
            status_format: config.status_format,
            window: OnceCell::new(),
            log,
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
}

#[async_trait]
impl HostActions for Actions {
    async fn set_status(&self, status: Status, _prompt: Option<String>) -> Result<(), Refusal> {
        self.tell("status", self.window().await.set_status(status).await);
        Ok(())
    }

    async fn set_title(&self, title: Title) -> Result<(), Refusal> {
        self.tell("title", self.window().await.set_title(title).await);
        Ok(())
    }

    fn note(&self, line: &str) {
        self.log.line(line);
    }
}
