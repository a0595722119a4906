//! Worktrees with agents in them, as a user makes, sees, merges and removes them: with real git, in real tmux windows and
//! in the background, with agents that do what the test says.

mod worktrees {
    pub(crate) mod case;

    mod adding;
    mod merging;
    mod opening;
    mod panes;
    mod prompts;
    mod providing;
    mod removing;
    mod signals;
    mod story;
}
