//! `workmux completions SHELL`, and what its scripts ask for at each press of the key: the shell calls this program with
//! [`ASKED`] set, and gets what fits. Names of backends come from manifests and those of instances from the records of
//! runs: no plugin and no tool runs for a completion.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use color_eyre::eyre::{Report, WrapErr as _};
use workmux_plugin_api::Capability;

use crate::cli::{Cli, Shell};
use crate::error::{ERROR, Failure};
use crate::plugins::{Environment, Listing, Registry, State};

/// Holds the shell's name where a script of ours asks. A name of our own: the usual one is other programs' too.
const ASKED: &str = "WORKMUX_COMPLETE";
/// As it is typed.
const PROGRAM: &str = "workmux";

/// Prints the script for a shell.
pub(super) fn script(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(shell.name()).ok_or_else(|| Report::msg("there is no script for this shell"))?;
    shell.write_registration(ASKED, PROGRAM, PROGRAM, PROGRAM, &mut script).wrap_err("cannot write the script")?;
    crate::ui::print(&String::from_utf8_lossy(&script));
    Ok(0)
}

/// Answers a script of ours, if one asks.
pub(super) fn answer(words: &[OsString]) -> Option<ExitCode> {
    let shell = std::env::var_os(ASKED).filter(|shell| !shell.is_empty())?;
    Some(candidates(&shell, words).map_or(ExitCode::from(ERROR), |text| {
        crate::ui::result(&text);
        ExitCode::SUCCESS
    }))
}

/// What fits, in the shell's own form. What goes wrong is no use to anybody who types a command.
fn candidates(shell: &OsStr, words: &[OsString]) -> Option<String> {
    let shells = Shells::builtins();
    let shell = shells.completer(shell.to_str()?)?;
    // The typed command stands after the dashes.
    let typed = words.iter().skip(1).skip_while(|word| *word != "--").skip(1).cloned().collect();
    let here = std::env::current_dir().ok();
    let mut command = Cli::command();
    command.build();
    let mut text = Vec::new();
    shell.write_complete(&mut command, typed, here.as_deref(), &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// Backends that can be used.
pub(crate) fn usable_backends() -> Vec<CompletionCandidate> {
    backends(|listing| listing.state == State::Winner)
}

/// Backends of which something is known, usable or not.
pub(crate) fn known_backends() -> Vec<CompletionCandidate> {
    backends(|listing| listing.manifest.is_some() && !matches!(listing.state, State::Shadowed { .. }))
}

/// Worktrees of the repository one is in.
pub(crate) fn known_worktrees() -> Vec<CompletionCandidate> {
    let all = crate::worktrees::names_here();
    all.into_iter().map(|name| CompletionCandidate::new(crate::text::line(&name))).collect()
}

/// Backends in the user's own directory, usable or not.
pub(crate) fn removable_backends() -> Vec<CompletionCandidate> {
    let Ok(environment) = Environment::current() else { return Vec::new() };
    Registry::new(environment).removable().into_iter().map(CompletionCandidate::new).collect()
}

/// What `sandbox stop` can name and a run of ours uses. What outlived its runs only a backend knows, and asking one would
/// run it.
pub(crate) fn running_instances() -> Vec<CompletionCandidate> {
    let Ok(environment) = Environment::current() else { return Vec::new() };
    let mut used: Vec<(String, String)> = crate::runs::live(&environment.state_dir)
        .into_iter()
        .filter_map(|(_, run)| Some((run.instance?.name, run.backend)))
        .collect();
    used.sort();
    used.dedup();
    if used.is_empty() {
        return Vec::new();
    }
    let keeping = Registry::new(environment).offering(Capability::Instances);
    let named = used.into_iter().filter(|(_, backend)| keeping.contains(backend));
    named.map(|(name, backend)| CompletionCandidate::new(crate::text::line(&name)).help(Some(backend.into()))).collect()
}

fn backends(fits: impl Fn(&Listing) -> bool) -> Vec<CompletionCandidate> {
    let Ok(environment) = Environment::current() else { return Vec::new() };
    let all = Registry::new(environment).all().into_iter().filter(fits);
    all.map(|listing| {
        let about = listing.manifest.map(|manifest| crate::text::line(&manifest.summary));
        CompletionCandidate::new(listing.name).help(about.map(Into::into))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitting(typed: &[&str]) -> Vec<String> {
        // Without the variables of a real script the word to complete is the first, and the separator a line end.
        let words = ["workmux", "--"].iter().chain(typed).map(OsString::from).collect::<Vec<_>>();
        candidates(OsStr::new("fish"), &words).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn commands_and_flags_fit_and_internal_ones_do_not() {
        let commands = fitting(&["workmux", ""]);
        let named = |name: &str| commands.iter().any(|line| line.split('\t').next() == Some(name));
        assert!(named("sandbox") && named("doctor") && named("completions"), "{commands:?}");
        assert!(!commands.iter().any(|line| line.starts_with("__")), "{commands:?}");
        assert!(fitting(&["workmux", "sandbox", "agent", "--ba"])[0].starts_with("--backend"));
        let shells = fitting(&["workmux", "completions", ""]);
        assert!(
            ["bash", "zsh", "fish"].iter().all(|shell| shells.iter().any(|line| line.starts_with(shell))),
            "{shells:?}"
        );
    }

    #[test]
    fn a_shell_nobody_knows_gets_nothing() {
        for shell in ["", "sh", "/bin/bash/"] {
            assert_eq!(candidates(OsStr::new(shell), &["workmux".into(), "--".into()]), None, "{shell}");
        }
    }
}
