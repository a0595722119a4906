//! What is installed in a new machine: the scripts of its `lima.yaml`.
//!
//! Lima runs them at each start and reports no failure; so each does its work once and leaves a word where it failed, which
//! [`crate::ready`] finds.

use sha2::{Digest as _, Sha256};

use crate::settings::Table;
use crate::template::Script;

const SYSTEM: &str = include_str!("provision/system.sh");
const AGENT: &str = include_str!("provision/agent.sh");
const USER: &str = include_str!("provision/user.sh");
/// Ends the user's text in the script around it.
const END: &str = "WORKMUX_PROVISION_END";

/// The agents that can be installed: their names are those of their programs.
const PACKAGES: [(&str, &str); 6] = [
    ("claude", "@anthropic-ai/claude-code"),
    ("codex", "@openai/codex"),
    ("gemini", "@google/gemini-cli"),
    ("omp", "@oh-my-pi/pi-coding-agent"),
    ("opencode", "opencode-ai"),
    ("pi", "@mariozechner/pi-coding-agent"),
];

/// Whether a new machine gets this agent installed.
pub(crate) fn installs(agent: &str) -> bool {
    PACKAGES.iter().any(|(name, _)| *name == agent)
}

/// The scripts, in their order.
pub(crate) fn scripts(table: &Table, agent: &str) -> Vec<Script> {
    let mut all = Vec::new();
    if !table.skip_default_provision {
        all.push(Script { root: true, text: SYSTEM.to_owned() });
        if let Some((name, package)) = PACKAGES.iter().find(|(name, _)| *name == agent) {
            all.push(Script { root: true, text: AGENT.replace("@AGENT@", name).replace("@PACKAGE@", package) });
        }
    }
    all.extend(
        table.provision.as_deref().map(|text| Script { root: false, text: USER.replace("@TEXT@", text.trim_end()) }),
    );
    all
}

/// Names what the configuration asks to be installed, for comparing.
pub(crate) fn digest(table: &Table) -> String {
    let wanted = (table.skip_default_provision, table.provision.as_deref().map(str::trim_end));
    let hash = Sha256::digest(format!("{wanted:?}"));
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Why the user's text cannot be used, if it cannot.
pub(crate) fn mistake(text: &str) -> Option<String> {
    text.lines().any(|line| line == END).then(|| format!("must not have a line '{END}'"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings;

    fn of(table: serde_json::Value, agent: &str) -> Vec<Script> {
        scripts(&settings::read(&table).unwrap(), agent)
    }

    #[test]
    fn what_is_installed_follows_the_table_and_the_agent() {
        let roots = |all: Vec<Script>| all.into_iter().map(|script| script.root).collect::<Vec<_>>();
        assert_eq!(roots(of(json!({}), "claude")), [true, true]);
        assert_eq!(roots(of(json!({}), "default")), [true]);
        assert_eq!(roots(of(json!({"provision": "echo"}), "default")), [true, false]);
        assert_eq!(roots(of(json!({"skip_default_provision": true}), "claude")), [] as [bool; 0]);
        assert!(of(json!({}), "codex")[1].text.contains("agent=codex package=@openai/codex\n"));
        assert!(mistake("a\nWORKMUX_PROVISION_END\nb").is_some() && mistake("echo 'WORKMUX_PROVISION_END'").is_none());
    }

    #[test]
    fn what_asks_for_the_same_has_the_same_digest() {
        let of = |table: serde_json::Value| digest(&settings::read(&table).unwrap());
        assert_eq!(of(json!({"provision": "echo\n", "cpus": 2})), of(json!({"provision": "echo"})));
        let all = [
            json!({}),
            json!({"provision": ""}),
            json!({"provision": "echo"}),
            json!({"skip_default_provision": true}),
        ];
        let all: std::collections::BTreeSet<String> = all.into_iter().map(of).collect();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn each_script_is_one_that_its_shell_can_read() {
        let all = of(json!({"provision": "if true; then\n  echo 'a \"b\" $HOME'\nfi\n"}), "pi");
        for script in all {
            let shell = if script.text.starts_with("#!/bin/bash") { "bash" } else { "sh" };
            let mut child =
                std::process::Command::new(shell).arg("-n").stdin(std::process::Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.text.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{}", script.text);
        }
    }
}
