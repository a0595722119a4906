//! The guest's network: which one it gets, its resolver, and the pasta process that leads it outside.
//!
//! A private network is a namespace whose only way out is pasta: it copies packets to ordinary sockets of the host's
//! user, forwards no port in either direction and does not lead to the host's loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use workmux_plugin_api::{Companion, Error, ErrorKind, Network, Result};

use crate::Tools;
use crate::machine::Machine;
use crate::settings::{Reach, Table};

/// The network of one sandbox, decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Net {
    /// Its own loopback only.
    #[default]
    None,
    /// A network of its own; queries to these addresses go to the host's resolver.
    Private { resolvers: Vec<IpAddr> },
    /// The host's.
    Host,
}

/// Where a guest asks for names when the host's resolver listens where no guest reaches it. Link-local and from the
/// private range: nobody's address by rule.
const RESOLVER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const RESOLVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0x6d75, 0x7800, 0, 0, 0, 0, 0x53));

const INSTALL_PASTA: &str = "install pasta: apt-get install passt (Debian, Ubuntu), dnf install passt (Fedora), or set \
                             'sandbox.bubblewrap.network: host' in your own configuration: the sandbox then shares \
                             this machine's network";
const OPEN_TUN: &str = "load the module and allow it: modprobe tun && chmod 666 /dev/net/tun, or set \
                        'sandbox.bubblewrap.network: host' in your own configuration: the sandbox then shares this \
                        machine's network";

/// What was decided, with the guest's `resolv.conf` and what the user should hear.
pub(crate) struct Decision {
    pub(crate) net: Net,
    pub(crate) resolv_conf: String,
    pub(crate) note: Option<String>,
}

/// Decides.
pub(crate) fn decide(wanted: Network, table: &Table, tools: &Tools, machine: &Machine) -> Result<Decision> {
    let nothing = |note| Ok(Decision { net: Net::None, resolv_conf: String::new(), note });
    match (wanted, table.network) {
        (Network::None, _) => nothing(None),
        (Network::Allow, Reach::Host) => Ok(Decision {
            net: Net::Host,
            resolv_conf: machine.text("/etc/resolv.conf"),
            note: Some(
                "'sandbox.bubblewrap.network: host': the sandbox shares this machine's network, its loopback services \
                 and abstract sockets included"
                    .into(),
            ),
        }),
        (Network::Allow, Reach::Private) if !machine.has_default_route() => {
            nothing(Some("this machine has no default route: the sandbox has no network".into()))
        }
        (Network::Allow, Reach::Private) => {
            ready(tools, machine)?;
            let (resolvers, resolv_conf) = resolvers(machine, &own_addresses());
            Ok(Decision { net: Net::Private { resolvers }, resolv_conf, note: None })
        }
        _ => Err(Error::refused("this network policy is newer than the backend 'bubblewrap'")),
    }
}

/// Whether a private network can be made at all.
pub(crate) fn ready(tools: &Tools, machine: &Machine) -> Result<()> {
    if tools.pasta.is_none() {
        return Err(Error::new(
            ErrorKind::MissingTool,
            "'pasta' is not installed or not on PATH; a sandbox with a network of its own needs it",
        )
        .hint(INSTALL_PASTA));
    }
    if !machine.tun_usable() {
        return Err(Error::new(
            ErrorKind::ToolFailed,
            "this user cannot open '/dev/net/tun'; a sandbox with a network of its own needs it",
        )
        .hint(OPEN_TUN));
    }
    Ok(())
}

/// The process beside the sandbox, if its network needs one.
pub(crate) fn companion(net: &Net, tools: &Tools) -> Result<Vec<Companion>> {
    let Net::Private { resolvers } = net else { return Ok(Vec::new()) };
    let program = tools
        .pasta
        .clone()
        .ok_or_else(|| Error::new(ErrorKind::MissingTool, "'pasta' is gone from PATH").hint(INSTALL_PASTA))?;
    let mut args: Vec<String> = ["--foreground", "--quiet", "--config-net", "--no-map-gw"].map(Into::into).into();
    for direction in ["--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns"] {
        args.extend([direction.into(), "none".into()]);
    }
    for address in resolvers {
        args.extend(["--dns-forward".into(), address.to_string()]);
    }
    // The host starts it in the owning user namespace already.
    args.extend(["--netns-only".into(), "--netns".into(), "/proc/{pid}/ns/net".into()]);
    Ok(vec![Companion { program, args, purpose: "the guest's network".into(), own_network: true }])
}

/// Asked before the resolver of systemd on the loopback: the servers that one asks itself.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// The addresses to forward, and the guest's `resolv.conf`.
fn resolvers(machine: &Machine, own: &[IpAddr]) -> (Vec<IpAddr>, String) {
    let listed = ResolvConf::parse(&machine.text("/etc/resolv.conf"));
    let (forwarded, text) = listed.for_guests(own);
    if forwarded.is_empty() {
        return (forwarded, text);
    }
    let upstream = ResolvConf::parse(&machine.text(UPSTREAM));
    match upstream.for_guests(own) {
        (none, text) if none.is_empty() && !upstream.servers.is_empty() => (none, text),
        _ => (forwarded, text),
    }
}

/// The resolvers that an old pasta leaves out: it never passes queries on to a loopback.
pub(crate) fn needs_newer_pasta(machine: &Machine) -> bool {
    let on_loopback = ResolvConf::parse(&machine.text("/etc/resolv.conf")).servers.iter().all(IpAddr::is_loopback);
    on_loopback && !resolvers(machine, &own_addresses()).0.is_empty()
}

struct ResolvConf {
    servers: Vec<IpAddr>,
    rest: Vec<String>,
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut this = Self { servers: Vec::new(), rest: Vec::new() };
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                // The C library asks three. A zone names an interface that the guest does not have.
                ["nameserver", address, ..] if this.servers.len() < 3 => {
                    this.servers.extend(address.split('%').next().and_then(|a| a.parse::<IpAddr>().ok()));
                }
                ["search" | "domain" | "options", _, ..] => this.rest.push(words.join(" ")),
                _ => {}
            }
        }
        this
    }

    /// A resolver on the host's loopback or on one of its own addresses cannot be reached from a network that has the
    /// same addresses; pasta then passes queries on to the first resolver of that family.
    fn for_guests(&self, own: &[IpAddr]) -> (Vec<IpAddr>, String) {
        let local = |a: &IpAddr| a.is_loopback() || a.is_unspecified() || own.contains(a);
        let (mut forwarded, mut asked) = (Vec::new(), Vec::new());
        for server in &self.servers {
            let stand_in = if server.is_ipv4() { RESOLVER_V4 } else { RESOLVER_V6 };
            let address = if local(server) { stand_in } else { *server };
            if local(server) && !forwarded.contains(&address) {
                forwarded.push(address);
            }
            if !asked.contains(&address) {
                asked.push(address);
            }
        }
        let lines = asked.iter().map(|a| format!("nameserver {a}")).chain(self.rest.iter().cloned());
        (forwarded, lines.map(|l| l + "\n").collect())
    }
}

pub(crate) fn own_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter_map(|i| {
            let address = i.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine::at(dir.path());
        (dir, machine)
    }

    const ROUTE: (&str, &str) = ("proc/net/route", "head\neth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n");

    #[test]
    fn resolvers_that_guests_cannot_reach_are_forwarded() {
        let own: IpAddr = "192.0.2.2".parse().unwrap();
        for (text, forwarded, guests) in [
            ("nameserver 1.1.1.1\nsearch a b\n", "", "nameserver 1.1.1.1\nsearch a b\n"),
            ("nameserver 127.0.0.53\noptions edns0\n", "169.254.1.1", "nameserver 169.254.1.1\noptions edns0\n"),
            (
                "nameserver 192.0.2.2\nnameserver 9.9.9.9\n",
                "169.254.1.1",
                "nameserver 169.254.1.1\nnameserver 9.9.9.9\n",
            ),
            ("nameserver ::1\n", "fd77:6d75:7800::53", "nameserver fd77:6d75:7800::53\n"),
            ("nameserver fe80::1%eth0\nnameserver x\nsortlist y\n", "", "nameserver fe80::1\n"),
        ] {
            let (_dir, m) = machine(&[("etc/resolv.conf", text)]);
            let (addresses, said) = resolvers(&m, &[own]);
            let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            assert_eq!((addresses.join(" ").as_str(), said.as_str()), (forwarded, guests), "{text}");
        }
    }

    #[test]
    fn behind_systemds_resolver_its_own_servers_are_asked() {
        let (_dir, m) = machine(&[
            ("etc/resolv.conf", "nameserver 127.0.0.53\n"),
            ("run/systemd/resolve/resolv.conf", "nameserver 10.0.0.1\nsearch corp\n"),
        ]);
        assert_eq!(resolvers(&m, &[]), (vec![], "nameserver 10.0.0.1\nsearch corp\n".into()));
        assert!(!needs_newer_pasta(&m));
    }

    #[test]
    fn p65_a_network_is_made_refused_or_said_to_be_missing() {
        let pasta = Tools { pasta: Some("/usr/bin/pasta".into()), ..Tools::default() };
        let table = Table::default();
        let (_dir, no_route) = machine(&[]);
        let decision = decide(Network::Allow, &table, &pasta, &no_route).unwrap();
        assert!(decision.net == Net::None && decision.note.unwrap().contains("no default route"));
        let (_dir, no_device) = machine(&[ROUTE]);
        let error = decide(Network::Allow, &table, &Tools::default(), &no_device).err().unwrap();
        assert!(error.kind == ErrorKind::MissingTool && error.hint.unwrap().contains("network: host"));
        let error = decide(Network::Allow, &table, &pasta, &no_device).err().unwrap();
        assert!(error.message.contains("/dev/net/tun"));
        let (_dir, good) = machine(&[ROUTE, ("dev/net/tun", "")]);
        assert_eq!(decide(Network::Allow, &table, &pasta, &good).unwrap().net, Net::Private { resolvers: vec![] });
        let host = Table { network: Reach::Host, ..table };
        let decision = decide(Network::Allow, &host, &Tools::default(), &no_route).unwrap();
        assert!(decision.net == Net::Host && decision.note.is_some());
        assert_eq!(decide(Network::None, &host, &pasta, &good).unwrap().net, Net::None);
    }

    #[test]
    fn pasta_forwards_no_port_and_no_loopback() {
        let tools = Tools { pasta: Some("/usr/bin/pasta".into()), ..Tools::default() };
        let companions = companion(&Net::Private { resolvers: vec![RESOLVER_V4] }, &tools).unwrap();
        insta::assert_snapshot!(
            companions[0].args.join(" "),
            @"--foreground --quiet --config-net --no-map-gw --tcp-ports none --udp-ports none --tcp-ns none --udp-ns none --dns-forward 169.254.1.1 --netns-only --netns /proc/{pid}/ns/net"
        );
        assert!(companions[0].own_network);
        assert_eq!(companion(&Net::None, &tools).unwrap(), []);
        assert_eq!(companion(&Net::Host, &Tools::default()).unwrap(), []);
    }
}
