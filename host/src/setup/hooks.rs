//! Which agents can report what they do, and how: the events of each, and the command that a hook runs.
//!
//! Facts only. How they get into a file is `json`'s and `plugin`'s business, which file it is, `places`'.

use serde_json::{Value, json};

/// Agents with hooks, as they are typed.
pub(crate) const AGENTS: [&str; 4] = ["claude", "codex", "gemini", "opencode"];

/// Something an agent tells about, and the status that follows from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    /// The agent's own name of it.
    pub(super) event: &'static str,
    /// Which of these events; all of them without one.
    pub(super) matcher: Option<&'static str>,
    /// `working`, `waiting` or `done`.
    pub(super) status: &'static str,
}

/// What an agent takes for JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// JSON alone. In a file with a comment the agent itself sees no setting.
    Plain,
    /// JSON with comments.
    Comments,
}

/// How an agent is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// A key `hooks` in a JSON file of its settings directory.
    Json {
        /// The file's name.
        file: &'static str,
        /// How the agent reads it.
        dialect: Dialect,
        /// What goes into it.
        hooks: &'static [Hook],
    },
    /// A program of ours that it loads.
    Plugin,
}

const fn hook(event: &'static str, status: &'static str) -> Hook {
    Hook { event, matcher: None, status }
}

// After a tool ran the agent works again, whatever it waited for before.
const CLAUDE: &[Hook] = &[
    hook("UserPromptSubmit", "working"),
    hook("PostToolUse", "working"),
    // Not for `idle_prompt`: that comes a minute after it was done.
    Hook { event: "Notification", matcher: Some("permission_prompt|elicitation_dialog"), status: "waiting" },
    hook("Stop", "done"),
];

const CODEX: &[Hook] = &[
    hook("UserPromptSubmit", "working"),
    hook("PostToolUse", "working"),
    hook("PermissionRequest", "waiting"),
    hook("Stop", "done"),
];

const GEMINI: &[Hook] = &[
    hook("BeforeAgent", "working"),
    hook("AfterTool", "working"),
    Hook { event: "Notification", matcher: Some("ToolPermission"), status: "waiting" },
    hook("AfterAgent", "done"),
];

/// How this one of [`AGENTS`] is told.
pub(super) fn how(agent: &str) -> Option<How> {
    match agent {
        "claude" => Some(How::Json { file: "settings.json", dialect: Dialect::Plain, hooks: CLAUDE }),
        "codex" => Some(How::Json { file: "hooks.json", dialect: Dialect::Plain, hooks: CODEX }),
        "gemini" => Some(How::Json { file: "settings.json", dialect: Dialect::Comments, hooks: GEMINI }),
        "opencode" => Some(How::Plugin),
        _ => None,
    }
}

/// What the user still has to do, if anything.
pub(super) fn remark(agent: &str) -> Option<&'static str> {
    match agent {
        "codex" => Some(
            "codex asks when it starts, and in sandboxes once more, whether you trust new hooks; it runs them after that",
        ),
        "opencode" => Some("opencode loads new plugins when it starts"),
        _ => None,
    }
}

impl Hook {
    /// What the agent's shell runs. Agents read what a hook prints, and act on how it ends: ours prints nothing and
    /// succeeds, also where there is no workmux.
    pub(super) fn command(&self) -> String {
        format!("workmux set-window-status {} >/dev/null 2>&1 || true", self.status)
    }

    /// The entry in the event's list.
    pub(super) fn group(&self) -> Value {
        let hooks = json!([{ "type": "command", "command": self.command() }]);
        match self.matcher {
            Some(matcher) => json!({ "matcher": matcher, "hooks": hooks }),
            None => json!({ "hooks": hooks }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agent_is_in_the_table_of_agents_and_tells_all_three() {
        for agent in AGENTS {
            assert!(crate::agents::known(agent).is_some(), "{agent}");
            let How::Json { hooks, .. } = how(agent).unwrap() else { continue };
            for status in ["working", "waiting", "done"] {
                assert!(hooks.iter().any(|hook| hook.status == status), "{agent}: {status}");
            }
        }
        assert!(how("pi").is_none());
    }

    #[test]
    fn a_hook_is_silent_and_succeeds_without_workmux() {
        for shell in ["sh", "bash"] {
            let run = std::process::Command::new(format!("/bin/{shell}"))
                .args(["-c", &CLAUDE[0].command()])
                .env_clear()
                .env("PATH", "/nonexistent")
                .output()
                .unwrap();
            assert!(run.status.success() && run.stdout.is_empty() && run.stderr.is_empty(), "{shell}: {run:?}");
        }
    }
}
