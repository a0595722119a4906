//! What one sandbox sees of its machine: the words for `workmux unshare`, which lays it out in namespaces of its own.
//!
//! Decided from the host's mounts and the exports the machine has; asks no machine. What is exported but not mounted here
//! is covered, and so is everything through which a process could have something run outside: the exports' corner, sockets of
//! the user's services, the home of the machine's user.

use std::path::{Path, PathBuf};

use workmux_plugin_api::{Access, Error, MaskKind, Mount, Placing, Result, SandboxSpec};

use crate::exports::{self, CORNER, Export, HOSTS_CORNER};
use crate::files::{Copied, Files};

/// No mount may lie on these or above them.
const KEPT: [&str; 8] = ["/dev", "/dev/shm", "/proc", "/sys", "/tmp", "/var/tmp", CORNER, HOSTS_CORNER];
/// Nothing may be mounted in these either.
const SEALED: [&str; 4] = ["/dev", "/proc", "/sys", CORNER];
/// Directories through which processes of one user meet: sockets of services that start others outside of every sandbox,
/// files of other sandboxes. Each sandbox has its own, in memory.
const MEETING: [&str; 5] = ["/run", "/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue"];
/// Where the machine's user may end other processes by writing, besides much that is worth reading.
const KERNEL: &str = "/sys";
/// The sandboxes' home, below that of the machine's user.
pub(crate) const STORE: &str = ".workmux/home";

/// A sandbox in its machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Layout {
    /// For `workmux unshare`, in order.
    pub(crate) options: Vec<String>,
    /// What must be there before, in the words of the script that makes it.
    pub(crate) places: Vec<Place>,
    /// What must be put into the host's export before.
    pub(crate) copies: Vec<Copied>,
    /// The same, for places that are made from it.
    pub(crate) seeds: Vec<Copied>,
}

/// Something that must be there in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Directory(String),
    File(String),
    /// A file that the sandboxes own: copied once, from here, to this place below their home.
    Seed(String, String),
}

impl Place {
    /// As the script reads it.
    pub(crate) fn words(&self) -> Vec<&str> {
        match self {
            Self::Directory(path) => vec!["d", path],
            Self::File(path) => vec!["f", path],
            Self::Seed(from, below) => vec!["s", from, below],
        }
    }

    /// As it is remembered.
    pub(crate) fn key(&self) -> String {
        self.words().join("\0")
    }
}

/// What is known of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) exports: &'a [Export],
    /// Where it has other things of the host.
    pub(crate) others: &'a [PathBuf],
    /// Its user's home.
    pub(crate) home: &'a Path,
    /// A directory below `/run` that names have to be looked up with.
    pub(crate) resolver: Option<&'a Path>,
}

/// Lays it out. `host` is our export's directory on the host.
pub(crate) fn layout(spec: &SandboxSpec, machine: Machine<'_>, host: &Path) -> Result<Layout> {
    let Machine { exports, others, home, resolver } = machine;
    let mut placing = Placing::new(home);
    placing.put(home, None);
    let mut out = Layout::default();
    let covered = MEETING.into_iter().chain([CORNER]).map(Path::new);
    for dir in covered.chain(others.iter().map(PathBuf::as_path).filter(|dir| !home.starts_with(dir))) {
        out.options.extend(["--tmpfs".into(), text(dir)?]);
    }
    for kept in [Some(Path::new(KERNEL)), resolver].into_iter().flatten() {
        out.options.extend(["--ro-bind".into(), text(kept)?, text(kept)?]);
    }
    out.options.extend(["--bind".into(), text(&home.join(STORE))?, text(home)?]);

    let in_host = |name: &Path| exports::place(exports, &host.join(name), false).ok_or_else(|| not_exported(host));
    // What mounts beside this one lie on is made anew each time, so that nobody can put something else there.
    for share in spec.mounts.iter().filter_map(share) {
        if !spec.mounts.iter().any(|above| share.starts_with(&above.target)) {
            out.options.extend(["--tmpfs".into(), text(share)?]);
        }
    }
    let mut placed: Vec<PathBuf> = Vec::new();
    for mount in &spec.mounts {
        let mount = placing.mount(mount)?;
        check_target(&mount.target)?;
        let writable = mount.access == Access::ReadWrite;
        let directory = mount.source.is_dir();
        let own = mount.target.starts_with(HOSTS_CORNER);
        let source = match exports::place(exports, &mount.source, writable).filter(|_| !own) {
            Some(place) => place,
            None => {
                let copied = match (directory, writable) {
                    (true, false) if own => Files::of_run(&spec.run, &mount.source),
                    (false, false) if own => Files::program(&mount.source)?,
                    (false, false) => Files::file(&mount.source),
                    (false, true) => match mount.target.strip_prefix(home) {
                        Ok(below) => {
                            let copied = Files::file(&mount.source);
                            out.places.push(Place::Seed(text(&in_host(&copied.name)?)?, text(below)?));
                            out.seeds.push(copied);
                            continue;
                        }
                        Err(_) => return Err(lonely_file(&mount)),
                    },
                    (true, _) => return Err(not_exported(&mount.source)),
                };
                let place = in_host(&copied.name)?;
                out.copies.push(copied);
                place
            }
        };
        let inside = placed.iter().any(|above| mount.target.starts_with(above) && *above != mount.target);
        if !inside && !own && !mount.target.starts_with(home) {
            let share = share(&mount);
            let place = text(share.unwrap_or(&mount.target))?;
            out.places.push(if directory { Place::Directory(place) } else { Place::File(place) });
        }
        let option = if writable { "--bind" } else { "--ro-bind" };
        out.options.extend([option.into(), text(&source)?, text(&mount.target)?]);
        placed.push(mount.target);
    }
    for mask in &spec.policy.masks {
        let option = if mask.kind == MaskKind::Directory { "--empty-dir" } else { "--empty-file" };
        for target in placing.cover(mask)? {
            out.options.extend([option.into(), text(&target)?]);
        }
    }
    Ok(out)
}

/// The directory in which later sandboxes find theirs beside this one.
fn share(mount: &Mount) -> Option<&Path> {
    let share = mount.shares.first().filter(|share| mount.target.starts_with(share) && mount.source.is_dir());
    share.map(PathBuf::as_path)
}

fn check_target(target: &Path) -> Result<()> {
    let refuse = |why: String| Err(Error::refused(format!("'{}' {why}", target.display())));
    if let Some(kept) = KEPT.iter().find(|kept| Path::new(kept).starts_with(target)) {
        return refuse(format!("would cover '{kept}' of the machine"));
    }
    match SEALED.iter().find(|sealed| target.starts_with(sealed)) {
        Some(sealed) => refuse(format!("lies in '{sealed}', where nothing can be mounted")),
        None => Ok(()),
    }
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::refused(format!("'{}' is not UTF-8", path.display())))
}

fn not_exported(path: &Path) -> Error {
    Error::internal(format!("the machine does not see '{}'", path.display()))
}

fn lonely_file(mount: &Mount) -> Error {
    Error::refused(format!("'{}' cannot be mounted writable: machines see directories only", mount.source.display()))
        .hint("mount the directory that it lies in, or leave out 'writable'")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use workmux_plugin_api::{ErrorKind, Mask, Policy};

    use super::*;
    use crate::settings::Table;

    /// A linked worktree as the host describes it, below `root`.
    fn spec(root: &Path) -> SandboxSpec {
        let at = |below: &str| root.join(below);
        for dir in ["main/.git/host-objects", "main/.git/objects", "wt/a/sub", "open/r/a", "claude", "run/sock"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        for file in ["wt/a/.git", "wt/a/.env", "claude.json", "guest"] {
            fs::write(at(file), "x").unwrap();
        }
        let shared = |mount: Mount, share: &str| Mount { shares: vec![at(share)], ..mount };
        SandboxSpec {
            run: "0123456789abcdef0123456789abcdef".into(),
            repository: at("main/.git"),
            worktree: at("wt/a"),
            mounts: vec![
                Mount::read_only(at("main"), at("main")),
                shared(Mount::read_write(at("open/r/a"), at("main/.git")), "open/r"),
                shared(Mount::read_write(at("wt/a"), at("wt/a")), "wt"),
                Mount::read_only(at("wt/a/.git"), at("wt/a/.git")),
                Mount::read_only(at("run/sock"), "/run/workmux/sock"),
                Mount::read_only(at("guest"), "/run/workmux/bin/workmux"),
                Mount::read_write(at("claude"), "~/.claude"),
                Mount::read_write(at("claude.json"), "~/.claude.json"),
            ],
            policy: Policy { masks: vec![Mask { target: at("wt/a/.env"), kind: MaskKind::File }], ..Policy::default() },
            ..SandboxSpec::default()
        }
    }

    fn lay_out(spec: &SandboxSpec, root: &Path) -> Result<Layout> {
        let host = root.join("host");
        let exports = exports::needed(spec, &Table::default(), &host);
        layout(
            spec,
            Machine {
                exports: &exports,
                others: &["/srv/lima".into()],
                home: Path::new("/home/ann.guest"),
                resolver: Some(Path::new("/run/systemd/resolve")),
            },
            &host,
        )
    }

    /// Without what differs from run to run: the place, names of exports, stamps of programs.
    fn shown(layout: &Layout, root: &Path, spec: &SandboxSpec) -> String {
        let mut text = layout.options.join(" ").replace(" --", "\n--");
        for place in &layout.places {
            text += &format!("\n{}", place.words().join(" "));
        }
        let host = root.join("host");
        let exports = exports::needed(spec, &Table::default(), &host);
        for export in &exports {
            let name = export.location.strip_prefix(root).unwrap().display().to_string();
            text = text.replace(export.mount_point().to_str().unwrap(), &format!("[{name}]"));
        }
        for copied in layout.copies.iter().chain(&layout.seeds) {
            let name = copied.name.components().next().unwrap().as_os_str().to_str().unwrap();
            text = text.replace(copied.name.to_str().unwrap(), name);
        }
        text.replace(root.to_str().unwrap(), "")
    }

    #[test]
    fn a_linked_worktree() {
        let root = tempfile::tempdir().unwrap();
        let spec = spec(root.path());
        let layout = lay_out(&spec, root.path()).unwrap();
        assert_eq!((layout.copies.len(), layout.seeds.len()), (2, 1));
        insta::assert_snapshot!(shown(&layout, root.path(), &spec));
    }

    #[test]
    fn p65_what_cannot_be_shown_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let with = |mount: Mount| {
            let mut spec = spec(root.path());
            spec.mounts.push(mount);
            lay_out(&spec, root.path()).map(drop).unwrap_err()
        };
        let file = root.path().join("claude.json");
        assert!(with(Mount::read_write(&file, "/opt/x.json")).message.contains("directories only"));
        for target in ["/", "/proc/x", "/sys", "/dev/shm", "/mnt/workmux/x", "/mnt", "/run", "/tmp"] {
            assert_eq!(
                with(Mount::read_only(root.path().join("wt/a/sub"), target)).kind,
                ErrorKind::Refused,
                "{target}"
            );
        }
    }

    #[test]
    fn a_directory_the_machine_does_not_have_is_no_mount() {
        let root = tempfile::tempdir().unwrap();
        let spec = spec(root.path());
        let host = root.path().join("host");
        let few = [Export { location: host.clone(), writable: false }];
        let machine = Machine { exports: &few, others: &[], home: Path::new("/home/ann.guest"), resolver: None };
        assert!(layout(&spec, machine, &host).is_err());
    }
}
