//! `cargo xtask …`: the project's own tasks, so that cargo is the only tool a newcomer needs.
//!
//! This file reads the command line; each task has a file of its own. `workspace` knows cargo, `build` makes the
//! product, `install` lays it out, `setup` prepares a machine, `account` says who runs it, `scratch` where.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of tasks talks to the person who started it")]

mod account;
mod bench;
mod build;
mod demo;
mod elf;
mod engines;
mod install;
mod ledger;
mod process;
mod scratch;
mod setup;
#[expect(unreachable_pub, reason = "public where the tests use it")]
#[path = "../../tests/src/stamp.rs"]
mod stamp;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use build::Profile;
use setup::Consent;
use workspace::Workspace;

/// Errors here are for one reader, once: a sentence, and what to type next.
type Result<T> = std::result::Result<T, String>;

const HELP: &str = "\
cargo xtask demo                     build, and watch an agent work inside a sandbox
cargo xtask test [FILTER]            build, and run every test there is
cargo xtask setup                    install what the two above need (asks first)
cargo xtask build [--release]        build the program, its backends and the guest program
cargo xtask install --prefix DIR     build for release and install below DIR
cargo xtask bench [--json FILE]      measure, as ratios against the same work done without workmux

  --yes        answer yes to the set-up's question
  --no-setup   never change this machine; what is missing is skipped or an error
";

fn main() -> ExitCode {
    match Task::parse(std::env::args().skip(1)).and_then(Task::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("Error: {message}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq)]
enum Task {
    Help,
    Setup(Consent),
    Build(Profile),
    Demo(Consent),
    Test { consent: Consent, filter: Option<String> },
    Install { prefix: PathBuf },
    Bench { consent: Consent, json: Option<PathBuf> },
}

impl Task {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut words = words.peekable();
        let Some(name) = words.next() else { return Ok(Self::Help) };
        let (mut consent, mut profile, mut prefix, mut json, mut filter) =
            (Consent::Ask, Profile::Dev, None, None, None);
        let may = |flag: &str| {
            let tasks: &[&str] = match flag {
                "--yes" | "--no-setup" => &["setup", "demo", "test", "bench"],
                "--release" => &["build"],
                "--prefix" => &["install"],
                "--json" => &["bench"],
                _ => &[],
            };
            if tasks.contains(&name.as_str()) { Ok(()) } else { Err(format!("'{name}' has no '{flag}'\n\n{HELP}")) }
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().map(PathBuf::from).ok_or(format!("'{word}' needs a value"));
            match word.as_str() {
                "-h" | "--help" => return Ok(Self::Help),
                "--yes" => may("--yes").map(|()| consent = Consent::Given)?,
                "--no-setup" => may("--no-setup").map(|()| consent = Consent::Refused)?,
                "--release" => may("--release").map(|()| profile = Profile::Release)?,
                "--prefix" => may("--prefix").and_then(|()| value()).map(|v| prefix = Some(v))?,
                "--json" => may("--json").and_then(|()| value()).map(|v| json = Some(v))?,
                _ if name == "test" && filter.is_none() && !word.starts_with('-') => filter = Some(word),
                _ => return Err(format!("'{name}' does not know '{word}'\n\n{HELP}")),
            }
        }
        match name.as_str() {
            "help" | "-h" | "--help" => Ok(Self::Help),
            "setup" => Ok(Self::Setup(consent)),
            "build" => Ok(Self::Build(profile)),
            "demo" => Ok(Self::Demo(consent)),
            "test" => Ok(Self::Test { consent, filter }),
            "install" => match prefix {
                Some(prefix) => Ok(Self::Install { prefix }),
                None => Err("where to? Type: cargo xtask install --prefix ~/.local".into()),
            },
            "bench" => Ok(Self::Bench { consent, json }),
            _ => Err(format!("there is no task '{name}'\n\n{HELP}")),
        }
    }

    fn run(self) -> Result<()> {
        let workspace = Workspace::find();
        match self {
            Self::Help => {
                print!("{HELP}");
                Ok(())
            }
            Self::Setup(consent) => setup::run(consent).map(|_ready| ()),
            Self::Build(profile) => build::run(&workspace?, profile),
            Self::Demo(consent) => demo::run(&workspace?, consent),
            Self::Test { consent, filter } => test::run(&workspace?, consent, filter.as_deref()),
            Self::Install { prefix } => install::run(&workspace?, &prefix),
            Self::Bench { consent, json } => bench::run(&workspace?, consent, json.as_deref()),
        }
    }
}

/// Whether an automation runs us: what a person may skip is then a failure.
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task> {
        Task::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn tasks_and_their_flags() {
        assert_eq!(parse("").unwrap(), Task::Help);
        assert_eq!(parse("setup --yes").unwrap(), Task::Setup(Consent::Given));
        assert_eq!(parse("build --release").unwrap(), Task::Build(Profile::Release));
        assert_eq!(
            parse("test --no-setup p14").unwrap(),
            Task::Test { consent: Consent::Refused, filter: Some("p14".into()) }
        );
        assert_eq!(parse("install --prefix /x").unwrap(), Task::Install { prefix: "/x".into() });
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for line in ["paint", "demo --release", "test a b", "install", "install --prefix", "build --fast"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
