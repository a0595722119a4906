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

/// Where worktrees of this repository are made, unless that is a place that holds more than worktrees, or one that a
/// sandbox may have put something else in the place of: below a checkout, of whatever repository, or behind a link.
fn worktrees(repository: &Repository, config: &Config, surroundings: &Surroundings) -> Option<PathBuf> {
    let main = repository.main_checkout.as_ref()?;
    let base = names::base_directory(config, main, &surroundings.home).ok()?;
    if !is_plain(&base) || below_a_checkout(&base, &surroundings.home) {
        return None;
    }
    let Surroundings { home, state, config_home, cache, executable, .. } = surroundings;
    let mut others =
        vec![main.clone(), repository.common_dir.clone(), home.clone(), state.clone(), config_home.clone()];
    others.extend([cache.clone(), surroundings.data_home.join("workmux")]);
    others.extend(programs(executable));
    let closed = [&repository.common_dir, state, cache, &config_home.join("workmux"), &surroundings.data_home];
    holds_only_worktrees(&base, &others, &closed.map(PathBuf::as_path)).then_some(base)
}

/// Whether a path, or the one above where it does not exist yet, is a directory that no link leads to.
fn is_plain(path: &Path) -> bool {
    match path.symlink_metadata() {
        Ok(meta) => meta.is_dir() && path.canonicalize().is_ok_and(|real| real == path),
        Err(_) => path.parent().is_some_and(|above| above.canonicalize().is_ok_and(|real| real == above)),
    }
}

/// Whether the path, or one above it, is a checkout or a git directory. No sandbox has the home or what is above it.
fn below_a_checkout(path: &Path, home: &Path) -> bool {
    path.ancestors().take_while(|dir| !home.starts_with(dir)).any(|dir| {
        dir.join(".git").symlink_metadata().is_ok()
            || ["HEAD", "objects", "refs"].iter().all(|name| dir.join(name).symlink_metadata().is_ok())
    })
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

    #[test]
    fn p13_what_a_sandbox_can_put_in_the_place_of_that_directory_is_not_given_away() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let at = |below: &str| home.join(below);
        for dir in ["src/app__worktrees", "src/outer/.git", "src/outer/wt", "bare.git/objects", "bare.git/refs", "x"] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        std::fs::write(at("bare.git/HEAD"), "ref: refs/heads/main\n").unwrap();
        std::os::unix::fs::symlink(at("x"), at("src/linked__worktrees")).unwrap();
        std::os::unix::fs::symlink(at("src"), at("elsewhere")).unwrap();
        let given = |below: &str| is_plain(&at(below)) && !below_a_checkout(&at(below), &home);
        assert!(given("src/app__worktrees") && given("src/new__worktrees"));
        // The home itself may be a checkout: no sandbox has it.
        std::fs::create_dir(at(".git")).unwrap();
        assert!(given("src/app__worktrees"));
        for refused in [
            "src/linked__worktrees",
            "elsewhere/app__worktrees",
            "elsewhere/new",
            "src/outer/wt",
            "src/outer/new",
            "bare.git/wt",
            "src/no/new",
        ] {
            assert!(!given(refused), "{refused}");
        }
    }
}
