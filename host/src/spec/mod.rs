//! From a worktree and the configuration to a [`SandboxSpec`]: what a sandbox must look like.
//!
//! Decides what is mounted, hidden, limited and set; carries nothing out. `mounts` and `environment` are pure, `masks`
//! and `guard` look at files. What an instance *is* is the backend's; how git is kept apart is `git`'s.

mod environment;
mod guard;
mod masks;
mod mounts;

use std::path::{Path, PathBuf};

use color_eyre::eyre::Result;
use workmux_plugin_api::{Demands, Features, Limit, LimitKind, Limits, Network, Policy, Purpose, SandboxSpec, User};

pub use environment::{GuestEnvironment, HostVariables, Rpc, Variable};
pub use guard::{Guard, Protected};
pub use mounts::{AgentFiles, GitPart, Parts};

use crate::error::hinted;

/// Processes a guest gets where nobody said otherwise and the backend can enforce it.
pub const DEFAULT_PROCESSES: u64 = 1024;

/// The checkout a sandbox is for.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// Its top level, canonical.
    pub worktree: PathBuf,
    /// Where the command starts, canonical.
    pub cwd: PathBuf,
    /// The main checkout of a linked worktree.
    pub main: Option<PathBuf>,
    /// The repository's directories, which no other mount may make writable; the one that all worktrees share is first.
    pub git: Vec<PathBuf>,
    /// Where the repository's worktrees are made, if that directory may be given to instances whole.
    pub worktrees: Option<PathBuf>,
}

/// Everything the spec is made of besides its mounts.
pub struct Wishes<'a> {
    /// The run's id.
    pub run: &'a str,
    /// What it is for.
    pub purpose: Purpose,
    /// The agent's name.
    pub agent: &'a str,
    /// The first word of the command, where it is known.
    pub program: Option<String>,
    /// `sandbox.image`.
    pub image: Option<String>,
    /// The user's home.
    pub home: &'a Path,
    /// Who the guest is.
    pub user: User,
    /// The user's search path.
    pub search_path: &'a [PathBuf],
    /// The backend's directory for this run.
    pub scratch: PathBuf,
    /// What the host's own configuration demands.
    pub network: Network,
    /// What the backend's table demands.
    pub demands: &'a Demands,
}

/// Puts the spec together.
///
/// # Errors
/// A mount or mask that must not be, by the path the user or project wrote.
pub fn build(checkout: &Checkout, parts: Parts, guard: &Guard, wishes: Wishes) -> Result<SandboxSpec> {
    guard.worktree(&checkout.worktree)?;
    let mounts = mounts::compose(checkout, parts, guard)?;
    let policy = Policy {
        network: tighter(wishes.network, wishes.demands.network.unwrap_or_default()),
        masks: masks::resolve(checkout, &wishes.demands.masks)?,
        limits: limits(wishes.demands.limits),
    };
    Ok(SandboxSpec {
        run: wishes.run.to_owned(),
        purpose: wishes.purpose,
        slug: slug(&checkout.worktree),
        worktree: checkout.worktree.clone(),
        repository: checkout.git.first().cloned().unwrap_or_default(),
        worktrees: checkout.worktrees.clone(),
        cwd: checkout.cwd.clone(),
        user: wishes.user,
        home: wishes.home.to_owned(),
        mounts,
        policy,
        agent: wishes.agent.to_owned(),
        program: wishes.program,
        search_path: wishes.search_path.to_vec(),
        image: wishes.image,
        scratch: wishes.scratch,
    })
}

/// A readable name for the worktree.
pub fn slug(worktree: &Path) -> String {
    let name = worktree.file_name().unwrap_or_default().to_string_lossy();
    let slug = crate::text::slug(&name);
    if slug.is_empty() { "worktree".to_owned() } else { slug }
}

fn tighter(a: Network, b: Network) -> Network {
    if a == Network::None { a } else { b }
}

fn limits(demanded: Limits) -> Limits {
    Limits { processes: demanded.processes.or(Some(Limit { value: DEFAULT_PROCESSES, required: false })), ..demanded }
}

/// Refuses a policy that the backend says it cannot enforce (P65).
///
/// # Errors
/// The first part that cannot be met, and what to do.
pub fn enforceable(backend: &str, policy: &Policy, features: &Features, needs_mounts: bool) -> Result<()> {
    let cannot = |what: &str, key: &str| {
        Err(hinted(
            format!("backend '{backend}' cannot enforce {what}, so the sandbox is not started"),
            format!("choose another backend with --backend, or change {key}"),
        ))
    };
    if crate::mutant::off("p65_features") {
        return Ok(());
    }
    if needs_mounts && !features.mounts {
        return cannot("mounts, which keep git's files apart", "'sandbox.backend'");
    }
    if !policy.masks.is_empty() && !features.masks {
        return cannot("hidden files", "the backend's list of them");
    }
    if !features.networks.contains(&policy.network) {
        let what = if policy.network == Network::None { "no network" } else { "the demanded network" };
        return cannot(what, "'sandbox.network' or the backend's own network key");
    }
    let limits = [
        (policy.limits.memory, LimitKind::Memory, "a memory limit"),
        (policy.limits.millicpus, LimitKind::Cpus, "a processor limit"),
        (policy.limits.processes, LimitKind::Processes, "a process limit"),
    ];
    for (limit, kind, what) in limits {
        if limit.is_some_and(|l| l.required) && !features.limits.contains(&kind) {
            return cannot(what, "that limit");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use workmux_plugin_api::{Mask, MaskKind};

    #[test]
    fn p65_what_a_backend_cannot_enforce_refuses_the_start() {
        let able = Features {
            mounts: true,
            masks: true,
            networks: vec![Network::Allow, Network::None],
            limits: vec![LimitKind::Memory],
        };
        let required = |value| Some(Limit { value, required: true });
        let policies = [
            Policy { network: Network::None, ..Policy::default() },
            Policy { masks: vec![Mask { target: "/x".into(), kind: MaskKind::File }], ..Policy::default() },
            Policy { limits: Limits { memory: required(1), ..Limits::default() }, ..Policy::default() },
        ];
        let unable = Features { networks: vec![Network::Allow], mounts: true, ..Features::default() };
        for policy in &policies {
            enforceable("acme", policy, &able, true).unwrap();
            assert!(enforceable("acme", policy, &unable, true).is_err(), "{policy:?}");
        }
        assert!(enforceable("acme", &Policy::default(), &Features { mounts: false, ..able.clone() }, true).is_err());
        let cpus = Policy { limits: Limits { millicpus: required(1), ..Limits::default() }, ..Policy::default() };
        assert!(enforceable("acme", &cpus, &able, true).is_err());
        // A default that cannot be enforced is no reason to refuse.
        let default = Policy { limits: limits(Limits::default()), ..Policy::default() };
        enforceable("acme", &default, &unable, true).unwrap();
    }
}
