//! What the host demands of a sandbox. The host decides what is mounted and allowed; a backend carries it out or
//! refuses. Paths are absolute, without `.` or `..`, and contain no NUL and no newline.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One sandbox, described whole. Built by the host from the worktree and the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxSpec {
    /// Random, 32 lower-case hex digits; unique to this run.
    pub run: String,
    /// What it is started for.
    pub purpose: Purpose,
    /// A short name made of `a-z`, `0-9` and `-`, for instances that want a readable name. Not unique.
    pub slug: String,
    /// The checkout's top level. Already among `mounts`.
    pub worktree: PathBuf,
    /// Git's directory that all worktrees of the repository share: the same for all sandboxes of one repository.
    pub repository: PathBuf,
    /// Where the repository's worktrees are made, for instances that keep their mounts. It may not exist yet; none where
    /// it holds more than worktrees. Not mounted by itself.
    pub worktrees: Option<PathBuf>,
    /// Where the command starts: the worktree or below.
    pub cwd: PathBuf,
    /// Who the guest must be. Never uid 0 unless the user's own settings for this backend say so.
    pub user: User,
    /// The user's home directory on the host. Not mounted; a backend may use the same path for the guest's home.
    pub home: PathBuf,
    /// What to mount, parents before children; later ones lie over earlier ones.
    pub mounts: Vec<Mount>,
    /// What the guest may and may not do. Every part must be met or the start refused.
    pub policy: Policy,
    /// The agent's name in the host's table, such as `claude`; `default` if it is none of them.
    pub agent: String,
    /// The program the guest will be asked to run, as the user wrote it, where one is known before the start.
    pub program: Option<String>,
    /// Absolute directories of the user's search path that nobody else can write, for backends that run host programs.
    pub search_path: Vec<PathBuf>,
    /// What an instance starts from; the meaning is the backend's.
    pub image: Option<String>,
    /// An empty private directory for files of this run. The host makes and removes it.
    pub scratch: PathBuf,
}

/// What a sandbox is started for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Purpose {
    /// An agent, with RPC.
    #[default]
    Agent,
    /// A shell or another command, without RPC.
    Shell,
}

/// A user by numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

/// A host path visible in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// A file or directory on the host; exists.
    pub source: PathBuf,
    /// Where the guest sees it. A path beginning with `~/` is below the guest's home, which the backend knows.
    pub target: PathBuf,
    /// What the guest may do with it.
    pub access: Access,
    /// Directories above `source`, the narrowest first, in which later runs find theirs: those in the same repository,
    /// then all of the user's. A backend whose instances keep the mounts they were made with may export one of them to an
    /// instance instead of `source`; a guest still sees `source` of it and nothing beside. Empty: only `source` itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<PathBuf>,
}

impl Mount {
    /// A mount the guest can only read.
    pub fn read_only(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), access: Access::ReadOnly, shares: Vec::new() }
    }

    /// A mount the guest can write.
    pub fn read_write(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), access: Access::ReadWrite, shares: Vec::new() }
    }

    /// The same, with [`Self::shares`].
    #[must_use]
    pub fn shared(mut self, shares: Vec<PathBuf>) -> Self {
        self.shares = shares;
        self
    }
}

/// What a guest may do with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read and execute.
    ReadOnly,
    /// Also write.
    ReadWrite,
}

/// What the host demands. A backend that cannot meet a part refuses the start with
/// [`ErrorKind::Refused`](crate::ErrorKind::Refused); it never ignores one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Which network the guest gets.
    pub network: Network,
    /// Paths inside mounts whose content the guest must not see.
    pub masks: Vec<Mask>,
    /// What the guest may use up.
    pub limits: Limits,
}

/// Which network a guest gets. The guest's own loopback always works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Network {
    /// The internet and the local network, but not the host's own loopback.
    #[default]
    Allow,
    /// None.
    None,
}

/// A path the guest must not see into, at every place where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    /// The path in the guest; exists.
    pub target: PathBuf,
    /// What lies there.
    pub kind: MaskKind,
}

/// What a mask covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskKind {
    /// A regular file: the guest sees an empty one or cannot open it; it cannot write it.
    File,
    /// A directory: the guest sees an empty one it cannot write.
    Directory,
}

/// What a guest may use up; absent = no limit demanded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<Limit>,
    /// Thousandths of a processor.
    pub millicpus: Option<Limit>,
    /// Processes and threads.
    pub processes: Option<Limit>,
}

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// In the unit of its field.
    pub value: u64,
    /// Asked for by the user: refuse the start if it cannot be enforced. Otherwise a default: enforce it if you can.
    pub required: bool,
}

/// A limit by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LimitKind {
    /// [`Limits::memory`]
    Memory,
    /// [`Limits::millicpus`]
    Cpus,
    /// [`Limits::processes`]
    Processes,
}

/// What a backend is able to enforce, checked by the host before anything is prepared and probed by tests from inside
/// a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Features {
    /// Host paths can be mounted at any guest path, read-only and read-write. Where this is false the guest sees the
    /// host's own files, and the host passes host paths and no git boundary (only for `isolation = "none"`).
    pub mounts: bool,
    /// Masks hold.
    pub masks: bool,
    /// The networks a guest can get.
    pub networks: Vec<Network>,
    /// The limits that are enforced, on this machine, for this user.
    pub limits: Vec<LimitKind>,
}
