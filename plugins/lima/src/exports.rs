//! What of the host a machine sees at all, pure: decided when the machine is made, for all sandboxes it will ever have.
//!
//! Exports are the hard boundary: whoever became root in the machine has all of them, and nothing else. They lie at places
//! of their own below [`CORNER`], so that none lies inside another; what a sandbox sees of them is [`crate::layout`]'s.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use workmux_plugin_api::{Access, Mount, SandboxSpec};

use crate::settings::{Isolation, Table};

/// Where exports lie in a machine. Sandboxes do not see it.
pub(crate) const CORNER: &str = "/mnt/workmux";
/// What the host gives to each run, which no machine stores: keys and the guest program.
pub(crate) const HOSTS_CORNER: &str = "/run/workmux";

/// A directory of the host that a machine sees, at the place that its path decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Export {
    pub(crate) location: PathBuf,
    pub(crate) writable: bool,
}

impl Export {
    pub(crate) fn mount_point(&self) -> PathBuf {
        let hash = Sha256::digest(self.location.as_os_str().as_bytes());
        let name: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Path::new(CORNER).join(name)
    }

    /// Whether a host path is seen through it, with the access that is asked for.
    fn shows(&self, path: &Path, writable: bool) -> bool {
        path.starts_with(&self.location) && (self.writable || !writable)
    }
}

/// The exports that this sandbox needs, sorted. `host` is our own directory for the machine.
pub(crate) fn needed(spec: &SandboxSpec, table: &Table, host: &Path) -> Vec<Export> {
    let mut all = vec![Export { location: host.to_owned(), writable: false }];
    // Those that are made later, too.
    let more = [table.projects_dir(&spec.home), spec.worktrees.clone()];
    all.extend(more.into_iter().flatten().map(|location| Export { location, writable: true }));
    for mount in spec.mounts.iter().filter(|mount| !mount.target.starts_with(HOSTS_CORNER) && mount.source.is_dir()) {
        let location = location(mount, table.isolation).to_owned();
        all.push(Export { location, writable: mount.access == Access::ReadWrite });
    }
    pruned(all)
}

/// A writable one that shows what only the host may write: what workmux and Lima keep about machines (`own`), or the user's
/// home with it.
pub(crate) fn too_wide<'a>(exports: &'a [Export], home: &Path, own: &[&Path]) -> Option<&'a Export> {
    let shows =
        |export: &Export, own: &Path| export.shows(own, true) || export.writable && export.location.starts_with(own);
    exports.iter().find(|export| export.shows(home, true) || own.iter().any(|own| shows(export, own)))
}

/// Why a directory is not one of projects: others own it, or programs of the user's keep there what they trust.
pub(crate) fn not_of_projects(dir: &Path, spec: &SandboxSpec, lima_home: &Path) -> Option<&'static str> {
    let hidden = |below: &Path| below.iter().next().is_some_and(|first| first.as_encoded_bytes().starts_with(b"."));
    let owner = dir.metadata().map(|meta| meta.uid());
    match () {
        () if dir.strip_prefix(&spec.home).is_ok_and(hidden) => Some("it lies in a hidden directory of your home"),
        () if owner.is_ok_and(|uid| uid != spec.user.uid) => Some("it is not yours"),
        () if dir.starts_with(lima_home) || lima_home.starts_with(dir) => Some("Lima keeps its machines there"),
        () => None,
    }
}

/// The widest directory that may be exported for a mount, so that later sandboxes find theirs in it.
fn location(mount: &Mount, isolation: Isolation) -> &Path {
    let share = match isolation {
        Isolation::Project => mount.shares.first(),
        Isolation::Shared => mount.shares.last(),
    };
    share.map_or(&mount.source, |share| share)
}

/// Without those that another one shows as well.
pub(crate) fn pruned(mut all: Vec<Export>) -> Vec<Export> {
    // Writable ones first among equals.
    all.sort_by(|a, b| a.location.cmp(&b.location).then(b.writable.cmp(&a.writable)));
    let mut kept: Vec<Export> = Vec::new();
    for export in all {
        if !kept.iter().any(|other| other.shows(&export.location, export.writable)) {
            kept.push(export);
        }
    }
    kept
}

/// The needed exports that a machine does not have.
pub(crate) fn missing<'a>(needed: &'a [Export], there: &[Export]) -> Vec<&'a Export> {
    needed.iter().filter(|export| place(there, &export.location, export.writable).is_none()).collect()
}

/// Where a host path is in a machine with these exports.
pub(crate) fn place(exports: &[Export], path: &Path, writable: bool) -> Option<PathBuf> {
    let showing = exports.iter().filter(|export| export.shows(path, writable));
    // The narrowest: what is read-only there is so for the whole machine.
    let export = showing.max_by_key(|export| (export.location.components().count(), !export.writable))?;
    let below = path.strip_prefix(&export.location).ok()?;
    // Joining nothing would add a slash.
    Some(if below.as_os_str().is_empty() { export.mount_point() } else { export.mount_point().join(below) })
}

/// A writable export through which the machine could write git's own files of this repository.
pub(crate) fn exposing<'a>(exports: &'a [Export], repository: &Path) -> Option<&'a Export> {
    exports.iter().find(|export| {
        let location = &export.location;
        export.writable && (repository.starts_with(location) || location.starts_with(repository))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings;

    fn export(location: &str, writable: bool) -> Export {
        Export { location: location.into(), writable }
    }

    /// A linked worktree and its repository, on a disk.
    fn spec(root: &Path) -> SandboxSpec {
        let at = |below: &str| root.join(below);
        for dir in ["main/.git/objects", "main__worktrees/a", "state/open/r/a/guest", "home/.claude", "sock"] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        std::fs::write(at("main__worktrees/a/.git"), "gitdir: x\n").unwrap();
        let shared = |mount: Mount, shares: &[&str]| Mount { shares: shares.iter().map(|s| at(s)).collect(), ..mount };
        SandboxSpec {
            repository: at("main/.git"),
            worktree: at("main__worktrees/a"),
            home: at("home"),
            mounts: vec![
                Mount::read_only(at("main"), at("main")),
                shared(Mount::read_write(at("state/open/r/a/guest"), at("main/.git")), &["state/open/r", "state/open"]),
                Mount::read_only(at("main/.git/objects"), at("main/.git/host-objects")),
                shared(Mount::read_write(at("main__worktrees/a"), at("main__worktrees/a")), &["main__worktrees"]),
                Mount::read_only(at("main__worktrees/a/.git"), at("main__worktrees/a/.git")),
                Mount::read_only(at("sock"), "/run/workmux/sock"),
                Mount::read_write(at("home/.claude"), "~/.claude"),
            ],
            ..SandboxSpec::default()
        }
    }

    fn shown(root: &Path, exports: &[Export]) -> Vec<String> {
        let below = |e: &Export| e.location.strip_prefix(root).unwrap_or(&e.location).display().to_string();
        exports.iter().map(|e| format!("{} {}", if e.writable { "rw" } else { "ro" }, below(e))).collect()
    }

    #[test]
    fn p13_a_machine_of_linked_worktrees_cannot_write_gits_own_files() {
        let root = tempfile::tempdir().unwrap();
        let spec = spec(root.path());
        let exports = needed(&spec, &Table::default(), Path::new("/host"));
        assert_eq!(
            shown(root.path(), &exports),
            ["ro /host", "rw home/.claude", "ro main", "rw main__worktrees", "rw state/open/r"]
        );
        assert_eq!(exposing(&exports, &spec.repository), None);
    }

    #[test]
    fn p25_a_machine_that_can_write_them_is_known() {
        let root = tempfile::tempdir().unwrap();
        let mut spec = spec(root.path());
        spec.mounts.remove(0);
        spec.mounts.insert(0, Mount::read_write(root.path().join("main"), root.path().join("main")));
        let exports = needed(&spec, &Table::default(), Path::new("/host"));
        assert_eq!(
            exposing(&exports, &spec.repository),
            Some(&Export { location: root.path().join("main"), writable: true })
        );
        let shared = json!({"isolation": "shared", "projects_dir": root.path()});
        let exports = needed(&spec, &settings::read(&shared).unwrap(), Path::new("/host"));
        assert_eq!(exports.len(), 2, "{exports:?}");
        assert!(exposing(&exports, &spec.repository).is_some());
    }

    #[test]
    fn p13_what_is_the_hosts_alone_is_no_part_of_what_a_machine_can_write() {
        let found = |location, writable| {
            let exports = [export("/a", true), export(location, writable)];
            let own = [Path::new("/var/state/host"), Path::new("/home/ann/.lima")];
            too_wide(&exports, Path::new("/home/ann"), &own).is_some()
        };
        for wide in
            ["/", "/home", "/home/ann", "/var/state", "/var/state/host", "/home/ann/.lima", "/home/ann/.lima/wm-x"]
        {
            assert!(found(wide, true) && !found(wide, false), "{wide}");
        }
        assert!(!found("/home/ann/src", true) && !found("/var/state/other", true));
    }

    #[test]
    fn an_export_inside_another_goes_unless_it_may_be_written() {
        let pruned = pruned(vec![
            export("/p/main", false),
            export("/p/main/.worktrees", true),
            export("/p/main/sub", false),
            export("/p/mainline", false),
            export("/p/main/.worktrees", false),
            export("/p/main/.worktrees/x", false),
        ]);
        let kept = [export("/p/main", false), export("/p/main/.worktrees", true), export("/p/mainline", false)];
        assert_eq!(pruned, kept);
    }

    #[test]
    fn a_path_is_found_through_the_narrowest_export_that_allows_it() {
        let there = [export("/p", true), export("/p/main", false)];
        let at = |path: &str, writable| place(&there, Path::new(path), writable);
        assert_eq!(at("/p/main/x", false), Some(there[1].mount_point().join("x")));
        assert_eq!(at("/p/main/x", true), Some(there[0].mount_point().join("main/x")));
        assert_eq!(at("/p", false).unwrap().to_str(), there[0].mount_point().to_str());
        assert_eq!(at("/q", false), None);
        assert_eq!(missing(&[export("/p/main", true), export("/q", false)], &there), [&export("/q", false)]);
    }

    #[test]
    fn places_in_the_machine_never_change() {
        assert_eq!(export("/home/u/proj", true).mount_point(), Path::new("/mnt/workmux/9c09f8055a26"));
    }
}
