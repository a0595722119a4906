//! Starting things in a sandbox: the requests and answers of [`Transport`](crate::Transport) and
//! [`Attach`](crate::Attach).

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Image, Result, SandboxSpec, Word};

/// Asks how guests of this backend reach the supervisor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteRequest {
    /// As [`Settings::value`](crate::Settings::value).
    pub settings: Value,
}

/// How guests reach the supervisor. A request, not a permission: the host refuses an address that is wider than the
/// user allows.
///
/// On either route the host adds a directory of its own and its guest program to the mounts (where the backend has
/// any), the backend starts that program as the instance's first process, and secrets travel over its connection only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Route {
    /// Through unix sockets in that directory: no port is opened, and a guest needs no network.
    #[default]
    Sockets,
    /// Over TCP, for guests on a machine of their own, to which files can be mounted but sockets do not cross. The
    /// directory then holds keys, which the first process proves itself with before anything is said. What is said
    /// after that is not encrypted. A guest without network cannot be served: refuse
    /// [`Network::None`](crate::Network::None) in `prepare`.
    Tcp {
        /// The host's address to listen on, the narrowest that guests reach. Ports are free ones.
        bind: IpAddr,
        /// What the guest dials: an address, or a name that it can look up. The user's `sandbox.rpc_host` replaces it.
        guest_host: String,
    },
}

/// Asks for an instance that commands can run in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrepareRequest {
    /// What the sandbox must be.
    pub spec: SandboxSpec,
    /// As [`Settings::value`](crate::Settings::value).
    pub settings: Value,
    /// Answer what would be, and change nothing: no pull, no boot, no file.
    pub dry_run: bool,
    /// The user was shown the last answer, an error with [`Remedy::Consent`](crate::Remedy::Consent), and agreed. The
    /// backend keeps a record of that, so that the same question is asked once.
    pub consented: bool,
}

/// A prepared instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    /// The backend's name for it; recorded by the host, and all that is left after a crash together with `state`.
    pub name: String,
    /// Whatever the backend needs later; the host does not look inside and stores it with the run. No secrets.
    pub state: Value,
    /// The guest's home directory, in the guest.
    pub home: PathBuf,
    /// Variables every command of the guest gets, such as `PATH`; the host's own come on top.
    pub env: Vec<(String, Word)>,
    /// Below those, commands get what the first process itself was started with: the variables that an image sets.
    pub inherit_env: bool,
    /// Lines to tell the user once, such as a degraded network.
    pub notes: Vec<String>,
    /// What it starts from, where that is an image of [`Images`](crate::Images).
    pub image: Option<Image>,
}

/// A command in the guest. `env` is complete: nothing is inherited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestCommand {
    /// The words, at least one.
    pub argv: Vec<Word>,
    /// The environment. Holds no secrets: those travel over the first process's connection to the host.
    pub env: Vec<(String, Word)>,
    /// The directory to start in, in the guest.
    pub cwd: PathBuf,
}

/// Asks to run a command in a prepared instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecRequest {
    /// As given to `prepare`.
    pub spec: SandboxSpec,
    /// As [`Settings::value`](crate::Settings::value).
    pub settings: Value,
    /// As answered by `prepare`.
    pub instance: Instance,
    /// The instance's first process, whatever the route: the host's guest program, which is told the user's command
    /// over its connection.
    pub command: GuestCommand,
    /// Standard input and output are a terminal.
    pub terminal: bool,
}

/// Asks for a further command in an instance that runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttachRequest {
    /// As [`Settings::value`](crate::Settings::value).
    pub settings: Value,
    /// As answered by `prepare` when the instance was made.
    pub instance: Instance,
    /// The host's process id of the instance's first process, if it is a process of this machine and alive.
    pub first_process: Option<u32>,
    /// The command.
    pub command: GuestCommand,
    /// Standard input and output are a terminal.
    pub terminal: bool,
}

/// Says that a run is over. Also sent for runs whose supervisor crashed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseRequest {
    /// As [`Settings::value`](crate::Settings::value), or null after a crash.
    pub settings: Value,
    /// As answered by `prepare`.
    pub instance: Instance,
    /// The run's id.
    pub run: String,
    /// The plan's program was started and ended by itself, so whatever it takes away at its end is gone.
    pub ended: bool,
}

/// Asks what a program's failure meant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExplainRequest {
    /// As [`Settings::value`](crate::Settings::value).
    pub settings: Value,
    /// As answered by `prepare`.
    pub instance: Instance,
    /// The program's exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The end of what it wrote to its standard error; bytes that are not UTF-8 replaced.
    pub stderr: String,
}

/// Asks to read an instance back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyRequest {
    /// As [`Settings::value`](crate::Settings::value).
    pub settings: Value,
    /// As answered by `prepare`.
    pub instance: Instance,
}

/// How a command runs.
pub enum Exec {
    /// The host starts a local program and supervises it: all that a backend around a command-line tool needs.
    Plan(Plan),
    /// The backend runs the command itself: for backends that speak to an API.
    Session(Box<dyn Session>),
}

/// A local program that runs the guest's command. Data, so that it can be printed instead of run.
///
/// The host starts it in a session of its own with the run's standard input, output and error, kills it and what is
/// left of its process group at the end, and kills it when the host dies. Where it fails before the guest's first
/// process has reported, the host asks [`explain`](crate::Transport::explain) what that meant, else the backend's
/// `check` what is wrong, and shows that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Absolute path.
    pub program: PathBuf,
    /// Its arguments, without the program. No secrets: other users can read them.
    pub args: Vec<Word>,
    /// Its whole environment besides what the manifest's `tool_env` passes. No secrets.
    pub env: Vec<(String, Word)>,
    /// Where it starts; empty = `/`.
    pub cwd: PathBuf,
    /// The program itself wants the terminal as its controlling terminal (an engine's client that puts it into raw
    /// mode). False: the guest's first process takes it.
    pub controls_terminal: bool,
    /// Exit codes from this number on are the program's own failures, not the guest's; only for routes without a first
    /// process of ours, which reports the guest's status itself.
    pub failure_codes_from: Option<u8>,
    /// Its standard error is its own and not only the guest's: what it says before the guest's first process has
    /// reported is kept for `explain`, and shown only where that has nothing better.
    pub explains_itself: bool,
    /// Ask [`verify`](crate::Transport::verify) once the first process has reported, beside the command's start.
    pub read_back: bool,
    /// Programs beside it, started when the guest's first process has reported and ended with it.
    pub companions: Vec<Companion>,
    /// Run after the end, whatever it was, in order; a failure is reported beside the command's status.
    pub cleanup: Vec<ToolCall>,
    /// The guest's command may only start when the guest has a default route.
    pub wait_for_route: bool,
    /// Start the program in the namespaces of this process (host's id), as far as they differ from the host's own, all
    /// entered at once: a nested user namespace cannot be entered step by step. `program` and `cwd` are then looked up
    /// in there. The program itself keeps the host's process namespace; what it starts is in the instance's.
    pub enter: Option<u32>,
}

/// A program that serves an instance from outside, such as its network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Companion {
    /// Absolute path.
    pub program: PathBuf,
    /// Its arguments; `{pid}` in one becomes the host's process id of the guest's first process. It must stay in the
    /// foreground.
    pub args: Vec<String>,
    /// What it is for, for the message when it fails: `the guest's network`.
    pub purpose: String,
    /// Start it in the user namespace that owns the first process's network, as an owner who may configure it. The
    /// first process itself can sit in a nested one that owns nothing.
    pub own_network: bool,
}

/// A tool to call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolCall {
    /// A program name looked up on the tools' search path, or an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<Word>,
}

/// A command the backend runs itself.
#[async_trait]
pub trait Session: Send + Sync {
    /// Runs the command to its end over these descriptors. Called once. Dropping the future ends the command.
    async fn run(&self, stdio: Stdio) -> Result<Ended>;
    /// Sends a signal by number to the command. May come before `run` got going or after the end: then it is ignored.
    fn signal(&self, signal: i32);
    /// The terminal's size changed. Only where one was asked for.
    fn resize(&self, rows: u16, columns: u16) {
        let _unused = (rows, columns);
    }
    /// What the host should know of it before it runs. Asked once, when `exec` or `attach` has answered.
    fn info(&self) -> SessionInfo {
        SessionInfo::default()
    }
}

/// What a backend says of a session before it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionInfo {
    /// As [`Plan::explains_itself`].
    pub explains_itself: bool,
    /// A program that would do the same, for a person to read and to type; it is shown by `--dry-run` and never started.
    pub by_hand: Option<Plan>,
}

/// The run's standard input, output and error. With a terminal the first two are the same one, and so is the
/// third unless the user sent it elsewhere.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Whose status it is.
    pub origin: Origin,
    /// Exit code, where it ended by itself.
    pub code: Option<u8>,
    /// Signal number, where one ended it.
    pub signal: Option<i32>,
}

/// Whose status it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The guest's command.
    Guest,
    /// The backend's own tool or service.
    Backend,
}
