//! One sandbox, decided: the verb `prepare`. What is decided here is all that `exec` knows later, so both cannot
//! disagree.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workmux_plugin_api::{Error, Instance, Mask, MaskKind, Placing, Result, SandboxSpec, Word};

use crate::Tools;
use crate::machine::{Machine, Top};
use crate::network::{self, Net};
use crate::policy::{self, Processes};
use crate::settings::Table;
use crate::step::Step;
use crate::{agent, etc, place};

/// What a command line is made of; recorded by the host as the instance's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    pub(crate) hostname: String,
    pub(crate) network: Net,
    pub(crate) processes: Option<Processes>,
    pub(crate) steps: Vec<Step>,
}

impl Sandbox {
    pub(crate) fn from_state(state: &Value) -> Result<Self> {
        Self::deserialize(state)
            .map_err(|e| Error::internal("the recorded state of the sandbox cannot be read").cause(e.to_string()))
    }
}

/// Where the host puts its guest program; the host's own documentation promises it.
const GUEST_BIN: &str = "/run/workmux/bin";
/// Directories of the machine that hold its programs. What is a link on the machine is one in the guest.
const PROGRAM_DIRECTORIES: &[&str] = &["/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin"];
/// What a root guest could write in `/proc` without any capability: the kernel asks for the file's owner only.
const ROOT_WRITABLE: &[&str] =
    &["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/acpi", "/proc/scsi"];

/// Decides, and writes the small files the sandbox needs unless it is a dry run: those that runs share to `state`, the
/// backend's own directory.
pub(crate) fn prepare(
    spec: &SandboxSpec,
    table: &Table,
    tools: &Tools,
    machine: &Machine,
    state: &Path,
    dry_run: bool,
) -> Result<Instance> {
    policy::check_user(spec.user, table)?;
    let processes = policy::limits(&spec.policy.limits, spec.user, tools)?;
    let network = network::decide(spec.policy.network, table, tools, machine)?;
    let mut notes: Vec<String> = network.note.into_iter().collect();
    if spec.user.uid == 0 {
        notes.push("'sandbox.bubblewrap.allow_root': the guest is this machine's root, without capabilities".into());
    }

    let home = guest_home(&spec.home);
    let account = etc::account(machine, spec.user, &home);
    let hostname = hostname(&spec.slug);
    let etc = etc::decide(machine, spec.user, &account, &home, &hostname, network.resolv_conf);

    let mut steps = base(machine, spec.user.uid == 0, &home);
    steps.extend(etc.steps(state));
    let agent = agent::find(spec, &home);
    notes.extend(agent.notes);
    steps.extend(agent.steps);
    place::mounts_and_masks(&mut steps, &spec.mounts, &spec.policy.masks, &home, &spec.scratch)?;
    if !dry_run {
        etc.save(state, &spec.run)?;
        save_empty(&spec.scratch, &spec.policy.masks)?;
    }

    let sandbox = Sandbox { hostname, network: network.net, processes, steps };
    let text = |name: &str, value: &str| (name.to_owned(), Word::from(value));
    Ok(Instance {
        name: format!("bubblewrap-{}", spec.run.get(..6).unwrap_or(&spec.run)),
        env: vec![
            ("HOME".into(), home.clone().into()),
            ("PATH".into(), search_path(&agent.directories, spec, &home)),
            text("USER", &account),
            text("LOGNAME", &account),
            text("SHELL", if machine.exists("/bin/bash") { "/bin/bash" } else { "/bin/sh" }),
            text("LANG", "C.UTF-8"),
        ],
        home,
        inherit_env: false,
        state: serde_json::to_value(&sandbox).map_err(|e| Error::internal("sandbox state").cause(e.to_string()))?,
        notes,
        ..Instance::default()
    })
}

/// The guest's home lies where the user's does, so that paths in the agent's own files keep their meaning.
fn guest_home(home: &Path) -> PathBuf {
    match Placing::new(Path::new("/")).guest_path(home) {
        Ok(home) if home != Path::new("/") => home,
        _ => "/home/user".into(),
    }
}

/// A host name is at most 63 letters, digits and inner hyphens.
fn hostname(slug: &str) -> String {
    let name: String = slug.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(63).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "sandbox".into() } else { name.to_owned() }
}

/// Everything below the run's own mounts.
fn base(machine: &Machine, root: bool, home: &Path) -> Vec<Step> {
    let mut steps = vec![Step::read_only("/usr", "/usr")];
    for directory in PROGRAM_DIRECTORIES {
        match machine.top(directory) {
            Some(Top::Link(to)) => steps.push(Step::Link { at: directory.into(), to }),
            Some(Top::Directory) => steps.push(Step::read_only(directory, directory)),
            None => {}
        }
    }
    // All of them together leave half of the machine's memory, however much a guest writes (P63).
    let size = machine.memory() / 8;
    let memory = |target: &Path, mode| Step::Tmpfs { target: target.into(), mode, size };
    let (shm, dev) = (memory(Path::new("/dev/shm"), 0o1777), Step::Seal { target: "/dev".into() });
    steps.extend([Step::Proc, Step::Dev, shm, dev]);
    if root {
        steps.extend(ROOT_WRITABLE.iter().filter(|p| machine.exists(p)).map(|p| Step::read_only(p, p)));
    }
    steps.extend(["/tmp", "/var/tmp"].map(|shared| memory(Path::new(shared), 0o1777)));
    steps.extend(["/run", "/home"].map(Step::tmpfs));
    steps.push(memory(home, 0o700));
    steps
}

/// The guest program first, then the user's own order as far as the directories are there, then the usual ones.
fn search_path(agent: &[PathBuf], spec: &SandboxSpec, home: &Path) -> Word {
    let visible = |d: &Path| {
        place::is_program_directory(d) || place::mounted_as_it_is(&spec.mounts, home, d) || agent.iter().any(|a| a == d)
    };
    let mut all: Vec<PathBuf> = vec![GUEST_BIN.into()];
    let usual = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    for directory in spec.search_path.iter().filter(|d| visible(d)).chain(agent).chain(&usual) {
        // A colon would end the entry there.
        if !all.contains(directory) && !directory.as_os_str().as_encoded_bytes().contains(&b':') {
            all.push(directory.clone());
        }
    }
    let words: Vec<_> = all.iter().map(|d| d.as_os_str()).collect();
    words.join(std::ffi::OsStr::new(":")).into()
}

/// What lies over masked paths.
fn save_empty(scratch: &Path, masks: &[Mask]) -> Result<()> {
    let (file, directory) = (scratch.join(place::EMPTY_FILE), scratch.join(place::EMPTY_DIRECTORY));
    let wanted = |directory| masks.iter().any(|m| (m.kind == MaskKind::Directory) == directory);
    let made = || {
        if wanted(false) {
            fs::write(&file, "")?;
        }
        if wanted(true) { fs::create_dir_all(&directory) } else { Ok(()) }
    };
    made().map_err(|e| Error::internal(format!("could not write to '{}'", scratch.display())).cause(e.to_string()))
}

#[cfg(test)]
mod tests {
    use workmux_plugin_api::Mount;

    use super::*;

    #[test]
    fn names_are_host_names_whatever_the_slug() {
        assert_eq!(hostname("fix-login"), "fix-login");
        assert_eq!(hostname("-ü_-"), "sandbox");
        assert_eq!(hostname(&"a".repeat(99)).len(), 63);
    }

    #[test]
    fn a_home_that_is_none_is_replaced() {
        assert_eq!(guest_home(Path::new("/home/ann/")), Path::new("/home/ann"));
        for odd in ["/", "", "home", "/a/../b"] {
            assert_eq!(guest_home(Path::new(odd)), Path::new("/home/user"), "{odd}");
        }
    }

    #[test]
    fn the_search_path_names_what_the_guest_has() {
        let spec = SandboxSpec {
            search_path: ["/home/ann/bin", "/usr/games", "/home/ann/agent", "/tools/bin", "/usr/bin", "/a:b"]
                .map(PathBuf::from)
                .into(),
            mounts: vec![Mount::read_only("/tools", "/tools"), Mount::read_only("/x", "/home/ann/bin")],
            ..SandboxSpec::default()
        };
        let path = search_path(&["/home/ann/agent".into(), "/a:b".into()], &spec, Path::new("/home/ann"));
        insta::assert_snapshot!(
            path.as_os_str().to_str().unwrap(),
            @"/run/workmux/bin:/usr/games:/home/ann/agent:/tools/bin:/usr/bin:/usr/local/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
        );
    }
}
