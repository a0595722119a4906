//! The program of ours that opencode loads: whole files, which are ours when their first line says so.

/// The file's name below opencode's configuration.
pub(super) const FILE: &str = "plugin/workmux-status.js";

/// What it holds.
pub(super) const CONTENT: &str = include_str!("opencode.js");

/// Whether we wrote this, in whatever version.
pub(super) fn is_ours(text: &str) -> bool {
    text.starts_with("// workmux: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_that_it_is_ours_and_tells_all_three() {
        assert!(is_ours(CONTENT) && !is_ours("export const mine = 1\n"));
        for status in ["working", "waiting", "done"] {
            assert!(CONTENT.contains(&format!("tell(\"{status}\")")), "{status}");
        }
    }
}
