//! The notice that a person sees once, before the first sandbox: what the boundary is and what it is not.

use std::io::IsTerminal as _;
use std::path::Path;

const NOTICE: &str = "\
┌───────────────────────────────────────────────────────────────────────┐
│ Agents in a sandbox run without asking for approval: the sandbox is   │
│ the boundary. They can change every file of this worktree and use the │
│ network. Commands that your project runs on the host, such as hooks   │
│ and builds you start yourself, are outside of it.                     │
└───────────────────────────────────────────────────────────────────────┘
";

/// Shows it, if somebody is looking and it has not been shown before.
pub(crate) fn show_once(state: &Path) {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return;
    }
    let notices = state.join("notices");
    let Ok(notices) = crate::runs::private_directory(&notices) else { return };
    use std::os::unix::fs::OpenOptionsExt as _;
    let marker =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(notices.join("security-boundary-v1"));
    if marker.is_ok() {
        crate::ui::raw_error(NOTICE);
    }
}
