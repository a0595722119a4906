//! `workmux open` and `close`: the window of a worktree that is there already.

use color_eyre::eyre::{Report, Result};

use super::find::{Here, Known};
use super::panes::{Wanted, plan};
use super::record::{Entry, Place};
use super::show::{self, Shows, Target};
use super::{make, names, pane, prompt, talk};
use crate::config::types::Mode;
use crate::config::{Config, Loaded};
use crate::error::{Failure, hinted};
use crate::git::Repository;
use crate::launch::{self, Given, Pinned};
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
    /// By this backend.
    pub backend: Option<String>,
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
    if let Some(entry) = &known.entry {
        whole(entry)?;
        if let Some(shows) = show::find(entry) {
            return go_to(wish, &known, entry, shows, surroundings);
        }
    }
    let repository = known.repository()?;
    let entry = known.entry(&here)?;
    let policy = Policy::of(&wish, &entry, &repository, surroundings)?;
    let prompt = wish.prompt.clone().map(prompt::Source::read).transpose()?.unwrap_or_default();
    // Whoever else opens it at this moment has come first, or will find it open.
    let _held = entry.lock().map_err(Report::new)?;
    let name = text::line(&known.name);
    let entry = Entry::read(entry.directory).ok_or_else(|| Report::msg(format!("'{name}' was removed just now")))?;
    if let Some(shows) = show::find(&entry) {
        let wish = Open { prompt: wish.prompt.map(|_| prompt::Source::Text(prompt)), ..wish };
        return go_to(wish, &known, &entry, shows, surroundings);
    }
    start(&wish, &here, &known, entry, policy, &prompt, surroundings)
}

/// Fails where a worktree was not made to its end.
fn whole(entry: &Entry) -> Result<()> {
    let name = text::line(&entry.record.handle);
    if entry.abandoned() {
        return Err(hinted(
            format!("'{name}' was not made to its end: the command that made it was killed"),
            format!("take away what there is of it: workmux remove {name}, then add it again"),
        ));
    }
    if !entry.complete() {
        return Err(hinted(
            format!("'{name}' is being made at this moment"),
            format!("try again when it is made: workmux open {name}"),
        ));
    }
    Ok(())
}

/// Goes to what shows a worktree, and tells its agent what it is to be told.
fn go_to(wish: Open, known: &Known, entry: &Entry, shows: Shows, surroundings: &Surroundings) -> Result<u8, Failure> {
    let name = text::line(&known.name);
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
    Ok(0)
}

/// By what its panes will work.
struct Policy {
    config: Config,
    /// What holds now, to be frozen. Nothing where a guest asked for the worktree: what was frozen then stays, whatever
    /// has come to lie in its checkout since.
    now: Option<Loaded>,
    /// The backend, where there is to be a sandbox now.
    pinned: Option<Pinned>,
}

impl Policy {
    fn of(wish: &Open, entry: &Entry, repository: &Repository, surroundings: &Surroundings) -> Result<Self> {
        let record = &entry.record;
        if record.parent.is_some() {
            if wish.backend.is_some() {
                return Err(hinted(
                    "an agent asked for this worktree: it keeps the sandbox that it was made with",
                    "leave out --backend",
                ));
            }
            return Ok(Self { config: pane::frozen(entry)?, now: None, pinned: None });
        }
        let can_ask = crate::ui::can_ask();
        let given = Given { command_line: super::add::flags(wish.sandbox), ..Given::default() };
        let needed = &super::add::NEEDED;
        let loaded = launch::configuration(&record.worktree, repository, given, needed, can_ask, surroundings)?;
        let config = loaded.config(needed).map_err(Report::new)?.clone();
        let again = was_sandboxed(entry);
        if !wish.sandbox && !again && !config.sandbox.enabled {
            return Ok(Self { config, now: Some(loaded), pinned: None });
        }
        let before = again.then(|| pane::frozen(entry).ok()?.sandbox.backend).flatten();
        let backend = wish.backend.clone().or(before);
        let pinned = launch::pin(&loaded, needed, repository, backend.as_deref(), can_ask, surroundings)?;
        Ok(Self { config, now: Some(loaded), pinned: Some(pinned) })
    }
}

fn was_sandboxed(entry: &Entry) -> bool {
    entry.record.sandboxed && !entry.record.windows.is_empty()
}

/// Opens what is not open.
fn start(
    wish: &Open,
    here: &Here,
    known: &Known,
    mut entry: Entry,
    policy: Policy,
    prompt: &str,
    surroundings: &Surroundings,
) -> Result<u8, Failure> {
    let Policy { mut config, now, pinned } = policy;
    let guests = entry.record.parent.is_some();
    let sandbox = wish.sandbox || guests || was_sandboxed(&entry);
    let wanted = Wanted {
        agent: wish.agent.as_deref(),
        layout: wish.layout.as_deref(),
        prompt: !prompt.is_empty(),
        sandbox,
        agents_only: guests,
        no_commands: false,
        for_agents: known.checkout.root.join("CLAUDE.md").is_file(),
    };
    entry.record.windows = plan(&config, &wanted).map_err(Report::msg)?;
    entry.record.sandboxed = sandbox || config.sandbox.enabled;
    entry.record.agent = make::agent_of(&entry.record.windows);
    let again = entry.prompt().is_some() && entry.record.agent.is_some();
    if !prompt.is_empty() || !again {
        entry.keep_prompt(prompt).map_err(Report::new)?;
    }
    if !prompt.is_empty() {
        prompt::put(&entry.record, prompt).map_err(Report::new)?;
    }
    if let Some(loaded) = &now {
        if let Some(agent) = &wish.agent {
            config.agent = Some(agent.clone());
        }
        make::freeze(loaded, &config, pinned.as_ref(), &entry)?;
    }
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
    let name = text::line(&known.name);
    crate::ui::print(&format!("✓ Opened '{name}'{}{again}", in_words(entry.record.place.as_ref(), &name)));
    show::say_if_ended(&entry);
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
