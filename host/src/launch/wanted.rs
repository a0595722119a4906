//! From the configuration, the checkout and the backend's answers to what `spec` composes: the spec's ingredients and
//! the guest's variables. The same for a run, a joining command and a dry run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use color_eyre::eyre::Result;
use workmux_plugin_api::{Instance, Mount, Network, Purpose, SandboxSpec, Settings, User};

use super::Place;
use super::agent::Command;
use crate::config::Config;
use crate::config::types::NetworkPolicy;
use crate::git::{Identity, Repository};
use crate::spec::{self, Checkout, Guard, GuestEnvironment, Parts, Protected, Rpc, Variable, Wishes};
use crate::surroundings::Surroundings;
use crate::worktrees::names;

pub(super) fn extra_mounts(config: &Config, surroundings: &Surroundings) -> Vec<Mount> {
    let home = &surroundings.home;
    config
        .sandbox
        .extra_mounts
        .iter()
        .map(|m| {
            if m.writable {
                Mount::read_write(m.host(home), m.guest(home))
            } else {
                Mount::read_only(m.host(home), m.guest(home))
            }
        })
        .collect()
}

#[expect(clippy::too_many_arguments, reason = "the spec is made of all this")]
pub(super) fn build_spec(
    run: &str,
    purpose: Purpose,
    place: &Place,
    config: &Config,
    command: &Command,
    surroundings: &Surroundings,
    parts: Parts,
    settings: &Settings,
    scratch: PathBuf,
) -> Result<SandboxSpec> {
    let repository = &place.repository;
    let checkout = Checkout {
        worktree: repository.worktree.clone(),
        cwd: place.cwd.clone(),
        main: repository.main_checkout.clone().filter(|m| *m != repository.worktree && m.is_dir()),
        git: vec![repository.common_dir.clone(), repository.admin_dir.clone(), repository.worktree.join(".git")],
        worktrees: worktrees(repository, config, surroundings),
    };
    let guard = Guard::new(Protected {
        home: Some(surroundings.home.clone()),
        own: vec![
            surroundings.config_home.join("workmux"),
            surroundings.state.clone(),
            surroundings.cache.clone(),
            surroundings.data_home.join("workmux"),
        ],
        programs: programs(&surroundings.executable),
    });
    let wishes = Wishes {
        run,
        purpose,
        agent: command.row.name,
        program: command.program.clone(),
        image: config.sandbox.image.clone(),
        home: &surroundings.home,
        user: User { uid: surroundings.uid, gid: surroundings.gid },
        search_path: &surroundings.search_path,
        scratch,
        network: match config.sandbox.network.policy {
            NetworkPolicy::Allow => Network::Allow,
            // A list is refused earlier; without one nothing is allowed.
            NetworkPolicy::Deny => Network::None,
        },
        demands: &settings.demands,
    };
    for name in &settings.demands.masks {
        if !repository.worktree.join(name).exists() {
            crate::ui::warning(&format!(
                "'{}' is to be hidden from the sandbox but does not exist",
                crate::text::line(name)
            ));
        }
    }
    spec::build(&checkout, parts, &guard, wishes)
}

/// Where worktrees of this repository are made, unless that is a place that holds more than worktrees.
fn worktrees(repository: &Repository, config: &Config, surroundings: &Surroundings) -> Option<PathBuf> {
    let main = repository.main_checkout.as_ref()?;
    let base = names::base_directory(config, main, &surroundings.home).ok()?;
    // It may not exist yet, and what leads to it may be links.
    let base = match base.canonicalize() {
        Ok(base) => base,
        Err(_) => base.parent()?.canonicalize().ok()?.join(base.file_name()?),
    };
    let Surroundings { home, state, config_home, cache, executable, .. } = surroundings;
    let mut others =
        vec![main.clone(), repository.common_dir.clone(), home.clone(), state.clone(), config_home.clone()];
    others.extend([cache.clone(), surroundings.data_home.join("workmux")]);
    others.extend(programs(executable));
    holds_only_worktrees(&base, &others, &[&repository.common_dir, state, cache]).then_some(base)
}

/// Whether none of `others` lies in `base`, and `base` in none of `closed`.
fn holds_only_worktrees(base: &Path, others: &[PathBuf], closed: &[&Path]) -> bool {
    !others.iter().any(|other| other.starts_with(base)) && !closed.iter().any(|dir| base.starts_with(dir))
}

/// The program, and what it loads: the backends and the guest program beside it, and where the user says there are more.
fn programs(executable: &Path) -> Vec<PathBuf> {
    let mut all = vec![executable.to_owned()];
    all.extend(executable.parent().and_then(Path::parent).map(|prefix| prefix.join("lib/workmux")));
    let named = std::env::var_os("WORKMUX_PLUGIN_PATH").unwrap_or_default();
    all.extend(std::env::split_paths(&named).filter(|path| path.is_absolute()));
    all
}

pub(super) fn variables(
    place: &Place,
    config: &Config,
    command: &Command,
    instance: &Instance,
    identity: &Identity,
    rpc: Option<Rpc<'_>>,
    bin: &Path,
) -> Vec<Variable> {
    GuestEnvironment {
        backend: &instance.env,
        bin: Some(bin),
        agent: &command.env,
        set: &config.sandbox.env,
        pass: &config.sandbox.env_passthrough,
        worktree: &place.repository.worktree,
        name: identity.name.as_deref(),
        email: identity.email.as_deref(),
        rpc,
    }
    .variables(&|name: &str| -> Option<OsString> { std::env::var_os(name) })
}

pub(super) fn assignment(variable: &Variable) -> Vec<u8> {
    [variable.name.as_bytes(), b"=", variable.value.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p13_only_a_directory_of_nothing_but_worktrees_is_given_to_instances_whole() {
        let others = ["/u/src/app", "/u", "/u/.local/share/workmux", "/opt/wm/bin/workmux"].map(PathBuf::from);
        let closed = [Path::new("/u/src/app/.git"), Path::new("/u/.local/state/workmux")];
        for good in ["/u/src/app__worktrees", "/u/src/app/.worktrees", "/u/wt/app", "/data/wt"] {
            assert!(holds_only_worktrees(Path::new(good), &others, &closed), "{good}");
        }
        let within = ["/u/src/app/.git", "/u/src/app/.git/wt", "/u/.local/state/workmux/git"];
        let above = ["/", "/u", "/u/src", "/u/src/app", "/u/.local", "/u/.local/share", "/opt/wm"];
        for bad in within.into_iter().chain(above) {
            assert!(!holds_only_worktrees(Path::new(bad), &others, &closed), "{bad}");
        }
    }
}
