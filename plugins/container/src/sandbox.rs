//! One sandbox, decided: the verb `prepare`. What is decided here is all that the later verbs know, so they cannot
//! disagree.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workmux_plugin_api::{
    Access, Error, Instance, MaskKind, Mount, Network, Placing, Result, Route, SandboxSpec, User, Word,
};

use crate::engine::Engine;
use crate::limits::{self, Delegated};
use crate::route::Way;
use crate::settings::{Group, Table};
use crate::{image, labels};

/// A guest's home: writable for whatever user it is, in any image.
const HOME: &str = "/tmp";
const PATH: &str = "/tmp/.local/bin:/usr/local/bin:/usr/bin:/bin";
/// No mount may lie on these or above them.
const KEPT: &[&str] = &["/dev", "/proc", "/run/workmux", "/sys", "/tmp"];
/// Nothing may be mounted in these either.
const SEALED: &[&str] = &["/dev", "/proc", "/sys"];
/// A host name is at most this long; the slug is the longest part of names.
const LONGEST: usize = 40;

/// What a command line is made of; recorded by the host as the instance's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sandbox {
    pub(crate) engine: Engine,
    pub(crate) rootless: bool,
    pub(crate) image: String,
    /// The image is the one that is published for the agent.
    pub(crate) published: bool,
    pub(crate) hostname: String,
    pub(crate) user: User,
    pub(crate) network: Network,
    pub(crate) limits: limits::Set,
    pub(crate) labels: Vec<String>,
    /// In the order given; covers of masked paths are among them.
    pub(crate) mounts: Vec<Mount>,
    pub(crate) memory: Vec<String>,
    pub(crate) devices: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) security: Vec<String>,
    pub(crate) oci_runtime: Option<String>,
    /// `NAME:ADDRESS`, for the guest's table of hosts.
    pub(crate) hosts: Vec<String>,
}

impl Sandbox {
    pub(crate) fn from_state(state: &Value) -> Result<Self> {
        Self::deserialize(state)
            .map_err(|e| Error::internal("the recorded state of the sandbox cannot be read").cause(e.to_string()))
    }
}

/// Decides, and writes the empty files that lie over masked paths unless it is a dry run. Asks the engine nothing: a
/// missing image or a stopped daemon shows when the container is started.
pub(crate) fn prepare(spec: &SandboxSpec, table: &Table, engine: Engine, way: &Way, dry_run: bool) -> Result<Instance> {
    check_user(spec.user, table)?;
    check_network(spec.policy.network, engine, way)?;
    let limits = limits::decide(&spec.policy.limits, engine, Delegated::of(engine))?;
    let agent = image::agent(&spec.agent);
    let image = image::choose(spec.image.as_deref(), &spec.agent, table)?;

    let mut notes = Vec::new();
    if spec.user.uid == 0 {
        notes.push("'sandbox.container.allow_root': the guest is this machine's root, without capabilities".into());
    }
    if !table.cap_add.is_empty() {
        notes.push("'sandbox.container.cap_add' has no effect: commands of a sandbox have no capabilities".into());
    }
    notes.extend(way.note.clone());
    let mut mounts = placed(spec, agent)?;
    if !dry_run {
        save_empty(&spec.scratch, &mounts)?;
    }
    mounts.dedup();

    let slug: String = spec.slug.chars().take(LONGEST).collect();
    let slug = slug.trim_matches('-');
    let mut security = table.security_opt.clone();
    if Path::new("/sys/fs/selinux/enforce").exists() {
        // Its labels forbid containers the user's own files, and relabelling them would change the user's system.
        security.push("label=disable".into());
    }
    let sandbox = Sandbox {
        engine,
        rootless: engine.is_rootless(),
        image: image.name.clone(),
        published: image.published,
        hostname: if slug.is_empty() { "sandbox".into() } else { slug.to_owned() },
        user: spec.user,
        network: spec.policy.network,
        limits,
        labels: labels::of(spec),
        mounts,
        memory: agent.memory.iter().map(|path| (*path).to_owned()).collect(),
        devices: table.devices.iter().filter_map(|device| device.argument().ok()).collect(),
        groups: table
            .group_add
            .iter()
            .map(|group| match group {
                Group::Number(number) => number.to_string(),
                Group::Name(name) => name.clone(),
            })
            .collect(),
        security,
        oci_runtime: table.oci_runtime.clone(),
        hosts: way.add_host.iter().map(|host| (*host).to_owned()).collect(),
    };
    let text = |name: &str, value: &str| (name.to_owned(), Word::from(value));
    let mut env = vec![text("HOME", HOME), text("PATH", PATH)];
    env.extend(agent.env.iter().map(|(name, value)| text(name, value)));
    Ok(Instance {
        name: format!("wm-{}-{}", sandbox.hostname, spec.run.get(..6).unwrap_or(&spec.run)),
        home: HOME.into(),
        env,
        inherit_env: true,
        state: serde_json::to_value(&sandbox).map_err(|e| Error::internal("sandbox state").cause(e.to_string()))?,
        notes,
        image: Some(image),
    })
}

/// No guest runs as the machine's root unless its user said so.
fn check_user(user: User, table: &Table) -> Result<()> {
    if user.uid != 0 || table.allow_root {
        return Ok(());
    }
    Err(Error::refused("root owns this worktree, and a sandbox does not run as root").hint(
        "give it to an ordinary user (chown -R USER PATH), or set 'sandbox.container.allow_root: true' in your own file",
    ))
}

/// Without a network nothing reaches the host over it.
fn check_network(network: Network, engine: Engine, way: &Way) -> Result<()> {
    if network != Network::None || way.route == Route::Sockets {
        return Ok(());
    }
    Err(Error::refused(format!(
        "a sandbox without network cannot be had: containers of this '{}' reach workmux over TCP only",
        engine.name()
    ))
    .hint(
        "use an engine on this machine itself (and remove 'sandbox.container.rpc: tcp'), another backend with \
         --backend, or allow the network: 'sandbox.network.policy: allow'",
    ))
}

/// The host's mounts and the covers of masked paths, at their final places.
fn placed(spec: &SandboxSpec, agent: &image::Agent) -> Result<Vec<Mount>> {
    let mut placing = Placing::new(Path::new(HOME));
    for path in agent.memory {
        placing.put(Path::new(path), None);
    }
    let mut mounts = Vec::new();
    for mount in &spec.mounts {
        let mut mount = mount.clone();
        if let Some((_, place)) = agent.elsewhere.filter(|(said, _)| mount.target == Path::new(said)) {
            mount.target = place.into();
        }
        let mount = placing.mount(&mount)?;
        check_target(&mount.target)?;
        mounts.push(mount);
    }
    for mask in &spec.policy.masks {
        let empty = empty(&spec.scratch, mask.kind);
        mounts.extend(placing.cover(mask)?.into_iter().map(|target| Mount::read_only(&empty, target)));
    }
    Ok(mounts)
}

fn check_target(target: &Path) -> Result<()> {
    let refuse = |why: String| Err(Error::refused(format!("'{}' {why}", target.display())));
    if let Some(kept) = KEPT.iter().find(|kept| Path::new(kept).starts_with(target)) {
        return refuse(format!("would cover '{kept}' of the sandbox"));
    }
    match SEALED.iter().find(|sealed| target.starts_with(sealed) && !target.starts_with("/dev/shm")) {
        Some(sealed) => refuse(format!("lies in '{sealed}', where nothing can be mounted")),
        None => Ok(()),
    }
}

fn empty(scratch: &Path, kind: MaskKind) -> PathBuf {
    scratch.join(if kind == MaskKind::Directory { "empty-directory" } else { "empty-file" })
}

fn save_empty(scratch: &Path, mounts: &[Mount]) -> Result<()> {
    let wanted = |path: &Path| mounts.iter().any(|mount| mount.source == path && mount.access == Access::ReadOnly);
    let (file, directory) = (empty(scratch, MaskKind::File), empty(scratch, MaskKind::Directory));
    let made = || {
        if wanted(&file) {
            fs::write(&file, "")?;
        }
        if wanted(&directory) { fs::create_dir_all(&directory) } else { Ok(()) }
    };
    made().map_err(|e| Error::internal(format!("could not write to '{}'", scratch.display())).cause(e.to_string()))
}

#[cfg(test)]
mod tests {
    use workmux_plugin_api::{ErrorKind, Mask, Policy};

    use super::*;

    const SOCKETS: Way = Way::SOCKETS;

    /// What the host would demand for a worktree that exists.
    fn spec(root: &Path) -> SandboxSpec {
        let worktree = root.join("wt");
        fs::create_dir_all(worktree.join("scratch")).unwrap();
        fs::write(worktree.join(".env"), "SECRET=1").unwrap();
        SandboxSpec {
            run: "0123456789abcdef0123456789abcdef".into(),
            slug: "fix-login".into(),
            worktree: worktree.clone(),
            user: User { uid: 1000, gid: 1000 },
            mounts: vec![Mount::read_write(&worktree, &worktree)],
            scratch: worktree.join("scratch"),
            image: Some("my-sandbox".into()),
            ..SandboxSpec::default()
        }
    }

    #[test]
    fn root_is_refused_unless_the_user_said_so() {
        let root = tempfile::tempdir().unwrap();
        let spec = SandboxSpec { user: User::default(), ..spec(root.path()) };
        let error = prepare(&spec, &Table::default(), Engine::Docker, &SOCKETS, true).unwrap_err();
        assert!(error.kind == ErrorKind::Refused && error.hint.unwrap().contains("chown"));
        let allowed = Table { allow_root: true, ..Table::default() };
        assert!(prepare(&spec, &allowed, Engine::Docker, &SOCKETS, true).unwrap().notes[0].contains("root"));
    }

    #[test]
    fn p66_a_masked_file_is_covered_wherever_it_is_mounted() {
        let root = tempfile::tempdir().unwrap();
        let mut spec = spec(root.path());
        spec.mounts.push(Mount::read_only(&spec.worktree, "~/copy"));
        let target = spec.worktree.join(".env");
        spec.policy =
            Policy { masks: vec![Mask { target: target.clone(), kind: MaskKind::File }], ..Policy::default() };
        let instance = prepare(&spec, &Table::default(), Engine::Podman, &SOCKETS, false).unwrap();
        let sandbox = Sandbox::from_state(&instance.state).unwrap();
        let empty = spec.scratch.join("empty-file");
        assert_eq!(fs::read(&empty).unwrap(), b"");
        let covers: Vec<_> = sandbox.mounts.iter().filter(|m| m.source == empty).map(|m| m.target.clone()).collect();
        assert_eq!(covers, [target, "/tmp/copy/.env".into()]);
    }

    #[test]
    fn p68_nothing_lies_over_what_the_sandbox_is_made_of() {
        let root = tempfile::tempdir().unwrap();
        for target in
            ["/", "/proc", "/proc/1", "/sys/fs/cgroup", "/dev", "/dev/null", "/run", "/run/workmux", "/tmp", "~/"]
        {
            let mut spec = spec(root.path());
            spec.mounts.push(Mount::read_only(root.path(), target));
            let error = prepare(&spec, &Table::default(), Engine::Docker, &SOCKETS, true).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Refused, "{target}: {error}");
        }
    }

    #[test]
    fn p65_without_network_there_is_no_way_over_it() {
        let root = tempfile::tempdir().unwrap();
        let mut spec = spec(root.path());
        let route = Route::Tcp { bind: [127, 0, 0, 1].into(), guest_host: "host.docker.internal".into() };
        let way = Way { route, add_host: Some("host.docker.internal:host-gateway"), note: None };
        let instance = prepare(&spec, &Table::default(), Engine::Docker, &way, true).unwrap();
        assert_eq!(Sandbox::from_state(&instance.state).unwrap().hosts, ["host.docker.internal:host-gateway"]);
        spec.policy.network = Network::None;
        let error = prepare(&spec, &Table::default(), Engine::Docker, &way, true).unwrap_err();
        assert!(error.kind == ErrorKind::Refused && error.hint.unwrap().contains("'sandbox.network.policy: allow'"));
        prepare(&spec, &Table::default(), Engine::Docker, &SOCKETS, true).unwrap();
    }

    #[test]
    fn codex_keeps_its_settings_outside_of_the_temporary_home() {
        let root = tempfile::tempdir().unwrap();
        let mut spec = spec(root.path());
        spec.agent = "codex".into();
        spec.mounts.push(Mount::read_write(root.path(), "~/.codex"));
        let instance = prepare(&spec, &Table::default(), Engine::Docker, &SOCKETS, true).unwrap();
        let sandbox = Sandbox::from_state(&instance.state).unwrap();
        assert_eq!(sandbox.mounts[1].target, Path::new("/home/user/.codex"));
        assert!(instance.env.contains(&("CODEX_HOME".into(), "/home/user/.codex".into())));
    }

    #[test]
    fn names_are_short_whatever_the_slug() {
        let root = tempfile::tempdir().unwrap();
        for (slug, name) in [
            ("fix-login".to_owned(), "wm-fix-login-012345".to_owned()),
            ("-".into(), "wm-sandbox-012345".into()),
            ("a".repeat(200), format!("wm-{}-012345", "a".repeat(LONGEST))),
        ] {
            let spec = SandboxSpec { slug, ..spec(root.path()) };
            assert_eq!(prepare(&spec, &Table::default(), Engine::Docker, &SOCKETS, true).unwrap().name, name);
        }
    }
}
