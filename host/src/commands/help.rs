//! The help of `workmux sandbox`, grouped by what a command needs of a backend. The groups are named after the
//! installed backends that provide them, so a third party's commands stand there like the official ones. Manifests are
//! read only when somebody asks for help.

use std::ffi::OsString;
use std::fmt::Write as _;

use workmux_plugin_api::Capability;

use crate::plugins::{Environment, Registry};

/// The commands, with help that knows the backends where these words ask for it.
pub(super) fn with_backends(command: clap::Command, words: &[OsString]) -> clap::Command {
    let sandbox = words.get(1).is_some_and(|w| w == "sandbox");
    let asked = words.len() == 2 || words.get(2).is_some_and(|w| w == "--help" || w == "-h");
    if !(sandbox && asked) {
        return command;
    }
    command.mut_subcommand("sandbox", |sandbox| {
        let listing = listing(&sandbox);
        sandbox
            .help_template("{about-with-newline}\n{usage-heading} {usage}{after-help}\n\nOptions:\n{options}\n")
            .after_help(listing)
    })
}

fn listing(sandbox: &clap::Command) -> String {
    let registry = Environment::current().ok().map(Registry::new);
    let mut text = String::new();
    let groups: [(&str, Capability, &[&str]); 2] = [
        ("Image", Capability::Images, &["build", "pull", "init-dockerfile"]),
        ("Instance", Capability::Instances, &["stop", "prune"]),
    ];
    for (noun, capability, names) in groups {
        let offering = registry.as_ref().map(|r| r.offering(capability)).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ok = match offering.as_slice() {
            [] => writeln!(text, "{noun} commands (no installed backend provides these):"),
            names => {
                writeln!(text, "{} commands:", names.iter().map(|n| capitalized(n)).collect::<Vec<_>>().join(", "))
            }
        };
        rows(&mut text, sandbox, names);
    }
    text.push_str("General commands:\n");
    rows(&mut text, sandbox, &["agent", "shell", "install-dev"]);
    text
}

fn rows(text: &mut String, sandbox: &clap::Command, names: &[&str]) {
    for name in names {
        let about =
            sandbox.find_subcommand(name).and_then(|c| c.get_about()).map(ToString::to_string).unwrap_or_default();
        let _ok = writeln!(text, "  {name:<16} {about}");
    }
    text.push('\n');
}

fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
