//! Making and running one sandbox, the way the host does.

use std::fs;
use std::io::Read;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::unistd::{Uid, getegid, geteuid};
use workmux_plugin_api::{GuestCommand, Mount, Network, SandboxSpec, User};

use crate::machine::Machine;
use crate::sandbox::Sandbox;
use crate::settings::Table;
use crate::{Tools, command_line, sandbox};

/// Whom root runs sandboxes as; has no account and owns nothing else.
const NOBODY_ELSE: u32 = 64_321;
const DEADLINE: Duration = Duration::from_secs(30);

/// A tool these tests need. Without it they are skipped on a user's machine and fail in CI.
pub(super) fn tool(name: &str) -> Option<PathBuf> {
    let found = ["/usr/bin", "/usr/sbin", "/bin"].iter().map(|d| Path::new(d).join(name)).find(|p| p.is_file());
    if found.is_none() {
        skip(&format!("'{name}' is not installed"));
    }
    found
}

/// Says that a test proves nothing here.
pub(super) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "cannot be skipped in CI: {why}");
    eprintln!("SKIPPED: {why}");
}

pub(super) fn guest_user() -> User {
    if geteuid().is_root() {
        User { uid: NOBODY_ELSE, gid: NOBODY_ELSE }
    } else {
        User { uid: geteuid().as_raw(), gid: getegid().as_raw() }
    }
}

/// A home with a worktree in it, and what the host would demand of a sandbox for it.
pub(super) struct Bench {
    directory: tempfile::TempDir,
    pub(super) spec: SandboxSpec,
    pub(super) table: Table,
    pub(super) tools: Tools,
    /// In place of what the machine's own says.
    pub(super) resolv_conf: Option<String>,
    bwrap: PathBuf,
}

/// What a command in a sandbox left.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Bench {
    /// With a worktree of this name in the home.
    pub(super) fn new(worktree: &str) -> Option<Self> {
        Self::below(&std::env::temp_dir(), worktree, guest_user())
    }

    /// The same in a directory of the machine, for this user.
    pub(super) fn below(parent: &Path, worktree: &str, user: User) -> Option<Self> {
        let bwrap = tool("bwrap")?;
        let directory = tempfile::Builder::new().prefix("wm-").tempdir_in(parent).unwrap();
        let root = directory.path().canonicalize().unwrap();
        let home = root.join("home");
        let worktree = home.join(worktree);
        let scratch = root.join("scratch");
        let spec = SandboxSpec {
            run: "0123456789abcdef0123456789abcdef".into(),
            slug: "bench".into(),
            worktree: worktree.clone(),
            cwd: worktree.clone(),
            user,
            home,
            mounts: vec![Mount::read_write(&worktree, &worktree)],
            policy: workmux_plugin_api::Policy { network: Network::None, ..Default::default() },
            scratch: scratch.clone(),
            ..SandboxSpec::default()
        };
        let tools = Tools {
            pasta: tool("pasta"),
            unshare: Some("/usr/bin/unshare".into()),
            prlimit: Some("/usr/bin/prlimit".into()),
        };
        let bench = Self { directory, spec, table: Table::default(), tools, resolv_conf: None, bwrap };
        bench.own(bench.directory.path());
        for directory in [&worktree, &scratch] {
            bench.directory(directory);
        }
        bench.file(&worktree.join("tracked"), "tracked\n");
        Some(bench)
    }

    /// The directory around the home.
    pub(super) fn root(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    fn own(&self, path: &Path) {
        let User { uid, gid } = self.spec.user;
        chown(path, Some(uid), Some(gid)).unwrap();
    }

    /// Makes a directory of the guest's user, with its parents.
    pub(super) fn directory(&self, path: &Path) {
        let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
        fs::create_dir_all(path).unwrap();
        missing.into_iter().for_each(|p| self.own(p));
    }

    /// Makes a file of the guest's user.
    pub(super) fn file(&self, path: &Path, text: &str) {
        self.directory(path.parent().unwrap());
        fs::write(path, text).unwrap();
        self.own(path);
    }

    /// What `prepare` and `exec` answer for a command.
    pub(super) fn prepare(&self) -> (Sandbox, GuestCommand) {
        let (machine, state) = (Machine::default(), self.root().join("state"));
        self.directory(&state);
        let instance = sandbox::prepare(&self.spec, &self.table, &self.tools, &machine, &state, false).unwrap();
        for file in [&state, &self.spec.scratch].into_iter().flat_map(|d| fs::read_dir(d).unwrap()) {
            let path = file.unwrap().path();
            self.own(&path);
            if let Some(text) = self.resolv_conf.as_ref().filter(|_| path.starts_with(&state)) {
                fs::write(path.join("resolv.conf"), text).unwrap();
            }
        }
        let command = GuestCommand { argv: Vec::new(), env: instance.env.clone(), cwd: self.spec.cwd.clone() };
        (Sandbox::from_state(&instance.state).unwrap(), command)
    }

    /// A command that runs these words as the first process.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let (sandbox, mut command) = self.prepare();
        command.argv = words.iter().map(|w| (*w).into()).collect();
        self.bwrap(&sandbox, &command)
    }

    /// bwrap with our arguments, as an ordinary user with nothing in its environment.
    pub(super) fn bwrap(&self, sandbox: &Sandbox, command: &GuestCommand) -> Command {
        let mut bwrap = Command::new(&self.bwrap);
        bwrap.args(command_line::arguments(sandbox, command).iter().map(AsRef::<std::ffi::OsStr>::as_ref));
        self.as_guest(&mut bwrap);
        bwrap
    }

    /// Runs it as the guest's user, as the host would after it has become the worktree's owner.
    pub(super) fn as_guest(&self, command: &mut Command) {
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if Uid::effective().is_root() && self.spec.user.uid != 0 {
            command.uid(self.spec.user.uid).gid(self.spec.user.gid);
        }
    }

    /// Runs a shell script as the first process, to its end.
    pub(super) fn run(&self, script: &str) -> Ran {
        finish(self.command(&["/bin/sh", "-c", script]).spawn().unwrap())
    }

    /// [`Self::run`], its output where it succeeded.
    pub(super) fn answer(&self, script: &str) -> String {
        let ran = self.run(script);
        assert_eq!(ran.code, Some(0), "{script}\n{}{}", ran.out, ran.err);
        ran.out.trim_end().to_owned()
    }
}

/// Waits for the end, but not for ever.
pub(super) fn finish(mut child: Child) -> Ran {
    let (send, receive) = mpsc::channel();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _cut = stderr.read_to_end(&mut text);
        text
    });
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _cut = stdout.read_to_end(&mut text);
        let _gone = send.send(text);
    });
    let out = receive.recv_timeout(DEADLINE);
    if out.is_err() {
        child.kill().unwrap();
    }
    let code = child.wait().unwrap().code();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let err = text(errors.join().unwrap());
    Ran { code, out: text(out.unwrap_or_else(|_| panic!("still running after {DEADLINE:?}: {err}"))), err }
}
