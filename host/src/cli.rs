//! The command line: what can be typed, and the help for it. What a command does is in `commands`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;

use crate::commands::{known_backends, known_worktrees, removable_backends, running_instances, usable_backends};

mod worktrees;
pub use worktrees::{AddArgs, MergeArgs, OpenArgs, PromptArgs, RemoveArgs, StatusArgs};

/// Runs AI coding agents in git worktrees, each inside a sandbox.
#[derive(Debug, Parser)]
#[command(name = "workmux", version, disable_help_subcommand = true, subcommand_required = true)]
#[command(after_help = "Try: workmux add fix-login -S -p 'Find out why the login fails, and fix it.'")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Top-level commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a worktree with an agent in it, in a window of its own
    ///
    /// Outside tmux the agent works in the background: 'workmux open' shows it, 'workmux capture' prints its screen.
    Add(Box<AddArgs>),
    /// Go to a worktree's window, or open one
    Open(Box<OpenArgs>),
    /// Close a worktree's window; worktree and branch stay
    Close {
        /// The worktree [default: the one you are in]
        #[arg(add = ArgValueCandidates::new(known_worktrees))]
        name: Option<String>,
    },
    /// Merge a worktree's branch, and remove the worktree
    ///
    /// Nothing is begun where work could be lost, and a conflict leaves everything as it was.
    Merge(MergeArgs),
    /// Remove worktrees with their windows and branches
    ///
    /// Asks before anything is lost that is not committed or not merged.
    #[command(visible_alias = "rm")]
    Remove(RemoveArgs),
    /// List the worktrees of this repository
    #[command(visible_alias = "ls")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show how the agents are
    Status(StatusArgs),
    /// Wait until agents are done or have ended
    ///
    /// Exits with 0 if each did well, else with 1.
    Wait {
        /// The worktrees
        #[arg(required = true, add = ArgValueCandidates::new(known_worktrees))]
        names: Vec<String>,
        /// Wait no longer than this
        #[arg(short, long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// Type a text for an agent, and Return
    Send {
        /// The worktree
        #[arg(add = ArgValueCandidates::new(known_worktrees))]
        name: String,
        /// The text; '-' alone reads it from standard input
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        text: Vec<String>,
    },
    /// Print what an agent's terminal shows
    Capture {
        /// The worktree
        #[arg(add = ArgValueCandidates::new(known_worktrees))]
        name: String,
        /// So many of the last lines
        #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        lines: u32,
    },
    /// Print where a worktree is
    Path {
        /// The worktree
        #[arg(add = ArgValueCandidates::new(known_worktrees))]
        name: String,
    },
    /// Run agents and shells in a sandbox of this worktree
    Sandbox(SandboxArgs),
    /// See, install, trust and remove sandbox backends
    Plugin(PluginArgs),
    /// See whether sandboxes work here, and what to do if they do not
    ///
    /// Looks at git, this machine, the configuration and every trusted backend, and changes nothing. Exits with 0 when
    /// the backend that would be used here works, else with 1. The report holds no secrets: paste it where you ask for
    /// help.
    Doctor {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a configuration file in which every key stands as a comment
    ///
    /// Into the root of the checkout you are in: .workmux.yaml, which can make sandboxes tighter for everybody who works
    /// on the project. With --global: your own file, whose keys a project may not set.
    Init {
        /// Write your own file instead, in ~/.config/workmux
        #[arg(long)]
        global: bool,
        /// Overwrite the file
        #[arg(long)]
        force: bool,
    },
    /// Have agents report what they do, by hooks in their own settings
    ///
    /// Each hook runs 'workmux set-window-status' with working, waiting or done: an icon at the agent's tmux window, in a
    /// sandbox or outside, and nothing where there is none. The change is shown before you are asked. Without names: every agent whose settings are
    /// there. Where 'sandbox.agent_config_dir' gives sandboxes settings of their own, these are changed too.
    Setup {
        /// The agents
        #[arg(value_name = "AGENT", value_parser = crate::setup::AGENTS)]
        agents: Vec<String>,
        /// Take the hooks out again
        #[arg(long)]
        remove: bool,
        /// Show the change, and make none
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Show the status of the agent in this pane at its window
    ///
    /// Agents' hooks type this; it always succeeds. An icon for waiting or done goes when the pane is looked at.
    SetWindowStatus {
        /// The status
        #[arg(value_parser = crate::window_status::STATUSES)]
        status: String,
    },
    /// Announces the agent in this pane (typed by agents' hooks)
    #[command(hide = true)]
    RegisterAgent,
    /// Print a script that completes workmux commands when you press Tab
    ///
    /// For bash, in ~/.bashrc: source <(workmux completions bash). For zsh, in ~/.zshrc after compinit: source
    /// <(workmux completions zsh). For fish: workmux completions fish > ~/.config/fish/completions/workmux.fish
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Loads a library to see whether that is safe (internal, used on first sight of a plugin).
    #[command(name = "__load-plugin", hide = true)]
    LoadPlugin {
        /// The library.
        path: PathBuf,
    },
    /// Runs what a pane of a worktree is for (internal, started in panes).
    #[command(name = "__pane", hide = true)]
    Pane {
        /// The worktree's directory of records.
        directory: PathBuf,
        /// The window.
        window: usize,
        /// The pane.
        pane: usize,
    },
    /// Becomes the agent of a pane outside a sandbox (internal, typed into the user's shell).
    #[command(name = "__agent", hide = true)]
    Agent {
        /// The worktree's directory of records.
        directory: PathBuf,
        /// The window.
        window: usize,
        /// The pane.
        pane: usize,
    },
    /// Asks one backend about its health (internal, used by `doctor`, which stays alive when the backend crashes).
    #[command(name = "__check-backend", hide = true)]
    CheckBackend {
        /// Its name.
        name: String,
    },
    /// Runs a command in a background terminal (internal, one process of several for each).
    #[command(name = "__detached", hide = true)]
    Detached {
        /// Which of them.
        #[arg(long, value_enum, default_value = "leave")]
        stage: crate::detached::Stage,
        /// The terminal's own directory.
        directory: PathBuf,
        /// Where the command starts.
        cwd: PathBuf,
        /// The command.
        #[arg(last = true, required = true)]
        words: Vec<OsString>,
    },
}

/// `workmux sandbox`
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true, subcommand_required = true)]
pub struct SandboxArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SandboxCommand,
}

/// Commands below `sandbox`.
#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// Build the sandbox image locally for the configured agent
    Build(BackendArgs),
    /// Pull the latest sandbox image from its registry
    Pull(BackendArgs),
    /// Write a customizable Dockerfile.sandbox into the current directory
    InitDockerfile {
        /// Overwrite an existing Dockerfile.sandbox
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        backend: BackendArgs,
    },
    /// Stop sandboxes that outlive their command, to free resources
    Stop {
        /// The one to stop
        #[arg(value_name = "NAME", conflicts_with = "all", add = ArgValueCandidates::new(running_instances))]
        name: Option<String>,
        /// Stop all of them
        #[arg(long)]
        all: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        show: ShowArgs,
        #[command(flatten)]
        backend: BackendArgs,
    },
    /// Delete unused sandboxes to reclaim disk space
    Prune {
        /// Do not ask, and delete those in use too
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        show: ShowArgs,
        #[command(flatten)]
        backend: BackendArgs,
    },
    /// Run the configured agent, or a command, in a sandbox
    ///
    /// The sandbox is of the worktree you are in. The command can call workmux from inside: set-window-status,
    /// set-title.
    Agent(RunArgs),
    /// Start a shell, or a command, in a sandbox
    ///
    /// The sandbox has the mounts and the environment that an agent gets, without its way to call workmux.
    Shell {
        /// Join the sandbox that already runs for this worktree
        #[arg(short, long)]
        exec: bool,
        #[command(flatten)]
        run: RunArgs,
    },
    /// Install a development build of workmux in sandboxes
    InstallDev {
        /// Use the release profile: slower to build, faster to run
        #[arg(long)]
        release: bool,
        /// Install the binary that is already built
        #[arg(long)]
        skip_build: bool,
        #[command(flatten)]
        backend: BackendArgs,
    },
    /// Runs a command in a sandbox of the given worktree (internal, typed into panes)
    #[command(hide = true)]
    Run {
        /// Where the command starts
        worktree: PathBuf,
        /// The checkout's top level, if that is another directory
        #[arg(long, value_name = "ROOT")]
        worktree_root: Option<PathBuf>,
        #[command(flatten)]
        backend: BackendArgs,
        /// Show what would run, and run nothing
        #[arg(long)]
        dry_run: bool,
        /// The command
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
}

/// Which backend.
#[derive(Debug, Args)]
pub struct BackendArgs {
    /// Use this sandbox backend (see: workmux plugin list)
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(usable_backends))]
    pub backend: Option<String>,
}

/// What is shown instead of done.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// As JSON (with --dry-run)
    #[arg(long, requires = "dry_run")]
    pub json: bool,
}

/// `agent` and `shell`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    /// Which backend.
    pub backend: BackendArgs,
    /// Show what would run, and run nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The command to run instead; its words reach the sandbox exactly as they are
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `workmux plugin`
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true, subcommand_required = true)]
pub struct PluginArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// Commands below `plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// List sandbox backends: the ones used, the ones they hide, and the rejected ones with the reason
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show everything known of one backend
    Info {
        /// Its name
        #[arg(add = ArgValueCandidates::new(known_backends))]
        name: String,
    },
    /// Try on a backend all that every backend must do: a numbered list of rules, each run for real
    Check {
        /// Its name, or the path of its library
        #[arg(value_name = "NAME|FILE", add = ArgValueCandidates::new(known_backends))]
        subject: String,
        /// Only rules whose number begins like this, such as K3 (can be repeated)
        #[arg(long, value_name = "NUMBER")]
        only: Vec<String>,
        /// The report as JSON
        #[arg(long)]
        json: bool,
        /// Also write the report as JUnit's XML to this file
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Trust a plugin file outside the program's own directories, as it is now
    Trust {
        /// The library
        path: PathBuf,
        /// Trust it no longer
        #[arg(long)]
        remove: bool,
    },
    /// Install a backend for yourself, and trust it as it is now
    ///
    /// Its library is copied into your own plugin directory, where it comes before one of the same name that the program
    /// brought; nothing of it runs. Once you use the backend it runs with all your rights: install what you trust.
    Install {
        /// The library, or the directory it lies in
        #[arg(value_name = "FILE|DIR")]
        path: PathBuf,
        /// Replace another one of the same name
        #[arg(long)]
        force: bool,
    },
    /// Remove a backend that you installed, and the trust in it
    Remove {
        /// Its name
        #[arg(add = ArgValueCandidates::new(removable_backends))]
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Shells that can complete commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

impl Shell {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn words_after_the_dashes_are_not_read() {
        let cli =
            Cli::try_parse_from(["workmux", "sandbox", "shell", "-e", "--", "--backend", "-e", "a  b", ""]).unwrap();
        let Command::Sandbox(SandboxArgs { command: SandboxCommand::Shell { exec, run } }) = cli.command else {
            panic!("not a shell");
        };
        assert!(exec && run.backend.backend.is_none());
        assert_eq!(run.command, ["--backend", "-e", "a  b", ""]);
    }

    #[test]
    fn a_name_and_all_together_are_a_usage_error() {
        let error = Cli::try_parse_from(["workmux", "sandbox", "stop", "--all", "wm-x"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
