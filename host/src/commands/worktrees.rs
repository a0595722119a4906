//! `workmux add`, `open`, `merge` and the other words about worktrees: reads the flags and hands over to who does it.

use color_eyre::eyre::Report;

use crate::cli::{Command, PromptArgs};
use crate::error::Failure;
use crate::git::Repository;
use crate::launch;
use crate::surroundings::Surroundings;
use crate::worktrees::add::Add;
use crate::worktrees::changes::Way;
use crate::worktrees::merge::Merge;
use crate::worktrees::open::Open;
use crate::worktrees::prompt::Source;
use crate::worktrees::remove::Remove;
use crate::worktrees::status::Look;
use crate::worktrees::{add, merge, open, pane, remove, status, talk};

/// Runs one of them.
pub(super) fn run(command: Command, surroundings: &Surroundings) -> Result<u8, Failure> {
    if !matches!(command, Command::Pane { .. } | Command::Agent { .. })
        && let Ok(repository) = Repository::discover(&surroundings.cwd)
    {
        // Root leaves nothing of its own in a user's repository, and the records are the user's.
        launch::become_owner(&repository.worktree)?;
    }
    if matches!(command, Command::Merge(_) | Command::Remove(_) | Command::Close { .. }) {
        crate::task::outlast_terminal()?;
    }
    match command {
        Command::Add(args) => {
            let args = *args;
            let wish = Add {
                branch: args.branch,
                auto_name: args.auto_name,
                name: args.name,
                base: args.base,
                prompt: source(args.prompt),
                agents: args.agent,
                count: args.count,
                foreach: args.foreach,
                background: args.background,
                sandbox: args.sandbox,
                backend: args.backend,
                no_hooks: args.no_hooks,
                no_files: args.no_file_ops,
                no_commands: args.no_pane_cmds,
                layout: args.layout,
                wait: args.wait,
                with_changes: args.with_changes,
                untracked: args.include_untracked,
                open_if_exists: args.open_if_exists,
                config: args.config,
                json: args.json,
            };
            add::add(wish, surroundings)
        }
        Command::Open(args) => {
            let args = *args;
            let wish = Open {
                name: args.name,
                background: args.background,
                sandbox: args.sandbox,
                backend: args.backend,
                agent: args.agent,
                layout: args.layout,
                prompt: source(args.prompt),
            };
            open::open(wish, surroundings)
        }
        Command::Close { name } => open::close(name.as_deref(), surroundings),
        Command::Merge(args) => {
            let way = match (args.rebase, args.squash) {
                (true, _) => Way::Rebase,
                (_, true) => Way::Squash,
                _ => Way::Merge,
            };
            let (name, into, keep, no_hooks) = (args.name, args.into, args.keep, args.no_hooks);
            let (ignore_uncommitted, force) = (args.ignore_uncommitted, args.force);
            merge::merge(
                &Merge { name, into, way, ignore_uncommitted, keep, cleanup: false, force, no_hooks },
                surroundings,
            )
        }
        Command::Remove(args) => {
            let (names, gone, all, force) = (args.names, args.gone, args.all, args.force);
            let (keep_branch, no_hooks) = (args.keep_branch, args.no_hooks);
            remove::remove(&Remove { names, gone, all, force, keep_branch, no_hooks }, surroundings)
        }
        Command::List { json } => status::list(json, surroundings),
        Command::Status(args) => {
            let (names, json, tree, everywhere) = (args.names, args.json, args.tree, args.everywhere);
            status::status(&Look { names, json, tree, everywhere }, surroundings)
        }
        Command::Wait { names, timeout } => talk::wait(&names, timeout, surroundings),
        Command::Send { name, text } => {
            let text = match &text[..] {
                [only] if only == "-" => {
                    let text = Source::File("-".into()).read()?;
                    text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)
                }
                words => words.join(" "),
            };
            talk::send(&name, &text, surroundings)
        }
        Command::Capture { name, lines } => talk::capture(&name, lines, surroundings),
        Command::Path { name } => status::path(&name, surroundings),
        Command::Pane { directory, window, pane } => pane::run(&directory, window, pane, surroundings),
        Command::Agent { directory, window, pane } => pane::agent(&directory, window, pane, surroundings),
        other => Err(Report::msg(format!("'{other:?}' is not about worktrees")).into()),
    }
}

fn source(args: PromptArgs) -> Option<Source> {
    let PromptArgs { prompt, prompt_file, prompt_editor } = args;
    prompt.map(Source::Text).or(prompt_file.map(Source::File)).or(prompt_editor.then_some(Source::Editor))
}
