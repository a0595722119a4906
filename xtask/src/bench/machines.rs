//! A command in a machine of Lima's that runs, against the ssh it stands on. The machine is the stand-in's, which has real
//! ssh and no virtual hardware: a real machine answers later, and what we add is less of the whole.
//!
//! The plain thing is `ssh` over the shared connection: once with the words that workmux gives it, without what only a run
//! has and with `true` in the place of our first process, and once with `true` alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::dry_run::words;
use super::home::Home;
use super::pairs::{Gate, Pair};
use crate::workspace::{Workspace, cargo};
use crate::{Result, install, process};

/// Each turn takes a fraction of a second, the first one starts the machine.
const DEADLINE: Duration = Duration::from_secs(60);
const BUILD: &[&str] = &["build", "--quiet", "--release", "-p", "fake-limactl"];

/// The pairs. The machine ends with [`Machine`].
pub(super) fn pairs(workspace: &Workspace, home: &Home, workmux: &Path) -> Result<(Machine, Vec<Pair>)> {
    process::output(cargo().args(BUILD).current_dir(&workspace.root))?;
    let tools = home.account.folder(&home.path.join("limactl"))?;
    let limactl = tools.join("limactl");
    install::put(&workspace.target.join("release/fake-limactl"), &limactl, 0o755)?;
    let machine = Machine { home: home.clone(), limactl, lima_home: home.path.join("l") };
    let table = "lima: { skip_default_provision: true, accept_reduced_git_metadata_isolation: true }";
    let configuration = home.configuration("lima", &format!("sandbox: {{ backend: lima, {table} }}\n"))?;

    let ask = {
        let (machine, workmux) = (machine.clone(), workmux.to_owned());
        move |flags: &[&str]| {
            let mut command = machine.command(&workmux);
            command.env("XDG_CONFIG_HOME", &configuration).args(["sandbox", "shell"]).args(flags).args(["--", "true"]);
            command
        }
    };
    // A first run makes the machine, and what later ones find.
    once(&mut ask(&[]))?;
    let shown = process::output(&mut ask(&["--dry-run"]))?;
    let same = by_hand(&shown, &machine.name()?).ok_or(format!("cannot read what --dry-run printed:\n{shown}"))?;
    let alone = vec!["true".to_owned()];
    let pair = |name, remote: Vec<String>, gate| -> Result<Pair> {
        let (machine, ask) = (machine.clone(), ask.clone());
        let (config, host) = (machine.lima_home.join(machine.name()?).join("ssh.config"), machine.name()?);
        Ok(Pair {
            name,
            plain: Box::new(move || {
                let mut command = machine.command("ssh");
                command.arg("-F").arg(&config).args(["-o", "ControlMaster=no", "-T", &format!("lima-{host}"), "--"]);
                once(command.arg(remote.join(" ")))
            }),
            ours: Box::new(move || once(&mut ask(&[]))),
            gate,
            rounds: 20,
        })
    };
    let pairs = vec![
        pair("lima, stand-in: `shell -- true`, same words by ssh", same, Gate::None)?,
        pair("lima, stand-in: the same against `ssh true`", alone, Gate::None)?,
    ];
    Ok((machine, pairs))
}

/// Machines of the stand-in, stopped when this is dropped for the last time.
#[derive(Clone)]
pub(super) struct Machine {
    home: Home,
    limactl: PathBuf,
    lima_home: PathBuf,
}

impl Machine {
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.home.command(program);
        let folder = self.limactl.parent().unwrap_or(Path::new("/"));
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", folder.display());
        command.env("PATH", path).env("LIMA_HOME", &self.lima_home);
        command
    }

    fn name(&self) -> Result<String> {
        let entries = std::fs::read_dir(&self.lima_home).into_iter().flatten().flatten();
        let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.find(|name| name.starts_with("wm-")).ok_or_else(|| "there is no machine".into())
    }

    /// Ends it.
    pub(super) fn stop(&self) -> Result<()> {
        process::output(self.command(&self.limactl).args(["delete", "--force", &self.name()?]))?;
        Ok(())
    }
}

/// The words for the machine, as its shell reads them.
fn by_hand(shown: &str, machine: &str) -> Option<Vec<String>> {
    let line = shown.lines().map(str::trim).find(|line| line.starts_with('/') && line.contains(machine))?;
    let remote = words(line).pop()?;
    let all = words(&remote);
    let end = all.iter().rposition(|word| word == "--")?;
    let mut kept = Vec::new();
    let mut rest = all[..end].iter();
    while let Some(word) = rest.next() {
        if !["--bind", "--ro-bind"].contains(&word.as_str()) {
            kept.push(word.clone());
            continue;
        }
        let (source, target) = (rest.next()?, rest.next()?);
        if !source.contains("/runs/") && !target.contains("/.git") {
            kept.extend([word.clone(), source.clone(), target.clone()]);
        }
    }
    kept.extend(["--".into(), "/usr/bin/true".into()]);
    Some(kept.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect())
}

fn once(command: &mut Command) -> Result<()> {
    let done = process::finish(command, DEADLINE)?;
    if done.status.success() { Ok(()) } else { Err(format!("{}: {}", process::shown(command), done.stderr.trim())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_run_has_is_left_out() {
        let text = "runs:\n  /usr/bin/ssh -F /l/wm-a/ssh.config -T lima-wm-a -- 'exec /m/workmux unshare --tmpfs /run \
                    --bind /m/a /p/wt --bind /m/b /p/main/.git --ro-bind /m/h/runs/0/sock /run/workmux/sock -- /x init tcp:h:1:/k'\n";
        let words = by_hand(text, "wm-a").unwrap().join(" ");
        let wanted = "'exec' '/m/workmux' 'unshare' '--tmpfs' '/run' '--bind' '/m/a' '/p/wt' '--' '/usr/bin/true'";
        assert_eq!(words, wanted);
    }
}
