//! The decision as an engine's command line. Pure: nothing is looked up and nothing can fail.

use std::ffi::OsString;

use workmux_plugin_api::{Access, GuestCommand, Mount, Network, Word};

use crate::engine::Engine;
use crate::sandbox::Sandbox;

/// What would detach a user from the container by accident: three keys that nobody presses in a row. Engines take the
/// usual two, which are keys of editors and shells.
const DETACH_KEYS: &str = "ctrl-^,ctrl-@,ctrl-^";

/// Arguments that make a container and run its first process.
pub(crate) fn run(sandbox: &Sandbox, name: &str, command: &GuestCommand, terminal: bool) -> Vec<Word> {
    let mut args = Args(Vec::new());
    // `run` alone would pull what is missing. Output is the guest's and kept nowhere.
    args.words(&["run", "--rm", "--pull", "never", "--log-driver", "none", "--no-healthcheck"]);
    args.stdio(terminal);
    args.words(&["--name", name, "--hostname", &sandbox.hostname]);
    args.identity(sandbox);
    args.words(&["--network", network(sandbox)]);
    sandbox.hosts.iter().for_each(|host| args.words(&["--add-host", host]));
    args.words(&["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
    // Our first process is the container's, whatever the engine's own configuration says of this and of the rest.
    args.words(&["--init=false", "--privileged=false", "--ipc", "private"]);
    if sandbox.engine == Engine::Podman {
        args.words(&["--pid", "private", "--uts", "private", "--cgroupns", "private"]);
        args.words(&["--env-host=false", "--http-proxy=false"]);
    }
    for option in &sandbox.security {
        args.words(&["--security-opt", option]);
    }
    if let Some(runtime) = &sandbox.oci_runtime {
        args.words(&["--runtime", runtime]);
    }
    args.limits(sandbox);
    for (option, values) in
        [("--device", &sandbox.devices), ("--group-add", &sandbox.groups), ("--label", &sandbox.labels)]
    {
        values.iter().for_each(|value| args.words(&[option, value]));
    }
    for path in &sandbox.memory {
        args.words(&["--tmpfs", &format!("{path}:rw,exec,mode=1777")]);
    }
    for mount in &sandbox.mounts {
        args.words(&["--mount"]);
        args.0.push(mount_value(mount).into());
    }
    args.words(&["--workdir", "/"]);
    args.environment(command);
    let (program, rest) = command.argv.split_first().map_or((Word::from(""), &[][..]), |(p, rest)| (p.clone(), rest));
    args.0.extend(["--entrypoint".into(), program, sandbox.image.as_str().into()]);
    args.0.extend(rest.iter().cloned());
    args.0
}

/// Arguments that run a further command in a container.
pub(crate) fn exec(sandbox: &Sandbox, name: &str, command: &GuestCommand, terminal: bool) -> Vec<Word> {
    let mut args = Args(Vec::new());
    args.words(&["exec"]);
    args.stdio(terminal);
    args.words(&["--user", &user(sandbox), "--workdir", "/"]);
    args.environment(command);
    args.words(&[name]);
    args.0.extend(command.argv.iter().cloned());
    args.0
}

fn user(sandbox: &Sandbox) -> String {
    format!("{}:{}", sandbox.user.uid, sandbox.user.gid)
}

fn network(sandbox: &Sandbox) -> &'static str {
    match (sandbox.network, sandbox.engine) {
        (Network::Allow, Engine::Docker) => "bridge",
        // What that is for this user; never the host's own.
        (Network::Allow, Engine::Podman) => "private",
        _ => "none",
    }
}

/// A mount as the long form takes it: fields of CSV, so that any path can stand in one.
fn mount_value(mount: &Mount) -> OsString {
    let mut value = OsString::from("type=bind");
    for (key, path) in [("source", &mount.source), ("target", &mount.target)] {
        // The host passes UTF-8 only.
        let path = path.to_string_lossy();
        value.push(if path.contains([',', '"', '\n', '\r']) || path.ends_with(' ') {
            format!(",\"{key}={}\"", path.replace('"', "\"\""))
        } else {
            format!(",{key}={path}")
        });
    }
    if mount.access == Access::ReadOnly {
        value.push(",readonly");
    }
    value
}

struct Args(Vec<Word>);

impl Args {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| Word::from(*word)));
    }

    fn stdio(&mut self, terminal: bool) {
        self.words(&["--interactive"]);
        if terminal {
            self.words(&["--tty", "--detach-keys", DETACH_KEYS]);
        }
    }

    fn identity(&mut self, sandbox: &Sandbox) {
        self.words(&["--user", &user(sandbox)]);
        if sandbox.rootless {
            // The user's files belong to the user inside as well.
            self.words(&["--userns", "keep-id"]);
        }
    }

    fn limits(&mut self, sandbox: &Sandbox) {
        if let Some(bytes) = sandbox.limits.memory {
            // Swap is memory too: the limit is the sum.
            self.words(&["--memory", &bytes.to_string(), "--memory-swap", &bytes.to_string()]);
        }
        if let Some(millicpus) = sandbox.limits.millicpus {
            self.words(&["--cpus", &format!("{}.{:03}", millicpus / 1000, millicpus % 1000)]);
        }
        if let Some(processes) = sandbox.limits.processes {
            self.words(&["--pids-limit", &processes.to_string()]);
        }
    }

    fn environment(&mut self, command: &GuestCommand) {
        for (name, value) in &command.env {
            let mut assignment = OsString::from(format!("{name}="));
            assignment.push(value.as_os_str());
            self.0.extend(["--env".into(), assignment.into()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use workmux_plugin_api::User;

    use super::*;
    use crate::limits::Set;

    /// One option a line, with its arguments.
    fn lines(args: &[Word]) -> String {
        let mut text = String::new();
        for word in args {
            let word = word.as_os_str().to_str().unwrap();
            let quoted = if word.is_empty() || word.contains(' ') { format!("'{word}'") } else { word.to_owned() };
            text.push(if quoted.starts_with("--") { '\n' } else { ' ' });
            text.push_str(&quoted);
        }
        text.trim_start().to_owned()
    }

    fn sandbox(engine: Engine) -> Sandbox {
        Sandbox {
            engine,
            image: "my-sandbox".into(),
            hostname: "fix-login".into(),
            user: User { uid: 1000, gid: 1001 },
            limits: Set { memory: Some(1 << 30), millicpus: Some(1500), processes: Some(1024) },
            labels: vec!["workmux.managed=1".into()],
            mounts: vec![
                Mount::read_write("/home/ann/a b", "/home/ann/a b"),
                Mount::read_only("/home/ann/a,b \"c\"", "/home/ann/d:e=f"),
            ],
            ..Sandbox::default()
        }
    }

    fn init() -> GuestCommand {
        let argv = ["/run/workmux/bin/workmux", "init", "/run/workmux/sock/control"].map(Word::from).into();
        GuestCommand { argv, ..GuestCommand::default() }
    }

    #[test]
    fn docker_with_a_terminal() {
        insta::assert_snapshot!(lines(&run(&sandbox(Engine::Docker), "wm-fix-login-012345", &init(), true)));
    }

    #[test]
    fn podman_of_an_ordinary_user_without_network() {
        let sandbox = Sandbox {
            rootless: true,
            network: Network::None,
            limits: Set::default(),
            devices: vec!["/dev/kvm:/dev/kvm:rwm".into()],
            groups: vec!["44".into()],
            memory: vec!["/tmp/.local/state".into()],
            security: vec!["label=disable".into()],
            oci_runtime: Some("runsc".into()),
            ..sandbox(Engine::Podman)
        };
        insta::assert_snapshot!(lines(&run(&sandbox, "wm-fix-login-012345", &init(), false)));
    }

    #[test]
    fn a_further_command() {
        insta::assert_snapshot!(lines(&exec(&sandbox(Engine::Docker), "wm-fix-login-012345", &init(), true)));
    }
}
