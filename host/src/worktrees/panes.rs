//! Which windows and panes a worktree gets, and what runs in each: pure, from the configuration and the wish.

use serde::{Deserialize, Serialize};

use crate::agents::{self, Agent};
use crate::config::Config;
use crate::config::types::{Pane, Split, Target};

/// One window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Its name, where it is not the worktree's.
    pub name: Option<String>,
    /// At least one.
    pub panes: Vec<PanePlan>,
}

/// One pane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PanePlan {
    /// What runs in it.
    pub runs: Runs,
    /// How it divides another; nothing for the first.
    pub split: Option<Split>,
    /// In cells.
    pub size: Option<u16>,
    /// Of the divided pane.
    pub percentage: Option<u8>,
    /// Which pane is divided, counted from 0; the one before it where absent.
    pub target: Option<u16>,
    /// Selected at the end.
    pub focus: bool,
    /// And full-screen.
    pub zoom: bool,
}

/// What runs in a pane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Runs {
    /// The user's shell.
    Shell,
    /// A shell string, then the user's shell.
    Command {
        /// The text.
        text: String,
        /// In a sandbox.
        sandboxed: bool,
    },
    /// An agent, then the user's shell.
    Agent {
        /// A name of `agents` or of the agents table, or a shell string.
        agent: String,
        /// Further arguments, as text of a shell.
        arguments: String,
        /// In a sandbox.
        sandboxed: bool,
        /// Gets the prompt.
        prompted: bool,
    },
}

/// The window and pane that lead: the first agent, else the first with a command.
pub(crate) fn leading(windows: &[Plan]) -> Option<(usize, usize)> {
    let all = || {
        let panes =
            |(w, plan): (usize, &'_ Plan)| -> Vec<(usize, usize)> { (0..plan.panes.len()).map(|p| (w, p)).collect() };
        windows.iter().enumerate().flat_map(panes)
    };
    let runs = |&(w, p): &(usize, usize)| &windows[w].panes[p].runs;
    all().find(|at| runs(at).is_agent()).or_else(|| all().find(|at| *runs(at) != Runs::Shell))
}

impl Runs {
    /// Whether it is an agent.
    pub(crate) fn is_agent(&self) -> bool {
        matches!(self, Self::Agent { .. })
    }
}

/// What decides about panes besides the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted<'a> {
    /// `--agent`
    pub agent: Option<&'a str>,
    /// `--layout`
    pub layout: Option<&'a str>,
    /// There is a prompt.
    pub prompt: bool,
    /// In a sandbox, whatever the configuration says.
    pub sandbox: bool,
    /// Nothing but agents: what a guest asked for.
    pub agents_only: bool,
    /// Without the configured commands.
    pub no_commands: bool,
    /// The project is meant for an agent (`CLAUDE.md`).
    pub for_agents: bool,
}

/// The windows; the first is the worktree's. The error says what is wrong with the wish or the configuration.
pub(crate) fn plan(config: &Config, wanted: &Wanted) -> Result<Vec<Plan>, String> {
    let mut windows = match (wanted.layout, &config.windows) {
        (Some(name), _) => {
            let layout = config.layouts.get(name).ok_or_else(|| unknown_layout(name, config))?;
            vec![(None, layout.panes.clone())]
        }
        (None, Some(windows)) if config.mode == crate::config::types::Mode::Session && !windows.is_empty() => {
            let panes = |panes: &Option<Vec<Pane>>| panes.clone().unwrap_or_else(|| defaults(config, wanted));
            windows.iter().map(|window| (window.name.clone(), panes(&window.panes))).collect()
        }
        _ => vec![(None, config.panes.clone().unwrap_or_else(|| defaults(config, wanted)))],
    };
    for (_, panes) in &mut windows {
        if panes.is_empty() {
            panes.push(Pane::default());
        }
        check(panes)?;
    }
    let mut prompted = !wanted.prompt;
    let plans = windows.into_iter().map(|(name, panes)| {
        let mut panes: Vec<PanePlan> = panes.into_iter().map(|pane| one(pane, config, wanted, &mut prompted)).collect();
        if wanted.agents_only {
            panes.retain(|pane| pane.runs.is_agent());
            // What they divided is not there.
            panes.iter_mut().for_each(|pane| pane.target = None);
            if let Some(first) = panes.first_mut() {
                first.split = None;
            }
        }
        Plan { name, panes }
    });
    let plans: Vec<Plan> = plans.filter(|plan| !plan.panes.is_empty()).collect();
    if !prompted || (wanted.agents_only && plans.is_empty()) {
        return Err("there is a prompt and no pane that runs an agent".to_owned());
    }
    Ok(plans)
}

fn unknown_layout(name: &str, config: &Config) -> String {
    let name = crate::text::line(name);
    let known: Vec<&str> = config.layouts.keys().map(String::as_str).collect();
    if known.is_empty() {
        format!("there is no layout '{name}': none is configured (key 'layouts')")
    } else {
        format!("there is no layout '{name}'; there are: {}", crate::text::line(&known.join(", ")))
    }
}

fn defaults(config: &Config, wanted: &Wanted) -> Vec<Pane> {
    let agent =
        config.agent.is_some() || wanted.agent.is_some() || wanted.prompt || wanted.sandbox || wanted.for_agents;
    let command = (agent || config.sandbox.enabled).then(|| "<agent>".to_owned());
    vec![Pane { command, focus: true, ..Pane::default() }, Pane { split: Some(Split::Horizontal), ..Pane::default() }]
}

fn check(panes: &[Pane]) -> Result<(), String> {
    for (n, pane) in panes.iter().enumerate() {
        let which = n + 1;
        if n == 0 && (pane.split.is_some() || pane.size.is_some() || pane.percentage.is_some()) {
            return Err("the first pane divides nothing: it has no 'split', 'size' or 'percentage'".to_owned());
        }
        if pane.size.is_some() && pane.percentage.is_some() {
            return Err(format!("pane {which} has both 'size' and 'percentage'"));
        }
        if pane.percentage.is_some_and(|p| !(1..=100).contains(&p)) {
            return Err(format!("the 'percentage' of pane {which} is not between 1 and 100"));
        }
        if pane.target.is_some_and(|target| usize::from(target) >= n) {
            return Err(format!("the 'target' of pane {which} is not a pane before it"));
        }
    }
    if panes.iter().filter(|pane| pane.zoom).count() > 1 {
        return Err("more than one pane has 'zoom'".to_owned());
    }
    Ok(())
}

fn one(pane: Pane, config: &Config, wanted: &Wanted, prompted: &mut bool) -> PanePlan {
    let sandbox = wanted.sandbox || config.sandbox.enabled;
    let text = pane.command.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let runs = match text {
        None if sandbox && config.sandbox.target == Target::All => {
            Runs::Command { text: "bash".to_owned(), sandboxed: true }
        }
        None => Runs::Shell,
        Some(text) => match agent_of(text, config, wanted) {
            Some((agent, arguments)) => {
                let prompted = !std::mem::replace(prompted, true);
                Runs::Agent { agent, arguments, sandboxed: sandbox, prompted }
            }
            None if wanted.no_commands => Runs::Shell,
            None => {
                let sandboxed = sandbox && config.sandbox.target == Target::All;
                Runs::Command { text: text.to_owned(), sandboxed }
            }
        },
    };
    PanePlan {
        runs,
        split: pane.split,
        size: pane.size,
        percentage: pane.percentage,
        target: pane.target,
        focus: pane.focus,
        zoom: pane.zoom,
    }
}

/// Which agent a pane's command is, and its further arguments.
fn agent_of(text: &str, config: &Config, wanted: &Wanted) -> Option<(String, String)> {
    let chosen = || wanted.agent.unwrap_or_else(|| config.agent());
    if let Some((name, arguments)) = text.strip_prefix("<agent").and_then(|rest| rest.split_once('>')) {
        let agent = match name.strip_prefix(':') {
            Some(name) => name,
            None if name.is_empty() => chosen(),
            None => return None,
        };
        return Some((agent.to_owned(), arguments.trim().to_owned()));
    }
    // A literal command counts as the agent that its program is.
    let program = agents::program_of(text)?;
    agents::known(&program).map(|_| (text.to_owned(), String::new()))
}

/// The text of a shell that starts an agent, and the words of its prompt, which no shell reads.
pub(crate) fn agent_command(
    agent: &str,
    arguments: &str,
    sandboxed: bool,
    prompt: Option<&str>,
    row: &Agent,
    config: &Config,
) -> (String, Vec<String>) {
    let entry = config.agents.get(agent);
    let mut text = entry.and_then(|entry| entry.command.clone()).unwrap_or_else(|| agent.to_owned());
    let mut add = |word: &str| {
        text.push(' ');
        text.push_str(word);
    };
    row.subcommand.into_iter().for_each(&mut add);
    for argument in entry.map(|entry| entry.args.as_slice()).unwrap_or_default() {
        add(&crate::text::quote(argument.as_ref()));
    }
    if !arguments.is_empty() {
        add(arguments);
    }
    let given: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let has = |flag: &str| given.iter().any(|word| word == flag);
    let mut flags: Vec<&str> = row.flags.iter().copied().filter(|flag| !has(flag)).collect();
    if sandboxed {
        let missing = row
            .sandbox_flags
            .iter()
            .filter(|flag| !flag.words.first().into_iter().chain(flag.aliases).any(|word| has(word)));
        flags.extend(missing.flat_map(|flag| flag.words.iter().copied()));
    }
    for flag in flags {
        text.push(' ');
        text.push_str(flag);
    }
    let words = match (prompt, row.prompt) {
        (None, _) => Vec::new(),
        (Some(prompt), agents::Prompt::Bare) => vec![prompt.to_owned()],
        (Some(prompt), agents::Prompt::AfterDashes) => vec!["--".to_owned(), prompt.to_owned()],
        (Some(prompt), agents::Prompt::Option(option)) => vec![option.to_owned(), prompt.to_owned()],
    };
    (text, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::{Layout, Mode, Window};

    fn pane(command: &str) -> Pane {
        Pane { command: Some(command.to_owned()), ..Pane::default() }
    }

    fn runs(config: &Config, wanted: &Wanted) -> Vec<Runs> {
        plan(config, wanted).unwrap().into_iter().flat_map(|plan| plan.panes).map(|pane| pane.runs).collect()
    }

    fn agent(agent: &str, arguments: &str, sandboxed: bool, prompted: bool) -> Runs {
        Runs::Agent { agent: agent.into(), arguments: arguments.into(), sandboxed, prompted }
    }

    #[test]
    fn without_configuration_there_is_a_shell_beside_what_is_wanted() {
        let config = Config::default();
        assert_eq!(runs(&config, &Wanted::default()), [Runs::Shell, Runs::Shell]);
        let wanted = Wanted { prompt: true, sandbox: true, ..Wanted::default() };
        assert_eq!(runs(&config, &wanted), [agent("claude", "", true, true), Runs::Shell]);
        let wanted = Wanted { for_agents: true, ..Wanted::default() };
        assert_eq!(runs(&config, &wanted), [agent("claude", "", false, false), Runs::Shell]);
    }

    #[test]
    fn agents_are_known_by_placeholder_name_or_program() {
        let mut config = Config { agent: Some("codex".into()), ..Config::default() };
        config.panes = Some(vec![pane("<agent> --fast"), pane("<agent:mine>"), pane("gemini -x"), pane("vim .")]);
        let wanted = Wanted { prompt: true, ..Wanted::default() };
        let command = Runs::Command { text: "vim .".into(), sandboxed: false };
        let all = [
            agent("codex", "--fast", false, true),
            agent("mine", "", false, false),
            agent("gemini -x", "", false, false),
            command,
        ];
        assert_eq!(runs(&config, &wanted), all);
        config.sandbox.enabled = true;
        config.sandbox.target = Target::All;
        assert_eq!(runs(&config, &wanted)[3], Runs::Command { text: "vim .".into(), sandboxed: true });
        let none = Wanted { no_commands: true, ..Wanted::default() };
        assert_eq!(runs(&config, &none)[3], Runs::Shell);
    }

    #[test]
    fn p31_what_a_guest_asks_for_is_agents_in_a_sandbox_and_nothing_else() {
        let mut config = Config::default();
        let mut second = pane("<agent>");
        (second.split, second.target) = (Some(Split::Vertical), Some(0));
        config.panes = Some(vec![pane("npm run dev"), second, Pane::default()]);
        let wanted = Wanted { prompt: true, sandbox: true, agents_only: true, ..Wanted::default() };
        let plans = plan(&config, &wanted).unwrap();
        assert_eq!(plans.len(), 1);
        let [only] = &plans[0].panes[..] else { panic!("{plans:?}") };
        assert_eq!(only.runs, agent("claude", "", true, true));
        assert_eq!((only.split, only.target), (None, None));
        config.panes = Some(vec![pane("npm run dev")]);
        assert!(plan(&config, &wanted).is_err());
    }

    #[test]
    fn what_cannot_be_laid_out_is_said() {
        let wrong = |panes: Vec<Pane>| {
            plan(&Config { panes: Some(panes), ..Config::default() }, &Wanted::default()).unwrap_err()
        };
        let split = |change: fn(&mut Pane)| {
            let mut pane = Pane { split: Some(Split::Vertical), ..Pane::default() };
            change(&mut pane);
            pane
        };
        assert!(wrong(vec![split(|_| {})]).contains("first pane"));
        assert!(wrong(vec![pane("x"), split(|p| (p.size, p.percentage) = (Some(1), Some(2)))]).contains("both"));
        assert!(wrong(vec![pane("x"), split(|p| p.percentage = Some(101))]).contains("100"));
        assert!(wrong(vec![pane("x"), split(|p| p.target = Some(1))]).contains("target"));
        assert!(wrong(vec![pane("x"), split(|p| p.zoom = true), split(|p| p.zoom = true)]).contains("zoom"));
        let prompt = Wanted { prompt: true, ..Wanted::default() };
        let config = Config { panes: Some(vec![pane("vim")]), ..Config::default() };
        assert!(plan(&config, &prompt).unwrap_err().contains("prompt"));
        let layout = Wanted { layout: Some("x"), ..Wanted::default() };
        assert!(plan(&config, &layout).unwrap_err().contains("none is configured"));
    }

    #[test]
    fn layouts_and_windows_are_chosen() {
        let mut config = Config::default();
        config.layouts.insert("wide".into(), Layout { panes: vec![pane("a"), pane("b")] });
        let wanted = Wanted { layout: Some("wide"), ..Wanted::default() };
        assert_eq!(plan(&config, &wanted).unwrap()[0].panes.len(), 2);
        config.mode = Mode::Session;
        config.windows =
            Some(vec![Window { name: Some("logs".into()), panes: Some(vec![pane("tail")]) }, Window::default()]);
        let plans = plan(&config, &Wanted::default()).unwrap();
        assert_eq!(plans.len(), 2);
        assert_eq!((plans[0].name.as_deref(), plans[1].panes.len()), (Some("logs"), 2));
    }

    #[test]
    fn p5_the_prompt_is_words_of_its_own() {
        let config = Config::default();
        let hostile = "--help; $(touch x) 'y\n";
        let built =
            |name: &str, sandboxed| agent_command(name, "", sandboxed, Some(hostile), agents::row(name), &config);
        let (text, words) = built("claude", true);
        assert_eq!(text, "claude --dangerously-skip-permissions");
        assert_eq!(words, ["--", hostile]);
        assert_eq!(built("claude", false).0, "claude");
        assert_eq!(built("codex", true).0, "codex --no-daemon --yolo --dangerously-bypass-hook-trust");
        assert_eq!(built("codex", false).0, "codex --no-daemon");
        assert_eq!(built("gemini", true).1, ["-i", hostile]);
        assert_eq!(built("kiro-cli", true).0, "kiro-cli chat");
        assert_eq!(built("vibe", true).0, "vibe --agent auto-approve");
        let flagged = agent_command(
            "codex --dangerously-bypass-approvals-and-sandbox",
            "-m x",
            true,
            None,
            agents::row("codex"),
            &config,
        );
        let text = "codex --dangerously-bypass-approvals-and-sandbox -m x --no-daemon --dangerously-bypass-hook-trust";
        assert_eq!(flagged, (text.to_owned(), Vec::new()));
    }
}
