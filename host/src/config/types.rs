//! The effective configuration as the rest of the program sees it. Plain data: nothing here reads files or decides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::forms::{AgentForm, DomainForm, MountForm};
use crate::agents::expand_home;

/// Every key of the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// A name of `agents` or of the agents table, or a shell string.
    pub agent: Option<String>,
    /// The user's own agents.
    pub agents: BTreeMap<String, AgentEntry>,
    /// Detected when absent.
    pub main_branch: Option<String>,
    /// The current branch when absent; `auto` = the main branch.
    pub base_branch: Option<String>,
    /// Where worktrees go; `~` and `{project}` are expanded.
    pub worktree_dir: Option<String>,
    /// What a handle is made of.
    pub worktree_naming: Naming,
    /// Before the branch in a handle.
    pub worktree_prefix: Option<String>,
    /// Before the handle in a window name; `{project}` is expanded.
    pub window_prefix: Option<String>,
    /// Icons of a special font in window names.
    pub nerdfont: Option<bool>,
    /// The panes of a new window.
    pub panes: Option<Vec<Pane>>,
    /// Named sets of panes.
    pub layouts: BTreeMap<String, Layout>,
    /// The windows of a new session.
    pub windows: Option<Vec<Window>>,
    /// What a new worktree gets from the main checkout.
    pub files: Files,
    /// Run on the host in a new worktree.
    pub post_create: Vec<String>,
    /// Run on the host before a merge.
    pub pre_merge: Vec<String>,
    /// Run on the host before a worktree goes.
    pub pre_remove: Vec<String>,
    /// What runs the hooks.
    pub hook_shell: Vec<String>,
    /// What a worktree opens in.
    pub mode: Mode,
    /// Where a new window goes.
    pub window_placement: Placement,
    /// The session to use outside one.
    pub default_session: Option<String>,
    /// Shown in window names.
    pub status_icons: StatusIcons,
    /// Whether window formats are adjusted to show the icon.
    pub status_format: bool,
    /// How branches are named from a prompt.
    pub auto_name: AutoName,
    /// The sandbox.
    pub sandbox: Sandbox,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent: None,
            agents: BTreeMap::new(),
            main_branch: None,
            base_branch: None,
            worktree_dir: None,
            worktree_naming: Naming::Full,
            worktree_prefix: None,
            window_prefix: None,
            nerdfont: None,
            panes: None,
            layouts: BTreeMap::new(),
            windows: None,
            files: Files::default(),
            post_create: Vec::new(),
            pre_merge: Vec::new(),
            pre_remove: Vec::new(),
            hook_shell: vec!["bash".to_owned(), "-c".to_owned()],
            mode: Mode::Window,
            window_placement: Placement::AfterCurrent,
            default_session: None,
            status_icons: StatusIcons::default(),
            status_format: true,
            auto_name: AutoName::default(),
            sandbox: Sandbox::default(),
        }
    }
}

impl Config {
    /// The agent to run when nothing else is said.
    pub fn agent(&self) -> &str {
        self.agent.as_deref().unwrap_or("claude")
    }
}

/// Keys under `sandbox`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// Whether new panes are sandboxed.
    pub enabled: bool,
    /// The backend by name; the first usable one of a list when absent.
    pub backend: Option<String>,
    /// Which panes are sandboxed.
    pub target: Target,
    /// What a sandbox starts from, in the backend's own terms.
    pub image: Option<String>,
    /// Whether the project's own toolchain wraps the command.
    pub toolchain: Toolchain,
    /// Variables a guest gets from the host, if set there.
    pub env_passthrough: Vec<String>,
    /// Variables a guest gets.
    pub env: BTreeMap<String, String>,
    /// How a guest reaches the host, where the usual name is wrong.
    pub rpc_host: Option<String>,
    /// Host commands a guest may call.
    pub host_commands: Vec<String>,
    /// Further host directories a guest sees.
    pub extra_mounts: Vec<ExtraMount>,
    /// Instead of the agent's own settings directory; `{agent}` and `~` are expanded.
    pub agent_config_dir: Option<String>,
    /// Whether host commands may run without confinement.
    pub dangerously_allow_unsandboxed_host_exec: bool,
    /// What a guest may reach.
    pub network: Network,
    /// The backends' own tables by backend name, as far as they are settled: the user's part until
    /// `Loaded::set_table`, the merged one afterwards.
    pub tables: BTreeMap<String, Value>,
}

/// Which panes are sandboxed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Panes that run an agent.
    #[default]
    Agent,
    /// Every pane.
    All,
}

/// Whether the project's own toolchain wraps the command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Toolchain {
    /// If the project describes one.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Through Devbox.
    Devbox,
    /// Through a Nix flake.
    Flake,
}

/// A host directory or file shown to a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MountForm")]
pub struct ExtraMount {
    /// Absolute, or below `~`.
    pub host_path: String,
    /// The same as on the host when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_path: Option<String>,
    /// Whether a guest may write there.
    pub writable: bool,
}

impl ExtraMount {
    /// The path on the host.
    pub fn host(&self, home: &Path) -> PathBuf {
        expand_home(&self.host_path, home)
    }

    /// The path in the guest.
    pub fn guest(&self, home: &Path) -> PathBuf {
        self.guest_path.as_ref().map_or_else(|| self.host(home), PathBuf::from)
    }
}

/// What a guest may reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Everything, or only what is listed.
    pub policy: NetworkPolicy,
    /// What is listed. Empty = nothing.
    pub allowed_domains: Vec<Domain>,
    /// At the same time.
    pub max_connections: u16,
}

impl Default for Network {
    fn default() -> Self {
        Self { policy: NetworkPolicy::Allow, allowed_domains: Vec::new(), max_connections: 128 }
    }
}

/// Everything, or only what is listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkPolicy {
    /// Everything.
    #[default]
    Allow,
    /// Only what is listed.
    Deny,
}

/// A name a guest may reach under [`NetworkPolicy::Deny`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "DomainForm")]
pub struct Domain {
    /// Exact, or `*.` and a suffix; lower case.
    pub host: String,
    /// Also at private addresses.
    pub allow_private_ips: bool,
}

/// One of the user's own agents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "AgentForm")]
pub struct AgentEntry {
    /// A shell string; the entry's name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The name of the agents table it behaves like.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Further arguments.
    pub args: Vec<String>,
    /// Further variables.
    pub env: BTreeMap<String, EnvValue>,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be text, or a mapping with 'from_env'")]
pub enum EnvValue {
    /// The configuration.
    Text(String),
    /// The host's environment.
    FromEnv {
        /// The variable there.
        from_env: String,
    },
}

/// What a handle is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// The whole branch.
    #[default]
    Full,
    /// Its last part.
    Basename,
}

/// What a worktree opens in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A window of the current session.
    #[default]
    Window,
    /// A session of its own.
    Session,
}

/// Where a new window goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Beside the current one.
    #[default]
    AfterCurrent,
    /// Last.
    Rightmost,
}

/// One pane.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pane {
    /// A shell string, `<agent>` or `<agent:NAME>` with further arguments, or nothing for a plain shell.
    pub command: Option<String>,
    /// Selected at the end.
    pub focus: bool,
    /// Selected and full-screen.
    pub zoom: bool,
    /// How it divides the one before it.
    pub split: Option<Split>,
    /// In cells.
    pub size: Option<u16>,
    /// Of the divided pane.
    pub percentage: Option<u8>,
    /// Which pane is divided, counted from 0.
    pub target: Option<u16>,
    /// Shown where the multiplexer can.
    pub name: Option<String>,
}

/// How a pane divides another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Side by side.
    Horizontal,
    /// One above the other.
    Vertical,
    /// On top of each other.
    Stacked,
}

/// A named set of panes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Layout {
    /// The panes.
    pub panes: Vec<Pane>,
}

/// One window of a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    /// Its name.
    pub name: Option<String>,
    /// Its panes.
    pub panes: Option<Vec<Pane>>,
}

/// What a new worktree gets from the main checkout; paths and patterns relative to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Files {
    /// As copies.
    pub copy: Vec<String>,
    /// As links.
    pub symlink: Vec<String>,
}

/// Shown in window names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusIcons {
    /// The agent works.
    pub working: String,
    /// The agent waits for the user.
    pub waiting: String,
    /// The agent is done.
    pub done: String,
}

impl Default for StatusIcons {
    fn default() -> Self {
        Self { working: "🤖".to_owned(), waiting: "💬".to_owned(), done: "✅".to_owned() }
    }
}

/// How branches are named from a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoName {
    /// For the usual generator.
    pub model: Option<String>,
    /// What the generator is told.
    pub system_prompt: Option<String>,
    /// Whether an auto-named window stays in the background.
    pub background: bool,
    /// The generator.
    pub command: Option<String>,
}
