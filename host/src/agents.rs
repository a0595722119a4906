//! The agents the host knows: how to recognise one, where it keeps its settings, how it is told to work unattended.
//!
//! Host words only. What a kind of sandbox adds for an agent (what to start from, how to install it, a directory in
//! an unusual place) is the backend's own table, keyed by the same name; an agent unknown there degrades.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::types::AgentEntry;

/// The name of everything that is not in the table.
pub const DEFAULT: &str = "default";

/// One agent.
#[derive(Debug)]
pub struct Agent {
    /// Its name, and the name of its program.
    pub name: &'static str,
    /// Put between program and everything else.
    pub subcommand: Option<&'static str>,
    /// Where it keeps its settings and login on the host.
    pub settings: Settings,
    /// Where a guest sees [`Agent::settings`], relative to the guest's home.
    pub guest_dir: Option<&'static str>,
    /// Directories below [`Agent::guest_dir`] that belong to one machine and are not shared with the host.
    pub private_dirs: &'static [&'static str],
    /// Directories of the guest's home that may vanish with the sandbox.
    pub scratch: &'static [&'static str],
    /// Host directories a guest may only read.
    pub read_only: &'static [Shared],
    /// Single files a guest gets a copy of its own of.
    pub files: &'static [SeedFile],
    /// Flags for every pane.
    pub flags: &'static [&'static str],
    /// Flags for sandboxed panes: no approval prompts, the sandbox is the boundary.
    pub sandbox_flags: &'static [Flag],
    /// How the first prompt is passed.
    pub prompt: Prompt,
}

/// Where an agent's settings are on the host.
#[derive(Debug, Clone, Copy)]
pub enum Settings {
    /// Nothing to share.
    None,
    /// Relative to the user's home.
    Home(&'static str),
    /// The directory in `dir`, else `below` the one in `root` (relative means to the home), else relative to the home.
    Env {
        /// Names the directory itself.
        dir: &'static str,
        /// Names its parent's parent.
        root: &'static str,
        /// Below `root`.
        below: &'static str,
        /// Without either variable.
        home: &'static str,
    },
}

/// A host directory and where a guest sees it, both relative to the home there.
#[derive(Debug, Clone, Copy)]
pub struct Shared {
    /// On the host.
    pub host: &'static str,
    /// In the guest.
    pub guest: &'static str,
}

/// A file kept beside the user's own, for sandboxes only.
#[derive(Debug, Clone, Copy)]
pub struct SeedFile {
    /// On the host, relative to the home; created with `initial` when missing.
    pub host: &'static str,
    /// In the guest, relative to the home.
    pub guest: &'static str,
    /// First content.
    pub initial: &'static str,
    /// Where it keeps which repositories the user trusts: a mapping from paths to mappings, and the key in those.
    pub trusted: Option<(&'static str, &'static str)>,
}

/// A flag and the spellings that mean the same; none is added when one of them is there already.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// What is added, one word an element.
    pub words: &'static [&'static str],
    /// Other spellings.
    pub aliases: &'static [&'static str],
}

/// How an agent takes its first prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// As the last argument.
    Bare,
    /// As the last argument, after `--`.
    AfterDashes,
    /// As the value of this option.
    Option(&'static str),
}

const fn flag(words: &'static [&'static str]) -> Flag {
    Flag { words, aliases: &[] }
}

const UNKNOWN: Agent = Agent {
    name: DEFAULT,
    subcommand: None,
    settings: Settings::None,
    guest_dir: None,
    private_dirs: &[],
    scratch: &[],
    read_only: &[],
    files: &[],
    flags: &[],
    sandbox_flags: &[],
    prompt: Prompt::AfterDashes,
};

/// The table.
pub static AGENTS: &[Agent] = &[
    Agent {
        name: "claude",
        settings: Settings::Home(".claude"),
        guest_dir: Some(".claude"),
        files: &[SeedFile {
            host: ".claude-sandbox.json",
            guest: ".claude.json",
            initial: r#"{"hasCompletedOnboarding":true,"bypassPermissionsModeAccepted":true}"#,
            trusted: Some(("projects", "hasTrustDialogAccepted")),
        }],
        sandbox_flags: &[flag(&["--dangerously-skip-permissions"])],
        ..UNKNOWN
    },
    Agent {
        name: "codex",
        settings: Settings::Home(".codex"),
        guest_dir: Some(".codex"),
        flags: &["--no-daemon"],
        sandbox_flags: &[
            Flag { words: &["--yolo"], aliases: &["--dangerously-bypass-approvals-and-sandbox"] },
            flag(&["--dangerously-bypass-hook-trust"]),
        ],
        ..UNKNOWN
    },
    Agent {
        name: "gemini",
        settings: Settings::Home(".gemini"),
        guest_dir: Some(".gemini"),
        sandbox_flags: &[flag(&["--yolo"])],
        prompt: Prompt::Option("-i"),
        ..UNKNOWN
    },
    Agent {
        name: "opencode",
        settings: Settings::Home(".local/share/opencode"),
        guest_dir: Some(".local/share/opencode"),
        scratch: &[".local/state"],
        read_only: &[Shared { host: ".config/opencode", guest: ".config/opencode" }],
        prompt: Prompt::Option("--prompt"),
        ..UNKNOWN
    },
    Agent {
        name: "pi",
        settings: Settings::Home(".pi/agent"),
        guest_dir: Some(".pi/agent"),
        private_dirs: &["bin"],
        prompt: Prompt::Bare,
        ..UNKNOWN
    },
    Agent {
        name: "omp",
        settings: Settings::Env {
            dir: "PI_CODING_AGENT_DIR",
            root: "PI_CONFIG_DIR",
            below: "agent",
            home: ".omp/agent",
        },
        guest_dir: Some(".omp/agent"),
        prompt: Prompt::Bare,
        ..UNKNOWN
    },
    Agent {
        name: "agy",
        settings: Settings::Home(".gemini/antigravity-cli"),
        sandbox_flags: &[flag(&["--dangerously-skip-permissions"])],
        prompt: Prompt::Option("-i"),
        ..UNKNOWN
    },
    Agent { name: "kiro-cli", subcommand: Some("chat"), prompt: Prompt::Bare, ..UNKNOWN },
    Agent { name: "vibe", sandbox_flags: &[flag(&["--agent", "auto-approve"])], prompt: Prompt::Bare, ..UNKNOWN },
    Agent { name: "grok", sandbox_flags: &[flag(&["--yolo"])], prompt: Prompt::Bare, ..UNKNOWN },
    UNKNOWN,
];

/// The row of this name; an unknown name gets the row of [`DEFAULT`].
pub fn row(name: &str) -> &'static Agent {
    known(name).unwrap_or(&UNKNOWN)
}

/// The row of this name, if there is one.
pub fn known(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name && name != DEFAULT)
}

impl Agent {
    /// Where its settings are on this host. `configured` is `sandbox.agent_config_dir`, in which `{agent}` and a
    /// leading `~` are expanded; a relative one is relative to the home.
    pub fn settings_dir(
        &self,
        home: &Path,
        env: &dyn Fn(&str) -> Option<OsString>,
        configured: Option<&str>,
    ) -> Option<PathBuf> {
        if let Some(configured) = configured {
            return Some(expand_home(&configured.replace("{agent}", self.name), home));
        }
        let set = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        match self.settings {
            Settings::None => None,
            Settings::Home(dir) => Some(home.join(dir)),
            Settings::Env { dir, root, below, home: default } => Some(match (set(dir), set(root)) {
                (Some(dir), _) => home.join(dir),
                (None, Some(root)) => home.join(root).join(below),
                (None, None) => home.join(default),
            }),
        }
    }
}

/// `path` with a leading `~` or `~/` replaced; relative paths are relative to the home.
pub fn expand_home(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => home.join(path),
    }
}

/// Which agent a configured `agent` string runs: a name of the table, else what the user's own entry calls its
/// `type`, else [`DEFAULT`].
///
/// `resolve` answers which file a program word is, links followed. The word itself counts first, because installers
/// point `claude` at files called `cli.js` or after a version.
pub fn name_of<'a>(
    agent: &'a str,
    agents: &'a BTreeMap<String, AgentEntry>,
    resolve: &dyn Fn(&str) -> Option<PathBuf>,
) -> &'a str {
    let entry = agents.get(agent);
    let command = entry.and_then(|entry| entry.command.as_deref()).unwrap_or(agent);
    let program = program_of(command);
    let named = program.as_deref().and_then(|word| {
        let stem = |path: &Path| known(path.file_stem()?.to_str()?).map(|agent| agent.name);
        stem(Path::new(word)).or_else(|| stem(&resolve(word)?))
    });
    named.or_else(|| entry.and_then(|entry| entry.kind.as_deref())).unwrap_or(DEFAULT)
}

/// The program word of a shell string, past a leading `env`, its flags and assignments.
pub fn program_of(command: &str) -> Option<String> {
    let mut words = words(command).into_iter().peekable();
    let assignment = |word: &String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
    while words.next_if(assignment).is_some() {}
    if words.next_if(|word| Path::new(word).file_name().is_some_and(|name| name == "env")).is_some() {
        while let Some(word) = words.next_if(|word| word.starts_with('-') || assignment(word)) {
            // These take their value from the next word.
            if matches!(word.as_str(), "-u" | "--unset" | "-C" | "--chdir") {
                words.next();
            }
        }
    }
    words.next()
}

fn is_name(word: &str) -> bool {
    !word.starts_with(|c: char| c.is_ascii_digit())
        && !word.is_empty()
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Splits as a shell would split plain words with quotes; expansions stay as they are written.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut rest = command.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(rest.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<PathBuf> {
        None
    }

    #[test]
    fn every_row_is_found_by_its_own_name() {
        for agent in AGENTS {
            assert_eq!(row(agent.name).name, agent.name);
            assert_eq!(name_of(agent.name, &BTreeMap::new(), &nothing), agent.name);
            for file in agent.files {
                serde_json::from_str::<serde_json::Value>(file.initial).unwrap();
            }
        }
        assert_eq!(row("some-thing").name, DEFAULT);
    }

    #[test]
    fn an_agent_is_recognised_in_a_command() {
        let none = BTreeMap::new();
        for (command, name) in [
            ("claude", "claude"),
            ("/opt/claude.sh --model opus", "claude"),
            ("env -i -u HOME FOO='a b' \"codex\" --yolo", "codex"),
            ("FOO=1 /usr/bin/env BAR=2 gemini", "gemini"),
            ("cc --continue", "opencode"),
            ("make agent", "default"),
            ("", "default"),
            ("default", "default"),
        ] {
            let resolve = |word: &str| (word == "cc").then(|| PathBuf::from("/opt/opencode/bin/opencode.exe"));
            assert_eq!(name_of(command, &none, &resolve), name, "{command}");
        }
    }

    #[test]
    fn the_agents_map_comes_first() {
        let agents: BTreeMap<String, AgentEntry> = serde_json::from_str(
            r#"{"mine": "my-wrapper --fast", "typed": {"command": "./run.sh", "type": "codex"},
                "claude": {"command": "codex"}, "bare": {"type": "pi"}}"#,
        )
        .unwrap();
        for (agent, name) in [("mine", "default"), ("typed", "codex"), ("claude", "codex"), ("bare", "pi")] {
            assert_eq!(name_of(agent, &agents, &nothing), name, "{agent}");
        }
    }

    #[test]
    fn settings_follow_the_environment_and_the_configuration() {
        let home = Path::new("/home/u");
        let unset = |_: &str| None;
        let dir = |name: &str, env: &dyn Fn(&str) -> Option<OsString>, configured: Option<&str>| {
            row(name).settings_dir(home, env, configured).map(|path| path.to_str().unwrap().to_owned())
        };
        assert_eq!(dir("claude", &unset, None).unwrap(), "/home/u/.claude");
        assert_eq!(dir("omp", &unset, None).unwrap(), "/home/u/.omp/agent");
        let root = |name: &str| (name == "PI_CONFIG_DIR").then(|| OsString::from(".pi"));
        assert_eq!(dir("omp", &root, None).unwrap(), "/home/u/.pi/agent");
        let exact = |_: &str| Some(OsString::from("/x"));
        assert_eq!(dir("omp", &exact, None).unwrap(), "/x");
        assert_eq!(dir("claude", &unset, Some("~/sandbox/{agent}")).unwrap(), "/home/u/sandbox/claude");
        assert_eq!(dir("grok", &unset, None), None);
    }
}
