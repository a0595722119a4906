//! What can be typed about worktrees.

use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::commands::{known_worktrees, usable_backends};

/// Where a prompt comes from.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct PromptArgs {
    /// What the agent is to do
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Read the prompt from a file; '-' is standard input
    #[arg(short = 'P', long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    /// Write the prompt in $VISUAL or $EDITOR
    #[arg(short = 'e', long)]
    pub prompt_editor: bool,
}

/// `workmux add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The branch: a new one, or one that is there; 'origin/x' makes 'x' from it. Without it: named after the prompt
    #[arg(value_name = "BRANCH")]
    pub branch: Option<String>,
    #[command(flatten)]
    /// What the agent is to do.
    pub prompt: PromptArgs,
    /// Run the agent in a sandbox, whatever the configuration says
    #[arg(short = 'S', long)]
    pub sandbox: bool,
    /// The sandbox backend (see: workmux plugin list)
    #[arg(long, value_name = "NAME", requires = "sandbox", add = ArgValueCandidates::new(usable_backends))]
    pub backend: Option<String>,
    /// Do not switch to the new window
    #[arg(short, long)]
    pub background: bool,
    /// The agent; given more than once: a worktree for each
    #[arg(short, long, value_name = "NAME")]
    pub agent: Vec<String>,
    /// Name the branch after the prompt
    #[arg(short = 'A', long)]
    pub auto_name: bool,
    /// Call the worktree and its window this
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Start from this branch or commit [default: the branch you are on]
    #[arg(long, value_name = "BRANCH")]
    pub base: Option<String>,
    /// Move what is not committed here to the new worktree
    #[arg(short = 'w', long)]
    pub with_changes: bool,
    /// Also files git does not know (with --with-changes)
    #[arg(short = 'u', long, requires = "with_changes")]
    pub include_untracked: bool,
    /// Make so many; '{{ num }}' in the prompt is the number of each
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u16>,
    /// Make one for each value: 'os:linux,mac' fills in '{{ os }}' in the prompt; several names are separated by ';'
    #[arg(long, value_name = "NAME:VALUE,...")]
    pub foreach: Option<String>,
    /// Wait until the agents are done or have ended; exit with 1 if one did not do well
    #[arg(short = 'W', long)]
    pub wait: bool,
    /// Use this layout of the configuration
    #[arg(short, long, value_name = "NAME")]
    pub layout: Option<String>,
    /// If the worktree is there, open it
    #[arg(short, long)]
    pub open_if_exists: bool,
    /// Skip the 'post_create' hooks
    #[arg(short = 'H', long)]
    pub no_hooks: bool,
    /// Copy and link no files
    #[arg(short = 'F', long)]
    pub no_file_ops: bool,
    /// Start no commands in panes but agents
    #[arg(short = 'C', long)]
    pub no_pane_cmds: bool,
    /// Use this file instead of the project's .workmux.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print what was made as JSON
    #[arg(long)]
    pub json: bool,
}

/// `workmux open`
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// The worktree [default: the one you are in]
    #[arg(add = ArgValueCandidates::new(known_worktrees))]
    pub name: Option<String>,
    #[command(flatten)]
    /// What the agent is to do.
    pub prompt: PromptArgs,
    /// Run the agent in a sandbox, whatever the configuration says
    #[arg(short = 'S', long)]
    pub sandbox: bool,
    /// The sandbox backend [default: the one it was made with]
    #[arg(long, value_name = "NAME", requires = "sandbox", add = ArgValueCandidates::new(usable_backends))]
    pub backend: Option<String>,
    /// Do not switch to the window
    #[arg(short, long)]
    pub background: bool,
    /// The agent
    #[arg(short, long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Use this layout of the configuration
    #[arg(short, long, value_name = "NAME")]
    pub layout: Option<String>,
}

/// `workmux merge`
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// The worktree [default: the one you are in]
    #[arg(add = ArgValueCandidates::new(known_worktrees))]
    pub name: Option<String>,
    /// The branch to merge into [default: the one it was made from]
    #[arg(long, value_name = "BRANCH")]
    pub into: Option<String>,
    /// Rebase it first, so that history stays a line
    #[arg(long, conflicts_with = "squash")]
    pub rebase: bool,
    /// Merge it as one commit
    #[arg(long)]
    pub squash: bool,
    /// Keep the worktree, its window and its branch
    #[arg(short, long)]
    pub keep: bool,
    /// Merge although something in it is not committed; then the worktree stays
    #[arg(long)]
    pub ignore_uncommitted: bool,
    /// Merge although its agent is at work, and end it
    #[arg(short, long)]
    pub force: bool,
    /// Skip the 'pre_merge' and 'pre_remove' hooks
    #[arg(short = 'H', long)]
    pub no_hooks: bool,
}

/// `workmux remove`
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The worktrees [default: the one you are in]
    #[arg(conflicts_with_all = ["gone", "all"], add = ArgValueCandidates::new(known_worktrees))]
    pub names: Vec<String>,
    /// All whose upstream branch is gone
    #[arg(long, conflicts_with = "all")]
    pub gone: bool,
    /// All of this repository
    #[arg(long)]
    pub all: bool,
    /// Do not ask, and lose what is in them
    #[arg(short, long)]
    pub force: bool,
    /// Keep the branches
    #[arg(short, long)]
    pub keep_branch: bool,
    /// Skip the 'pre_remove' hooks
    #[arg(short = 'H', long)]
    pub no_hooks: bool,
}

/// `workmux status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The worktrees [default: all of this repository]
    #[arg(add = ArgValueCandidates::new(known_worktrees))]
    pub names: Vec<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Show each below the one that started it
    #[arg(long, conflicts_with = "json")]
    pub tree: bool,
    /// Those of all repositories
    #[arg(long, conflicts_with = "names")]
    pub everywhere: bool,
}
