//! Which host paths a guest sees, and in which order: pure but for the checks of [`Guard`].

use std::path::PathBuf;

use color_eyre::eyre::Result;
use workmux_plugin_api::Mount;

use super::{Checkout, Guard};
use crate::error::hinted;

/// A part of the git boundary.
#[derive(Debug, Clone)]
pub struct GitPart {
    /// On the host.
    pub source: PathBuf,
    /// In the guest.
    pub target: PathBuf,
    /// Whether the guest may write it; then it is private to the guest and not the repository's own.
    pub writable: bool,
    /// As [`Mount::shares`].
    pub shares: Vec<PathBuf>,
}

/// An agent's settings in the guest. Targets begin with `~/`.
#[derive(Debug, Clone)]
pub struct AgentFiles {
    /// On the host; exists.
    pub source: PathBuf,
    /// In the guest.
    pub target: PathBuf,
    /// Whether the guest may write it.
    pub writable: bool,
}

/// What is mounted besides the checkout itself.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// From the git boundary.
    pub git: Vec<GitPart>,
    /// `sandbox.extra_mounts`, expanded.
    pub extra: Vec<Mount>,
    /// The agent's settings.
    pub agent: Vec<AgentFiles>,
    /// The host's own: sockets and the guest program.
    pub own: Vec<Mount>,
}

/// All mounts, parents before children. Where two have the same target the git boundary and the host's own win.
pub(super) fn compose(checkout: &Checkout, parts: Parts, guard: &Guard) -> Result<Vec<Mount>> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in parts.extra {
        plain(&mount.source)?;
        plain(&mount.target)?;
        guard.mount("sandbox.extra_mounts", &mount, checkout)?;
        mounts.push(mount);
    }
    if let Some(main) = checkout.main.as_ref().filter(|main| **main != checkout.worktree) {
        mounts.push(Mount::read_only(main, main));
    }
    mounts.push(worktree(checkout));
    for AgentFiles { source, target, writable } in parts.agent {
        let mount = mount(source, target, writable);
        // Where the agent's settings lie is the user's word, or a link of the user's.
        guard.mount("sandbox.agent_config_dir", &mount, checkout)?;
        mounts.push(mount);
    }
    mounts.extend(parts.git.into_iter().map(|g| mount(g.source, g.target, g.writable).shared(g.shares)));
    mounts.extend(parts.own);
    for mount in &mounts {
        plain(&mount.source)?;
        plain(&mount.target)?;
    }
    Ok(ordered(mounts))
}

/// The checkout itself; later worktrees of the repository lie beside it where it lies where they are made.
fn worktree(checkout: &Checkout) -> Mount {
    let path = &checkout.worktree;
    let share = checkout.worktrees.iter().filter(|base| path.starts_with(base) && path != *base);
    Mount::read_write(path, path).shared(share.cloned().collect())
}

fn mount(source: PathBuf, target: PathBuf, writable: bool) -> Mount {
    if writable { Mount::read_write(source, target) } else { Mount::read_only(source, target) }
}

/// Sorted by target, component by component, so that a parent comes before what lies in it; of equal targets the last
/// given stays.
fn ordered(mut mounts: Vec<Mount>) -> Vec<Mount> {
    mounts.sort_by(|a, b| a.target.components().cmp(b.target.components()));
    let mut kept: Vec<Mount> = Vec::new();
    for mount in mounts {
        match kept.last_mut() {
            Some(last) if last.target == mount.target => *last = mount,
            _ => kept.push(mount),
        }
    }
    kept
}

/// A path every backend can carry: UTF-8, no newline (NUL cannot be).
fn plain(path: &std::path::Path) -> Result<()> {
    match path.to_str() {
        Some(text) if !text.contains('\n') => Ok(()),
        _ => Err(hinted(
            format!(
                "the path {} cannot be mounted: it holds a newline or is not UTF-8",
                crate::text::quote(path.as_os_str())
            ),
            "rename it, or work in another place",
        )),
    }
}

#[cfg(test)]
mod tests {
    use workmux_plugin_api::Access;

    use super::super::Protected;
    use super::*;

    fn shown(mounts: &[Mount]) -> Vec<String> {
        mounts
            .iter()
            .map(|m| {
                let mode = if m.access == Access::ReadWrite { "rw" } else { "ro" };
                format!("{mode} {} <- {}", m.target.display(), m.source.display())
            })
            .collect()
    }

    #[test]
    fn a_linked_worktree_with_its_git_parts() {
        let checkout = Checkout {
            worktree: "/p/wt/feature x".into(),
            cwd: "/p/wt/feature x/sub".into(),
            main: Some("/p/main".into()),
            git: vec!["/p/main/.git".into()],
            worktrees: Some("/p/wt".into()),
        };
        let parts = Parts {
            git: vec![
                GitPart { source: "/s/guest".into(), target: "/p/main/.git".into(), writable: true, shares: vec![] },
                GitPart {
                    source: "/p/main/.git/objects".into(),
                    target: "/p/main/.git/host-objects".into(),
                    writable: false,
                    shares: vec![],
                },
                GitPart {
                    source: "/p/wt/feature x/.git".into(),
                    target: "/p/wt/feature x/.git".into(),
                    writable: false,
                    shares: vec![],
                },
            ],
            extra: Vec::new(),
            agent: vec![AgentFiles { source: "/usr/share".into(), target: "~/.claude".into(), writable: true }],
            own: vec![Mount::read_only("/s/sock", "/run/workmux/sock")],
        };
        insta::assert_debug_snapshot!(shown(&compose(&checkout, parts, &Guard::new(Protected::default())).unwrap()));
    }

    #[test]
    fn only_a_worktree_that_lies_where_they_are_made_has_others_beside_it() {
        for (worktree, share) in
            [("/p/wt/a", Some("/p/wt")), ("/p/wt/a/b", Some("/p/wt")), ("/p/wt", None), ("/p/wtx", None), ("/q", None)]
        {
            let checkout = Checkout {
                worktree: worktree.into(),
                cwd: worktree.into(),
                main: Some("/p/main".into()),
                git: vec![],
                worktrees: Some("/p/wt".into()),
            };
            let mounts = compose(&checkout, Parts::default(), &Guard::new(Protected::default())).unwrap();
            let shares = |path: &str| &mounts.iter().find(|m| m.source == *path).unwrap().shares;
            assert_eq!(*shares(worktree), share.map(PathBuf::from).into_iter().collect::<Vec<_>>(), "{worktree}");
            assert!(shares("/p/main").is_empty());
        }
    }

    #[test]
    fn p08_a_path_no_backend_can_carry_is_refused_before_anything_starts() {
        use std::os::unix::ffi::OsStringExt as _;
        for bytes in [&b"/a\nb"[..], b"/a\xffb"] {
            let path = PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()));
            let checkout = Checkout { worktree: path.clone(), cwd: path, main: None, git: vec![], worktrees: None };
            assert!(compose(&checkout, Parts::default(), &Guard::new(Protected::default())).is_err());
        }
        for odd in ["/a b", "/a,b", "/a'b\"c", "/a:b=c", "/ü", "/a\\b\tc"] {
            let checkout = Checkout { worktree: odd.into(), cwd: odd.into(), main: None, git: vec![], worktrees: None };
            assert_eq!(compose(&checkout, Parts::default(), &Guard::new(Protected::default())).unwrap().len(), 1);
        }
    }
}
