//! `workmux open` and `close`: the window of a worktree that is there already.

use color_eyre::eyre::{Report, Result};

use super::find::Here;
use super::panes::{Wanted, plan};
use super::record::Place;
use super::show::{self, Shows, Target};
use super::{make, names, prompt, talk};
use crate::config::types::Mode;
use crate::error::{Failure, hinted};
use crate::launch::{self, Given};
use crate::multiplexer::Multiplexer as _;
use crate::surroundings::Surroundings;
use crate::text;

/// `open`
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// Which worktree; none = the one the user is in.
    pub name: Option<String>,
    /// Not shown at once.
    pub background: bool,
    /// In a sandbox.
    pub sandbox: bool,
    /// Which agent.
    pub agent: Option<String>,
    /// Which layout.
    pub layout: Option<String>,
    /// What the agent is told.
    pub prompt: Option<prompt::Source>,
}

/// Goes to a worktree's window; opens it where there is none.
pub(crate) fn open(wish: Open, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    let known = here.named(wish.name.as_deref())?;
    let name = text::line(&known.name);
    if let Some(entry) = &known.entry
        && let Some(shows) = show::find(entry)
    {
        if let Some(prompt) = wish.prompt {
            if !talk::works(entry) {
                return Err(hinted(
                    format!("'{name}' is open, and its agent has ended"),
                    format!("close it first: workmux close {name}"),
                )
                .into());
            }
            talk::type_for(entry, &prompt.read()?, surroundings)?;
            crate::ui::print(&format!("✓ Told the agent of '{name}'"));
        }
        match shows {
            Shows::Windows(tmux, windows) => {
                let session = launch::configuration(
                    &known.checkout.root,
                    &known.repository()?,
                    Given::default(),
                    &["mode"],
                    false,
                    surroundings,
                )?;
                let switch = session.config(&["mode"]).is_ok_and(|config| config.mode == Mode::Session);
                if let Some(window) = windows.first().filter(|_| !wish.background) {
                    tmux.select(window, switch).map_err(Report::new)?;
                }
                crate::ui::print(&format!("'{name}' is open"));
            }
            Shows::Background(terminal) if crate::ui::can_ask() && !wish.background => {
                crate::ui::note("this is the agent's terminal; Ctrl-b d leaves it (in tmux: Ctrl-b Ctrl-b d)");
                terminal.attach().map_err(Report::new)?;
            }
            Shows::Background(_) => crate::ui::print(&format!("'{name}' works in the background")),
        }
        return Ok(0);
    }
    let repository = known.repository()?;
    let can_ask = crate::ui::can_ask();
    let given = Given { command_line: super::add::flags(wish.sandbox), ..Given::default() };
    let needed = &super::add::NEEDED;
    let loaded = launch::configuration(&known.checkout.root, &repository, given, needed, can_ask, surroundings)?;
    let mut config = loaded.config(needed).map_err(Report::new)?.clone();
    let prompt = wish.prompt.map(prompt::Source::read).transpose()?.unwrap_or_default();
    let mut entry = known.entry(&here)?;
    let was_sandboxed = entry.record.sandboxed;
    let sandbox = wish.sandbox || (was_sandboxed && !entry.record.windows.is_empty());
    let wanted = Wanted {
        agent: wish.agent.as_deref(),
        layout: wish.layout.as_deref(),
        prompt: !prompt.is_empty(),
        sandbox,
        agents_only: entry.record.parent.is_some(),
        no_commands: false,
        for_agents: known.checkout.root.join("CLAUDE.md").is_file(),
    };
    let windows = plan(&config, &wanted).map_err(Report::msg)?;
    let sandboxed = sandbox || config.sandbox.enabled;
    let pinned = match sandboxed {
        true => Some(launch::pin(&loaded, needed, &repository, None, can_ask, surroundings)?),
        false => None,
    };
    if let Some(agent) = &wish.agent {
        config.agent = Some(agent.clone());
    }
    entry.record.windows = windows;
    entry.record.sandboxed = sandboxed;
    entry.record.agent = make::agent_of(&entry.record.windows);
    let again = entry.prompt().is_some() && entry.record.agent.is_some();
    if !prompt.is_empty() || !again {
        entry.keep_prompt(&prompt).map_err(Report::new)?;
    }
    if !prompt.is_empty() {
        prompt::put(&entry.record, &prompt).map_err(Report::new)?;
    }
    make::freeze(&loaded, &config, pinned.as_ref(), &entry)?;
    entry.save().map_err(Report::new)?;
    let window = names::window(&config, &names::project(&here.main), &entry.record.handle);
    let target = Target::here(config.default_session.as_deref())?;
    show::open(&mut entry, &target, &config, &window, !wish.background, surroundings)?;
    entry.save().map_err(Report::new)?;
    let again = if again && prompt.is_empty() {
        format!("; a new conversation, the first prompt is in {}", prompt::file(&entry.record.branch).display())
    } else {
        String::new()
    };
    crate::ui::print(&format!("✓ Opened '{name}'{}{again}", in_words(entry.record.place.as_ref(), &name)));
    Ok(0)
}

/// Where something is shown, as the end of a sentence.
pub(crate) fn in_words(place: Option<&Place>, name: &str) -> String {
    match place {
        Some(Place::Window { .. }) => String::new(),
        Some(Place::Background) => format!(" in the background (see its terminal: workmux open {name})"),
        None => " without a window, because this is not tmux".to_owned(),
    }
}

/// Closes a worktree's window; the worktree stays.
pub(crate) fn close(name: Option<&str>, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    let known = here.named(name)?;
    let shown = text::line(&known.name);
    let Some(mut entry) = known.entry else {
        crate::ui::print(&format!("'{shown}' is not open"));
        return Ok(0);
    };
    let closed = show::close(&entry)?;
    entry.record.place = None;
    entry.save().map_err(Report::new)?;
    crate::ui::print(&if closed { format!("✓ Closed '{shown}'") } else { format!("'{shown}' is not open") });
    Ok(0)
}
