//! A command in a container, against the same container made by hand: the engine's `run` with the words that workmux
//! gives it, and `true` in the place of our first process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::dry_run::words;
use super::home::Home;
use super::pairs::{Gate, Pair};
use crate::engines::{Engines, Ready};
use crate::{Result, process};

/// What a run may cost above its container. Containers take their time: what we do beside that hides in it.
const SHELL: Gate = Gate::Ratio(1.10);
/// The same with RPC.
const AGENT: Gate = Gate::Ratio(1.15);
/// Each turn takes about a second on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The pairs; none for an engine that is not ready. Only the daemon's have a limit: an engine without one starts
/// several programs for each container, and how long that takes varies more than what we add.
pub(super) fn pairs(home: &Home, workmux: &Path, engines: &Engines) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for (engine, names) in [
        ("docker", ["docker: `shell -- true`", "docker: `agent -- true`"]),
        ("podman-rootless", ["podman, rootless: `shell -- true`", "podman, rootless: `agent -- true`"]),
    ] {
        let Some(ready) = engines.ready(engine) else { continue };
        let table = format!("container: {{ runtime: {} }}", ready.runtime);
        let yaml = format!("sandbox: {{ backend: container, image: '{}', {table} }}\n", ready.image);
        let configuration = home.configuration(engine, &yaml)?;
        for (name, (command, gate)) in names.into_iter().zip([("shell", SHELL), ("agent", AGENT)]) {
            let gate = if engine == "docker" { gate } else { Gate::None };
            pairs.push(pair(name, command, gate, home, workmux, &configuration, &ready)?);
        }
    }
    Ok(pairs)
}

fn pair(
    name: &'static str,
    verb: &'static str,
    gate: Gate,
    home: &Home,
    workmux: &Path,
    configuration: &Path,
    ready: &Ready,
) -> Result<Pair> {
    let ask = {
        let (home, workmux, configuration, ready) =
            (home.clone(), workmux.to_owned(), configuration.to_owned(), ready.clone());
        move |flags: &[&str]| {
            let mut command = home.command(&workmux);
            command.env("XDG_CONFIG_HOME", &configuration).envs(ready.env.iter().map(|(name, value)| (name, value)));
            command.args(["sandbox", verb]).args(flags).args(["--", "true"]);
            command
        }
    };
    // A first run makes what later ones find.
    once(&mut ask(&[]))?;
    let shown = process::output(&mut ask(&["--dry-run"]))?;
    let words = by_hand(&shown, &ready.runtime).ok_or(format!("cannot read what --dry-run printed:\n{shown}"))?;
    let words = stand_in(words, home, &format!("{}-{verb}", ready.runtime))?;
    let (plain_home, ready) = (home.clone(), ready.clone());
    Ok(Pair {
        name,
        plain: Box::new(move || {
            once(
                plain_home
                    .command(&words[0])
                    .args(&words[1..])
                    .envs(ready.env.iter().map(|(name, value)| (name, value))),
            )
        }),
        ours: Box::new(move || once(&mut ask(&[]))),
        gate,
        rounds: 20,
    })
}

/// The engine's words without our first process, without a name that only one container can have.
fn by_hand(shown: &str, engine: &str) -> Option<Vec<String>> {
    let lines = shown.lines().map(str::trim).filter(|line| line.starts_with('/'));
    let mut all = lines.map(words).find(|w| Path::new(&w[0]).file_name().is_some_and(|name| name == engine))?;
    let name = all.iter().position(|word| word == "--name")?;
    all.drain(name..name + 2);
    let entry = all.iter().position(|word| word == "--entrypoint")?;
    all[entry + 1] = "true".into();
    all.truncate(entry + 3);
    Some(all)
}

/// Makes the sources of mounts that only a real run has.
fn stand_in(mut words: Vec<String>, home: &Home, name: &str) -> Result<Vec<String>> {
    let root = home.account.folder(&home.path.join(format!("stand-in-{name}")))?;
    for (at, word) in words.iter_mut().enumerate() {
        let Some(rest) = word.strip_prefix("type=bind,source=") else { continue };
        let Some((source, target)) = rest.split_once(",target=") else { continue };
        if PathBuf::from(source).exists() {
            continue;
        }
        let place = home.account.folder(&root.join(at.to_string()))?;
        if target.ends_with("/.git") {
            // What is mounted in it needs a place there.
            home.account.folder(&place.join("host"))?;
            home.account.folder(&place.join("host/objects"))?;
        }
        *word = format!("type=bind,source={},target={target}", place.display());
    }
    Ok(words)
}

/// Runs a command that must succeed.
fn once(command: &mut Command) -> Result<()> {
    let done = process::finish(command, DEADLINE)?;
    if done.status.success() { Ok(()) } else { Err(format!("{}: {}", process::shown(command), done.stderr.trim())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_and_the_name_are_taken_off() {
        let text = "runs:\n  /usr/bin/docker run --rm --name wm-x-0 --user 1:1 --entrypoint /run/workmux/bin/workmux \
                    image:1 init /run/workmux/sock/control\n";
        let words = by_hand(text, "docker").unwrap().join(" ");
        assert_eq!(words, "/usr/bin/docker run --rm --user 1:1 --entrypoint true image:1");
        assert_eq!(by_hand("nothing", "docker"), None);
    }
}
