//! `workmux set-window-status` and `register-agent` outside a sandbox: the status of an agent that runs in this very pane.
//!
//! Agents' hooks call it, those that `setup` installs and those a user has had for long. Agents act on how a hook ends,
//! some of them by throwing the prompt away, so whatever comes in the way is said and nothing fails. Inside a sandbox the
//! guest program has these words, and the window is the run's.

use color_eyre::eyre::Result;

use crate::launch::survey::Survey;
use crate::multiplexer::{Icons, Location, RunWindow, Shown, Status};
use crate::surroundings::Surroundings;

/// The statuses, as they are typed.
pub(crate) const STATUSES: [&str; 4] = ["working", "waiting", "done", "clear"];

/// What a new agent says first: nothing to show yet.
pub(crate) const REGISTER: &str = "register";

/// Whose presence switches this off.
const DISABLE: &str = "WORKMUX_DISABLE_SET_WINDOW_STATUS";

/// Shows one of [`STATUSES`], or [`REGISTER`].
pub(crate) fn set(status: &str) {
    let (Some(status), None) = (Status::from_word(status), std::env::var_os(DISABLE)) else { return };
    let kept = crate::worktrees::told(status);
    let why = match show(status) {
        Ok(Shown::Yes) => return,
        // In the background there is no window, and its record says it.
        Ok(Shown::No(_)) if kept => return,
        Ok(Shown::No(why)) => why,
        Err(e) => format!("{e:#}"),
    };
    crate::ui::note(&format!("the status is not shown: {}", crate::text::line(&why)));
}

fn show(status: Status) -> Result<Shown> {
    let location = match Location::from_environment(|name| std::env::var_os(name)) {
        Ok(location) => location,
        Err(why) => return Ok(Shown::No(why)),
    };
    let surroundings = Surroundings::read()?;
    // Mistakes in the files are told by the commands that are typed.
    let config = Survey::new(&surroundings).config().cloned().unwrap_or_default();
    crate::task::run(async {
        let window = RunWindow::find(Ok(location), Icons::of_user(&config.status_icons), config.status_format).await;
        Ok(window.set_status(status).await)
    })
}
