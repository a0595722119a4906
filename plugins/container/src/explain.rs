//! What an engine said when it could not start a container, as an error worth reading: what failed, why, what to type.
//! Pulls and builds have failures of their own in `images::failures`, beside those that any question to an engine has.
//!
//! Texts of docker 20.10 to 28 and podman 4.3 to 5; matched in parts, since they change.

use workmux_plugin_api::{Error, ErrorKind, Remedy};

use crate::engine::Engine;
use crate::sandbox::Sandbox;

/// A failure that is known: parts of what engines say of it (any of them), its kind, and our words for it. `{engine}`,
/// `{image}`, `{name}` and `{other}` (the other engine) are filled in.
pub(crate) type Known = (&'static [&'static str], ErrorKind, &'static str, &'static str);

/// Whatever was wanted of the engine. The first that fits counts.
pub(crate) const ENGINE: &[Known] = &[
    (
        &["permission denied while trying to connect"],
        ErrorKind::Refused,
        "you may not use the docker daemon",
        "join its group and log in again: sudo usermod -aG docker \"$USER\"; or use podman: \
         'sandbox.container.runtime: podman'",
    ),
    (
        &["Cannot connect to the Docker daemon", "Is the docker daemon running", "error during connect"],
        ErrorKind::ToolFailed,
        "the docker daemon does not answer",
        "start it: sudo systemctl start docker (or open Docker Desktop); or use another backend with --backend",
    ),
    (
        &["unable to connect to Podman", "annot connect to Podman"],
        ErrorKind::ToolFailed,
        "podman's machine does not answer",
        "start it: podman machine start",
    ),
    (
        &["no space left on device"],
        ErrorKind::LimitHit,
        "the disk of '{engine}' is full",
        "make room: {engine} system df; {engine} system prune",
    ),
];

/// What keeps a container from starting.
const START: &[Known] = &[
    (
        MISSING,
        ErrorKind::NotFound,
        "'{engine}' does not have the image '{image}'",
        "pull it: workmux sandbox pull; or build it: workmux sandbox build; an image of '{other}' is in a store of its own",
    ),
    (
        &["invalid reference format"],
        ErrorKind::InvalidSettings,
        "'{image}' is not the name of an image",
        "set 'sandbox.image' to a name such as 'my-sandbox' or 'registry.example/sandbox:1'",
    ),
    (
        &["is already in use by", "name is already in use", "name is in use"],
        ErrorKind::Conflict,
        "there is already a container named '{name}'",
        "try again, or remove it: {engine} rm --force {name}",
    ),
    (
        &[
            "Unknown runtime specified",
            "unknown or invalid runtime name",
            "default OCI runtime",
            "invalid runtime name",
        ],
        ErrorKind::MissingTool,
        "'{engine}' does not have the configured runtime",
        "install it, or change 'sandbox.container.oci_runtime'",
    ),
    (
        &["inimum memory limit"],
        ErrorKind::InvalidSettings,
        "'{engine}' refuses so little memory",
        "raise 'sandbox.container.memory'",
    ),
    (
        &["ange of CPUs", "CPUs available"],
        ErrorKind::InvalidSettings,
        "'{engine}' refuses so many processors",
        "lower 'sandbox.container.cpus'",
    ),
    (
        &["error gathering device information", "stat /dev/"],
        ErrorKind::NotFound,
        "a device of 'sandbox.container.devices' is not there",
        "list what there is: ls -l /dev; and correct 'sandbox.container.devices'",
    ),
    (
        &["nable to find group", "no matching entries in group file"],
        ErrorKind::NotFound,
        "the image does not know a group of 'sandbox.container.group_add'",
        "give groups by number: getent group NAME",
    ),
    (
        &["/dev/net/tun"],
        ErrorKind::ToolFailed,
        "a network for the container needs '/dev/net/tun', which you may not use",
        "allow it: sudo chmod 666 /dev/net/tun; or turn the network off: 'sandbox.network.policy: deny'",
    ),
    (
        &["newuidmap", "newgidmap", "subuid", "insufficient UIDs"],
        ErrorKind::ToolFailed,
        "podman of an ordinary user needs user ids of its own",
        "install 'uidmap' and give yourself some: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \
         \"$USER\"; podman system migrate",
    ),
    (
        &["setrlimit", "setting rlimit"],
        ErrorKind::ToolFailed,
        "'{engine}' asks for higher limits than this machine allows",
        "lower them in containers.conf: [containers] default_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]",
    ),
    (
        &["cgroups in hybrid mode"],
        ErrorKind::ToolFailed,
        "'{engine}' cannot use this machine's control groups",
        "use the runtime 'runc': 'sandbox.container.oci_runtime: runc'",
    ),
    (
        &["exec format error"],
        ErrorKind::Refused,
        "the image '{image}' is for another processor",
        "use an image for this machine: set 'sandbox.image'",
    ),
    (
        &["o such container", "is not running", "container state improper"],
        ErrorKind::NotFound,
        "the container '{name}' does not run any more",
        "start a sandbox first: workmux sandbox shell",
    ),
    (
        &["could not reach the supervisor at '/"],
        ErrorKind::ToolFailed,
        "the container does not reach workmux through its socket",
        "where '{engine}' runs containers in a virtual machine, set 'sandbox.container.rpc: tcp'",
    ),
    (
        &["could not reach the supervisor at"],
        ErrorKind::ToolFailed,
        "the container does not reach workmux on this machine",
        "let no firewall keep containers from this machine; where its name is wrong, set 'sandbox.rpc_host'; where \
         '{engine}' needs no virtual machine, set 'sandbox.container.rpc: sockets'",
    ),
    (
        &[""],
        ErrorKind::ToolFailed,
        "'{engine}' could not start the container",
        "see what was run: workmux sandbox shell --dry-run",
    ),
];

/// How engines say that an image is not there.
pub(crate) const MISSING: &[&str] =
    &["No such image", "image not known", "Unable to find image", "did not resolve to an alias"];

/// What stands for the names in braces.
pub(crate) struct Filled<'a> {
    pub(crate) engine: Engine,
    pub(crate) image: &'a str,
    pub(crate) name: &'a str,
}

/// The error, where the engine said anything.
pub(crate) fn explain(sandbox: &Sandbox, name: &str, stderr: &str) -> Option<Error> {
    let said = last_word(stderr)?;
    let filled = Filled { engine: sandbox.engine, image: &sandbox.image, name };
    let error = known(&[ENGINE, START], &filled, stderr).cause(said);
    let pull = sandbox.published && MISSING.iter().any(|part| stderr.contains(part));
    Some(if pull { error.remedy(Remedy::Pull) } else { error })
}

/// The first of these failures that the text tells of. The last table ends with one that always fits.
pub(crate) fn known(tables: &[&[Known]], filled: &Filled<'_>, text: &str) -> Error {
    let other = if filled.engine == Engine::Docker { "podman" } else { "docker" };
    let fill = |text: &str| {
        let text = text.replace("{engine}", filled.engine.name()).replace("{other}", other);
        text.replace("{name}", filled.name).replace("{image}", filled.image)
    };
    let fits = |known: &&&Known| known.0.iter().any(|part| text.contains(part));
    match tables.iter().copied().flatten().find(|known| fits(&known)) {
        Some((_, kind, message, hint)) => Error::new(*kind, fill(message)).hint(fill(hint)),
        None => Error::internal(format!("'{}' failed", filled.engine.name())),
    }
}

/// The line that says why: engines end with advice.
pub(crate) fn last_word(stderr: &str) -> Option<&str> {
    let advice = |line: &str| line.starts_with("Run 'docker") || line.starts_with("See 'docker");
    let mut lines = stderr.lines().map(str::trim);
    let line = lines.rfind(|line| !line.is_empty() && !advice(line))?;
    Some(line.strip_prefix("docker: ").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(engine: Engine, stderr: &str) -> (ErrorKind, String, String) {
        let sandbox = Sandbox { engine, image: "my-sandbox".into(), ..Sandbox::default() };
        let error = explain(&sandbox, "wm-x-012345", stderr).unwrap();
        assert_eq!(error.causes.len(), 1);
        (error.kind, error.message, error.hint.unwrap())
    }

    #[test]
    fn p62_each_failure_of_an_engine_has_its_own_message_and_step() {
        use Engine::{Docker, Podman};
        for (engine, stderr, wanted, step) in [
            (
                Docker,
                "docker: Error response from daemon: No such image: my-sandbox:latest\n\nRun 'docker run --help' for more information\n",
                ErrorKind::NotFound,
                "workmux sandbox pull",
            ),
            (Podman, "Error: my-sandbox: image not known\n", ErrorKind::NotFound, "pull it"),
            (
                Docker,
                "docker: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?\nSee 'docker run --help'.\n",
                ErrorKind::ToolFailed,
                "systemctl start docker",
            ),
            (
                Docker,
                "docker: permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Head \"http://x/_ping\": dial unix /var/run/docker.sock: connect: permission denied\n",
                ErrorKind::Refused,
                "usermod -aG docker",
            ),
            (
                Docker,
                "docker: Error response from daemon: Conflict. The container name \"/wm-x-012345\" is already in use by container \"72\". You have to remove (or rename) that container.\n",
                ErrorKind::Conflict,
                "docker rm --force wm-x-012345",
            ),
            (
                Podman,
                "Error: creating container storage: the container name \"wm-x-012345\" is already in use by 6e.\n",
                ErrorKind::Conflict,
                "podman rm --force wm-x-012345",
            ),
            (
                Docker,
                "docker: Error response from daemon: mkdir /var/lib/docker/x: no space left on device.\n",
                ErrorKind::LimitHit,
                "system prune",
            ),
            (
                Docker,
                "docker: Error response from daemon: Unknown runtime specified nope\n",
                ErrorKind::MissingTool,
                "oci_runtime",
            ),
            (
                Podman,
                "Error: default OCI runtime \"nope\" not found: invalid argument\n",
                ErrorKind::MissingTool,
                "oci_runtime",
            ),
            (
                Docker,
                "docker: Error response from daemon: Minimum memory limit allowed is 6MB\n",
                ErrorKind::InvalidSettings,
                "memory",
            ),
            (Podman, "Error: invalid reference format\n", ErrorKind::InvalidSettings, "sandbox.image"),
            (
                Podman,
                "Error: /usr/bin/slirp4netns failed: \"open(\\\"/dev/net/tun\\\"): Permission denied\"\n",
                ErrorKind::ToolFailed,
                "chmod 666",
            ),
            (
                Podman,
                "Error: runc: setrlimit `RLIMIT_NOFILE`: Operation not permitted\n",
                ErrorKind::ToolFailed,
                "default_ulimits",
            ),
            (
                Docker,
                "Error response from daemon: No such container: wm-x-012345\n",
                ErrorKind::NotFound,
                "workmux sandbox shell",
            ),
            (
                Docker,
                "workmux: could not reach the supervisor at '/run/workmux/sock/control': Connection refused\n",
                ErrorKind::ToolFailed,
                "rpc: tcp",
            ),
            (
                Docker,
                "workmux: could not reach the supervisor at 'host.docker.internal:4000': 172.17.0.1: no answer\n",
                ErrorKind::ToolFailed,
                "firewall",
            ),
            (Docker, "docker: something new\n", ErrorKind::ToolFailed, "--dry-run"),
        ] {
            let (kind, message, hint) = kind(engine, stderr);
            assert!(kind == wanted && hint.contains(step), "{stderr}: {kind:?}, {message}, {hint}");
        }
    }

    #[test]
    fn only_a_published_image_is_pulled_unasked() {
        for published in [true, false] {
            let sandbox = Sandbox { image: "x".into(), published, ..Sandbox::default() };
            let remedy = |text: &str| explain(&sandbox, "", text).unwrap().remedy;
            assert_eq!(remedy("Error: x: image not known"), published.then_some(Remedy::Pull));
            assert_eq!(remedy("Cannot connect to the Docker daemon"), None);
        }
    }

    #[test]
    fn an_engine_that_said_nothing_is_not_explained() {
        assert_eq!(explain(&Sandbox::default(), "x", " \n"), None);
        assert_eq!(last_word("docker: bad.\n\nRun 'docker run --help' for more information\n"), Some("bad."));
    }
}
