//! How containers reach the host: through sockets in a mounted directory where the engine is on this machine, else over
//! TCP, because files cross into the virtual machine of an engine and sockets do not.
//!
//! Where the engine is, is read from the same variables and files that its client reads. No engine is asked.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use workmux_plugin_api::{Error, ErrorKind, Result, Route};

use crate::engine::Engine;
use crate::settings::{Rpc, Table};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What a docker of this machine calls its default network's interface, and what a podman of root may.
const BRIDGES: [(Engine, &[&str]); 2] = [(Engine::Docker, &["docker0"]), (Engine::Podman, &["podman0", "cni-podman0"])];

/// How containers reach the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) route: Route,
    /// A name that the engine must be told to make known, `NAME:ADDRESS`.
    pub(crate) add_host: Option<&'static str>,
    /// What the user should know of it.
    pub(crate) note: Option<String>,
}

impl Way {
    pub(crate) const SOCKETS: Self = Self { route: Route::Sockets, add_host: None, note: None };
}

/// Where the engine's containers are.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// On this machine.
    Here,
    /// In a virtual machine that this one keeps; a name leads from there to this machine's loopback.
    Machine,
    /// Somewhere in a network.
    Elsewhere(String),
}

/// What it is read from.
pub(crate) struct Surroundings<'a> {
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The address of a network interface.
    pub(crate) interface: &'a dyn Fn(&str) -> Option<IpAddr>,
    pub(crate) rootless: bool,
    /// Containers need no virtual machine here.
    pub(crate) linux: bool,
}

/// The way for this user, on this machine.
pub(crate) fn way(table: &Table, engine: Engine) -> Result<Way> {
    decide(
        table.rpc,
        engine,
        &Surroundings {
            variable: &|name| std::env::var_os(name).filter(|value| !value.is_empty()),
            interface: &interface,
            rootless: engine.is_rootless(),
            linux: cfg!(target_os = "linux"),
        },
    )
}

fn decide(wanted: Rpc, engine: Engine, surroundings: &Surroundings<'_>) -> Result<Way> {
    if wanted == Rpc::Sockets {
        return Ok(Way::SOCKETS);
    }
    let bind = match place(engine, surroundings)? {
        Place::Here if wanted == Rpc::Auto => return Ok(Way::SOCKETS),
        Place::Here => bridge(engine, surroundings)?,
        Place::Machine => LOOPBACK,
        Place::Elsewhere(host) => {
            let bind = towards(&host)?;
            let note =
                format!("what passes between workmux and '{host}' is not encrypted, secrets of sandboxes included");
            let route = Route::Tcp { bind, guest_host: bind.to_string() };
            return Ok(Way { route, add_host: None, note: Some(note) });
        }
    };
    let (guest_host, add_host) = match engine {
        Engine::Docker => ("host.docker.internal", Some("host.docker.internal:host-gateway")),
        Engine::Podman => ("host.containers.internal", None),
    };
    Ok(Way { route: Route::Tcp { bind, guest_host: guest_host.into() }, add_host, note: None })
}

fn place(engine: Engine, surroundings: &Surroundings<'_>) -> Result<Place> {
    let text = |name: &str| (surroundings.variable)(name).map(|value| value.to_string_lossy().into_owned());
    let home = (surroundings.variable)("HOME").map(PathBuf::from).unwrap_or_default();
    let mut found = match engine {
        Engine::Podman => match (text("CONTAINER_CONNECTION"), text("CONTAINER_HOST")) {
            // What podman calls a connection leads out of this machine; its own needs none.
            (Some(_), _) => Place::Machine,
            (None, endpoint) => endpoint.map_or(Place::Here, |endpoint| behind(&endpoint, &home)),
        },
        Engine::Docker => match text("DOCKER_HOST") {
            Some(endpoint) => behind(&endpoint, &home),
            None => {
                let files =
                    (surroundings.variable)("DOCKER_CONFIG").map_or_else(|| home.join(".docker"), PathBuf::from);
                let name = match text("DOCKER_CONTEXT") {
                    Some(name) => Some(name),
                    None => current_context(&files)?,
                };
                match name.filter(|name| name != "default") {
                    Some(name) => behind(&context(&files, &name)?, &home),
                    None => Place::Here,
                }
            }
        },
    };
    if found == Place::Here && !surroundings.linux {
        found = Place::Machine;
    }
    Ok(found)
}

/// Whose containers an endpoint leads to. An engine of this machine has its socket where the system keeps such things;
/// one in a virtual machine (Docker Desktop, Colima, Rancher Desktop) shows it in its user's home.
fn behind(endpoint: &str, home: &Path) -> Place {
    let rest = match endpoint.split_once("://") {
        Some(("unix", path)) if !home.as_os_str().is_empty() && Path::new(path).starts_with(home) => {
            return Place::Machine;
        }
        Some(("unix" | "fd" | "npipe", _)) => return Place::Here,
        Some((_, rest)) => rest,
        None => endpoint,
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match (host.strip_prefix('['), host.matches(':').count()) {
        (Some(bracketed), _) => bracketed.split(']').next().unwrap_or_default(),
        (None, 1) => host.split(':').next().unwrap_or_default(),
        (None, _) => host,
    };
    let near = host.is_empty() || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if near { Place::Machine } else { Place::Elsewhere(host.to_owned()) }
}

/// The context that `docker context use` chose.
fn current_context(files: &Path) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "currentContext")]
        current_context: Option<String>,
    }
    let file = files.join("config.json");
    let Ok(content) = std::fs::read(&file) else { return Ok(None) };
    let config: Config = serde_json::from_slice(&content).map_err(|e| unreadable(&file, &e.to_string()))?;
    Ok(config.current_context.filter(|name| !name.is_empty()))
}

/// The endpoint of a context.
fn context(files: &Path, name: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Meta {
        #[serde(rename = "Endpoints")]
        endpoints: HashMap<String, Endpoint>,
    }
    #[derive(Deserialize)]
    struct Endpoint {
        #[serde(rename = "Host")]
        host: Option<String>,
    }
    let digits: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = files.join("contexts/meta").join(digits).join("meta.json");
    let content = std::fs::read(&file).map_err(|e| {
        Error::new(ErrorKind::NotFound, format!("docker's context '{name}' does not exist"))
            .cause(format!("'{}': {e}", file.display()))
            .hint("see which there are: docker context ls; and choose one: docker context use NAME")
    })?;
    let meta: Meta = serde_json::from_slice(&content).map_err(|e| unreadable(&file, &e.to_string()))?;
    // None given is docker's own default.
    Ok(meta
        .endpoints
        .get("docker")
        .and_then(|e| e.host.clone())
        .unwrap_or_else(|| "unix:///var/run/docker.sock".into()))
}

fn unreadable(file: &Path, why: &str) -> Error {
    Error::new(ErrorKind::InvalidSettings, format!("cannot read '{}' to see where docker is", file.display()))
        .cause(why)
        .hint("correct it, or say it yourself: 'sandbox.container.rpc: sockets' (or tcp)")
}

/// The one address of this machine that its own containers reach and nobody outside does.
fn bridge(engine: Engine, surroundings: &Surroundings<'_>) -> Result<IpAddr> {
    let names = BRIDGES.iter().filter(|(of, _)| *of == engine).flat_map(|(_, names)| *names);
    let found = if surroundings.rootless { None } else { names.copied().find_map(surroundings.interface) };
    found.ok_or_else(|| {
        Error::refused(format!(
            "'sandbox.container.rpc: tcp' needs an address that only containers reach, and {}",
            match engine {
                Engine::Docker => "there is no interface 'docker0'",
                Engine::Podman if surroundings.rootless => "containers of an ordinary user's podman have none",
                Engine::Podman => "there is no interface 'podman0' while no container runs",
            }
        ))
        .hint("remove that key: containers on this machine reach it through sockets")
    })
}

/// The address of this machine that another one sees. Nothing is sent.
fn towards(host: &str) -> Result<IpAddr> {
    let any: IpAddr = match host.parse() {
        Ok(IpAddr::V6(_)) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let address = UdpSocket::bind((any, 0)).and_then(|socket| {
        // Any port will do.
        socket.connect((host, 9))?;
        Ok(socket.local_addr()?.ip())
    });
    address.map_err(|e| {
        Error::new(ErrorKind::ToolFailed, format!("cannot tell how the engine on '{host}' reaches this machine"))
            .cause(e.to_string())
            .hint(
                "name the engine's machine by its address (DOCKER_HOST, CONTAINER_HOST, docker context), or use an \
                   engine of this machine",
            )
    })
}

fn interface(name: &str) -> Option<IpAddr> {
    let mut all = nix::ifaddrs::getifaddrs().ok()?;
    all.find_map(|entry| {
        let address = entry.address.filter(|_| entry.interface_name == name)?;
        Some(IpAddr::V4(address.as_sockaddr_in()?.ip()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decided where these variables are set.
    fn decided(wanted: Rpc, engine: Engine, set: &[(&str, &str)]) -> Result<Way> {
        let bridge = |name: &str| (name == "docker0").then_some(IpAddr::from([172, 17, 0, 1]));
        decide(
            wanted,
            engine,
            &Surroundings {
                variable: &|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
                interface: &bridge,
                rootless: engine == Engine::Podman,
                linux: true,
            },
        )
    }

    fn shown(way: Result<Way>) -> String {
        match way {
            Ok(Way { route: Route::Tcp { bind, guest_host }, add_host, .. }) => {
                format!("{bind} {guest_host}{}", if add_host.is_some() { " added" } else { "" })
            }
            Ok(_) => "sockets".into(),
            Err(e) => format!("{} ({})", e.message, e.hint.unwrap_or_default()),
        }
    }

    const MACHINE: &str = "127.0.0.1 host.docker.internal added";

    #[test]
    fn the_clients_own_variables_say_where_the_engine_is() {
        use Engine::{Docker, Podman};
        let home = ("HOME", "/home/ann");
        for (engine, variable, value, wanted) in [
            (Docker, "X", "", "sockets"),
            (Docker, "DOCKER_HOST", "unix:///var/run/docker.sock", "sockets"),
            (Docker, "DOCKER_HOST", "unix:///run/user/1000/docker.sock", "sockets"),
            (Docker, "DOCKER_HOST", "unix:///home/ann/.colima/default/docker.sock", MACHINE),
            (Docker, "DOCKER_HOST", "unix:///home/anna/docker.sock", "sockets"),
            (Docker, "DOCKER_HOST", "tcp://localhost:2375", MACHINE),
            (Docker, "DOCKER_HOST", "127.0.0.1:2375", MACHINE),
            (Docker, "DOCKER_HOST", "tcp://[::1]:2375", MACHINE),
            (Docker, "DOCKER_CONTEXT", "default", "sockets"),
            (Docker, "CONTAINER_HOST", "ssh://x@10.0.0.1", "sockets"),
            (Podman, "DOCKER_HOST", "tcp://localhost:2375", "sockets"),
            (Podman, "CONTAINER_HOST", "unix:///run/user/1000/podman/podman.sock", "sockets"),
            (
                Podman,
                "CONTAINER_HOST",
                "ssh://core@127.0.0.1:40000/run/podman.sock",
                "127.0.0.1 host.containers.internal",
            ),
            (Podman, "CONTAINER_CONNECTION", "podman-machine-default", "127.0.0.1 host.containers.internal"),
        ] {
            let way = decided(Rpc::Auto, engine, &[home, (variable, value)]);
            assert_eq!(shown(way), wanted, "{engine:?}, {variable}={value}");
            let sockets = decided(Rpc::Sockets, engine, &[home, (variable, value)]);
            assert_eq!(shown(sockets), "sockets", "by hand");
        }
    }

    #[test]
    fn an_engine_in_a_network_is_given_the_address_that_leads_there() {
        // Documentation addresses; a machine without any route to them says so.
        let way = decided(Rpc::Auto, Engine::Docker, &[("DOCKER_HOST", "ssh://build@192.0.2.77:22")]);
        match &way {
            Ok(Way { route: Route::Tcp { bind, guest_host }, add_host: None, note: Some(_) }) => {
                assert_eq!(bind.to_string(), *guest_host);
                assert!(!bind.is_unspecified());
            }
            _ => assert!(shown(way).contains("'192.0.2.77'")),
        }
        for (endpoint, host) in
            [("tcp://u@h.example:1/x", "h.example"), ("ssh://h", "h"), ("tcp://[fd00::2]:1", "fd00::2")]
        {
            assert_eq!(behind(endpoint, Path::new("")), Place::Elsewhere(host.into()), "{endpoint}");
        }
    }

    #[test]
    fn a_chosen_context_is_looked_up_as_docker_does() {
        let files = tempfile::tempdir().unwrap();
        let at = files.path().to_str().unwrap();
        let config = |text: &str| std::fs::write(files.path().join("config.json"), text).unwrap();
        let auto = |more: &[(&str, &str)]| {
            let set = [&[("HOME", "/home/ann"), ("DOCKER_CONFIG", at)], more].concat();
            shown(decided(Rpc::Auto, Engine::Docker, &set))
        };
        assert_eq!(auto(&[]), "sockets", "no file at all");
        // The directory's name is the digest of the context's, which is docker's choice: `printf colima | sha256sum`.
        let digest = "f24fd3749c1368328e2b149bec149cb6795619f244c5b584e844961215dadd16";
        let meta = files.path().join("contexts/meta").join(digest);
        std::fs::create_dir_all(&meta).unwrap();
        let endpoint = |host: &str| {
            let text = format!(r#"{{"Name":"colima","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}"}}}}}}"#);
            std::fs::write(meta.join("meta.json"), text).unwrap();
        };
        endpoint("unix:///home/ann/.colima/default/docker.sock");
        config(r#"{"auths":{},"currentContext":"colima"}"#);
        assert_eq!(auto(&[]), MACHINE);
        assert_eq!(auto(&[("DOCKER_CONTEXT", "default")]), "sockets");
        assert_eq!(auto(&[("DOCKER_HOST", "unix:///run/docker.sock")]), "sockets", "it comes before contexts");
        endpoint("unix:///run/user/1000/docker.sock");
        assert_eq!(auto(&[]), "sockets");
        config("{}");
        assert_eq!(auto(&[]), "sockets");
        assert!(auto(&[("DOCKER_CONTEXT", "../x")]).contains("context '../x' does not exist"));
        config("{");
        assert!(auto(&[]).contains("sandbox.container.rpc"));
    }

    #[test]
    fn by_hand_only_an_address_that_nobody_else_reaches_will_do() {
        let docker = decided(Rpc::Tcp, Engine::Docker, &[]);
        assert_eq!(shown(docker), "172.17.0.1 host.docker.internal added");
        let podman = shown(decided(Rpc::Tcp, Engine::Podman, &[]));
        assert!(podman.contains("'sandbox.container.rpc: tcp'") && podman.contains("remove that key"), "{podman}");
    }

    #[test]
    fn interfaces_are_found_by_name() {
        assert_eq!(interface("lo"), Some(LOOPBACK));
        assert_eq!(interface("no such one"), None);
    }
}
