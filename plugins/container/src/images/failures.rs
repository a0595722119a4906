//! What an engine said when it could not pull or build, as an error worth reading.
//!
//! Texts of docker 20.10 to 28 and podman 4.3 to 5; matched in parts, since they change.

use workmux_plugin_api::{Error, ErrorKind};

use super::Wanted;
use crate::engine::Engine;
use crate::explain::{ENGINE, Filled, Known, known, last_word};

/// What failed.
pub(super) struct About<'a> {
    pub(super) engine: Engine,
    pub(super) image: &'a str,
}

impl<'a> About<'a> {
    pub(super) fn of(wanted: &'a Wanted) -> Self {
        Self { engine: wanted.engine, image: &wanted.image.name }
    }
}

/// The first that fits counts. `{registry}` is filled in as well.
const PULL: &[Known] = &[
    (
        &["toomanyrequests", "too many requests"],
        ErrorKind::LimitHit,
        "{registry} gives out no more for now",
        "wait, or log in: {engine} login {host}",
    ),
    (
        &["invalid reference format", "invalid repository name", "must be lowercase"],
        ErrorKind::InvalidSettings,
        "'{image}' is not the name of an image",
        "set 'sandbox.image' to a name such as 'my-sandbox' or 'registry.example/sandbox:1'",
    ),
    (
        &["did not resolve to an alias"],
        ErrorKind::NotFound,
        "'{image}' names no registry, and it is not on this machine",
        "build it ('workmux sandbox build', or from your own file), or name the registry: 'registry.example/{image}'",
    ),
    (
        &["ermission denied"],
        ErrorKind::ToolFailed,
        "'{engine}' may not use its own files",
        "see where it keeps them, and whose they are: {engine} info",
    ),
    (
        &[
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "access denied",
            "403 Forbidden",
            ": denied",
            " denied:",
        ],
        ErrorKind::Refused,
        "{registry} does not give '{image}' to strangers",
        "log in: {engine} login {host}; or correct the name: a registry may say the same of what it does not have",
    ),
    (
        &["no matching manifest", "no image found in manifest list", "no image found in image index"],
        ErrorKind::NotFound,
        "'{image}' is not made for this machine's processor",
        "use another image: set 'sandbox.image'; or build one: workmux sandbox build",
    ),
    (
        &["manifest unknown", "name unknown", "not found: manifest", "repository name not known", ": not found"],
        ErrorKind::NotFound,
        "{registry} has no image '{image}'",
        "correct the name in 'sandbox.image', or build it: workmux sandbox build",
    ),
    (
        &["x509:", "certificate", "server gave HTTP response to HTTPS client"],
        ErrorKind::ToolFailed,
        "{registry} cannot prove who it is",
        "see that its certificate is right, and known to '{engine}'; try by hand: {engine} pull {image}",
    ),
    (
        &["Client.Timeout", "TLS handshake timeout", "i/o timeout", "context deadline exceeded", "awaiting headers"],
        ErrorKind::Timeout,
        "{registry} does not answer",
        "look at the network and try again: workmux sandbox pull",
    ),
    (
        &[
            "connection refused",
            "no such host",
            "no route to host",
            "network is unreachable",
            "Temporary failure in name resolution",
            "server misbehaving",
            "connection reset",
            "unexpected EOF",
            "pinging container registry",
        ],
        ErrorKind::ToolFailed,
        "{registry} cannot be reached",
        "look at the network (and proxies of '{engine}') and try again: workmux sandbox pull",
    ),
    (
        &["500 Internal", "502 Bad", "503 Service", "504 Gateway", "received unexpected HTTP status"],
        ErrorKind::ToolFailed,
        "{registry} is in trouble",
        "try again later: workmux sandbox pull",
    ),
    (&[""], ErrorKind::ToolFailed, "'{engine}' could not pull '{image}'", "try by hand: {engine} pull {image}"),
];

const BUILD: &[Known] = &[
    (
        &["invalid reference format", "must be lowercase", "invalid tag"],
        ErrorKind::InvalidSettings,
        "an image cannot have this name",
        "set 'sandbox.image' to a name such as 'my-sandbox' or 'registry.example/sandbox:1'",
    ),
    (
        &[
            "npm-unpack: ",
            "Could not resolve host",
            "Temporary failure resolving",
            "Failed to fetch",
            "Unable to fetch",
        ],
        ErrorKind::ToolFailed,
        "the {stage} failed: a download did not come",
        "look at the network of containers and try again: workmux sandbox build",
    ),
    (&[""], ErrorKind::ToolFailed, "the {stage} failed", "try by hand, and change it: workmux sandbox init-dockerfile"),
];

const QUESTION: &[Known] = &[(
    &[""],
    ErrorKind::ToolFailed,
    "'{engine}' could not say whether it has '{image}'",
    "see whether it works: {engine} info; workmux doctor",
)];

/// Why a question about an image failed.
pub(super) fn question(about: &About<'_>, stderr: &str) -> Error {
    let filled = Filled { engine: about.engine, image: about.image, name: "" };
    known(&[ENGINE, QUESTION], &filled, stderr).cause(last_word(stderr).unwrap_or("it said nothing"))
}

/// Why a pull failed.
pub(super) fn pull(about: &About<'_>, lines: &[String]) -> Error {
    let text = lines.join("\n");
    let (registry, host) = (registry(about.image), host(about.image).unwrap_or_default());
    let filled = Filled { engine: about.engine, image: about.image, name: "" };
    let error = known(&[ENGINE, PULL], &filled, &text);
    let also = |text: &str| text.replace("{registry}", &registry).replace("{host}", host).replace("login ;", "login;");
    let error = Error { message: also(&error.message), hint: error.hint.as_deref().map(also), ..error };
    let error = match error.hint {
        // Such a name may be that of an image of one's own, which no registry has.
        Some(hint) if host.is_empty() && error.kind != ErrorKind::LimitHit && !hint.contains("sandbox build") => {
            Error { hint: Some(format!("{hint}; an image of your own is built: workmux sandbox build")), ..error }
        }
        hint => Error { hint, ..error },
    };
    error.cause(last_word(&text).unwrap_or("it said nothing"))
}

/// Why a build failed, in which stage, at which step.
pub(super) fn build(about: &About<'_>, stage: &str, base: &str, lines: &[String]) -> Error {
    let text = lines.join("\n");
    let filled = Filled { engine: about.engine, image: base, name: "" };
    // What a recipe starts from is pulled too.
    let from_registry =
        ["manifest", "pull access denied", "did not resolve to an alias", "/v2/", "initializing source"];
    if from_registry.iter().any(|part| text.contains(part)) {
        let error = pull(&About { engine: about.engine, image: base }, lines);
        return Error { message: format!("the {stage} failed: {}", error.message), ..error };
    }
    let error = known(&[ENGINE, BUILD], &filled, &text);
    let mut error = Error { message: error.message.replace("{stage}", stage), ..error };
    for line in lines.iter().rev().take(6).rev() {
        error = error.cause(line.as_str());
    }
    error
}

/// The registry that an image's name leads to.
pub(super) fn registry(image: &str) -> String {
    match host(image) {
        Some(host) => format!("the registry '{host}'"),
        None => "the engine's usual registry".to_owned(),
    }
}

/// The first part of a name is a host if it looks like one.
fn host(image: &str) -> Option<&str> {
    let (first, _) = image.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(engine: Engine, image: &str, text: &str) -> (ErrorKind, String, String) {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let error = pull(&About { engine, image }, &lines);
        assert!(!error.causes.is_empty());
        (error.kind, error.message, error.hint.unwrap())
    }

    #[test]
    fn p62_each_failure_of_a_pull_has_its_own_message_and_step() {
        use Engine::{Docker, Podman};
        const REGISTRY: &str = "registry.example:5000";
        let image = format!("{REGISTRY}/team/sandbox:1");
        for (engine, text, kind, message, step) in [
            (
                Docker,
                "Error response from daemon: manifest for x not found: manifest unknown: manifest unknown",
                ErrorKind::NotFound,
                "has no image",
                "sandbox.image",
            ),
            (
                Podman,
                "Error: initializing source docker://x: reading manifest 1 in x: manifest unknown: manifest unknown",
                ErrorKind::NotFound,
                "has no image",
                "sandbox.image",
            ),
            (
                Docker,
                "Error response from daemon: Get \"http://x/v2/\": dial tcp 10.0.0.1:5000: connect: connection refused",
                ErrorKind::ToolFailed,
                "cannot be reached",
                "network",
            ),
            (
                Podman,
                "Error: initializing source docker://x: pinging container registry x: Get \"http://x/v2/\": dial tcp 10.0.0.1:5000: connect: connection refused",
                ErrorKind::ToolFailed,
                "cannot be reached",
                "network",
            ),
            (
                Docker,
                "Error response from daemon: Get \"https://x/v2/\": dial tcp: lookup x: no such host",
                ErrorKind::ToolFailed,
                "cannot be reached",
                "network",
            ),
            (
                Docker,
                "Error response from daemon: Get \"http://x/v2/\": net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
                ErrorKind::Timeout,
                "does not answer",
                "network",
            ),
            (
                Docker,
                "Error response from daemon: Head \"http://x/v2/y/manifests/1\": no basic auth credentials",
                ErrorKind::Refused,
                "strangers",
                "docker login registry.example:5000",
            ),
            (
                Podman,
                "Error: initializing source docker://x: reading manifest 1 in x: unauthorized: authentication required",
                ErrorKind::Refused,
                "strangers",
                "podman login registry.example:5000",
            ),
            (
                Docker,
                "invalid reference format: repository name (library/Bad) must be lowercase",
                ErrorKind::InvalidSettings,
                "not the name",
                "sandbox.image",
            ),
            (
                Podman,
                "Error: short-name \"x\" did not resolve to an alias and no unqualified-search registries are defined",
                ErrorKind::NotFound,
                "names no registry",
                "build",
            ),
            (
                Docker,
                "failed to register layer: write /x: no space left on device",
                ErrorKind::LimitHit,
                "full",
                "system prune",
            ),
            (
                Podman,
                "Error: writing blob: storing blob to file \"/x\": write /x: no space left on device",
                ErrorKind::LimitHit,
                "full",
                "system prune",
            ),
            (
                Docker,
                "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
                ErrorKind::ToolFailed,
                "daemon does not answer",
                "systemctl start docker",
            ),
            (
                Docker,
                "Error response from daemon: Get \"https://x/v2/\": x509: certificate signed by unknown authority",
                ErrorKind::ToolFailed,
                "prove who it is",
                "certificate",
            ),
            (
                Docker,
                "no matching manifest for linux/amd64 in the manifest list entries",
                ErrorKind::NotFound,
                "processor",
                "build",
            ),
            (
                Podman,
                "Error: creating runtime static files directory: mkdir /x: permission denied",
                ErrorKind::ToolFailed,
                "its own files",
                "podman info",
            ),
            (
                Docker,
                "Error response from daemon: Head \"https://x/v2/y/manifests/1\": denied: denied",
                ErrorKind::Refused,
                "strangers",
                "docker login",
            ),
            (
                Docker,
                "toomanyrequests: You have reached your pull rate limit.",
                ErrorKind::LimitHit,
                "no more",
                "docker login",
            ),
            (Docker, "something new", ErrorKind::ToolFailed, "could not pull", "docker pull"),
        ] {
            let (found, said, hint) = told(engine, &image, text);
            assert!(
                found == kind && said.contains(message) && hint.contains(step),
                "{text}: {found:?}, {said}, {hint}"
            );
            assert!(!said.contains('{') && !hint.contains('{'), "{said}, {hint}");
        }
        let (_, said, hint) = told(Docker, "team/sandbox", "unauthorized: authentication required");
        assert!(said.contains("usual registry") && hint.contains("docker login;"), "{said}, {hint}");
    }

    #[test]
    fn the_host_in_a_name_is_told_from_a_folder() {
        for (image, host) in [
            ("a/b", None),
            ("x", None),
            ("localhost/b", Some("localhost")),
            ("h:5000/b", Some("h:5000")),
            ("h.example/b/c:1", Some("h.example")),
        ] {
            assert_eq!(super::host(image), host, "{image}");
        }
    }
}
