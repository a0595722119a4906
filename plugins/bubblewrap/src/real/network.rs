//! The guest's network, with the real pasta.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use workmux_plugin_api::Network;

use super::harness::{Bench, skip, tool};
use super::host::{first_process, start_companion};
use crate::machine::Machine;
use crate::network::{self, Net};
use crate::settings::Reach;

/// A sandbox whose policy allows a network, or nothing where the machine cannot make one.
fn networked() -> Option<Bench> {
    let mut bench = Bench::new("wt")?;
    tool("pasta")?;
    let machine = Machine::default();
    for (there, missing) in [
        (machine.has_default_route(), "this machine has no default route"),
        (machine.tun_usable(), "'/dev/net/tun' cannot be opened"),
    ] {
        if !there {
            skip(missing);
            return None;
        }
    }
    bench.spec.policy.network = Network::Allow;
    Some(bench)
}

/// Runs a script when the network is there. Answers its output and how long the network took.
fn run_with_pasta(bench: &Bench, net: &Net, resolv_conf: Option<&Path>, script: &str) -> (String, Duration) {
    let companion = network::companion(net, &bench.tools).unwrap().remove(0);
    let up = "while ! grep -q '^[^ \t]*[ \t]00000000' /proc/net/route; do sleep 0.005; done; echo up; read go;";
    let mut command = bench.command(&["/bin/bash", "-c", &format!("{up} {script}")]);
    let mut bwrap = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut out = BufReader::new(bwrap.stdout.take().unwrap());
    let pid = first_process(&bwrap);
    let started = Instant::now();
    let mut pasta = start_companion(bench, &companion, pid, resolv_conf);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let took = started.elapsed();
    assert_eq!(line, "up\n");
    assert!(pasta.try_wait().unwrap().is_none(), "pasta stays in the foreground");
    drop(bwrap.stdin.take());
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    bwrap.wait().unwrap();
    pasta.kill().unwrap();
    pasta.wait().unwrap();
    (text, took)
}

/// A script that says which of the host's loopback services it reaches, by every address it could think of.
fn reach(port: u16) -> String {
    format!(
        "gate=$(awk '$2==\"00000000\"{{print $3; exit}}' /proc/net/route); \
         gate=$(printf '%d.%d.%d.%d' 0x${{gate:6:2}} 0x${{gate:4:2}} 0x${{gate:2:2}} 0x${{gate:0:2}}); \
         for a in 127.0.0.1 ::1 $gate 169.254.1.1 $(hostname -I 2>/dev/null); do \
         timeout 2 bash -c \"exec 3<>/dev/tcp/$a/{port} && read -t 1 line <&3 && echo reached $a \\$line\" 2>/dev/null; \
         done; grep -o wm-abstract /proc/net/unix; echo end"
    )
}

/// A loopback service of the host's that greets, and an abstract socket. Both end with the test's process.
fn host_services(name: &str) -> (u16, UnixListener) {
    let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _gone = std::io::Write::write_all(&mut connection, b"hello\n");
        }
    });
    let abstract_name = SocketAddr::from_abstract_name(format!("wm-abstract-{name}-{port}")).unwrap();
    (port, UnixListener::bind_addr(&abstract_name).unwrap())
}

#[test]
fn p65_without_a_network_there_is_only_loopback() {
    let Some(bench) = Bench::new("wt") else { return };
    let (port, _abstract) = host_services("none");
    let said = bench.answer(&format!(
        "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; cat /proc/net/route; bash -c '{}'; cat /etc/resolv.conf",
        reach(port).replace('\'', "'\\''")
    ));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines.len(), lines[lines.len() - 1]), ("lo", 3, "end"), "{said}");
}

#[test]
fn a_private_network_leads_out_but_not_to_the_host() {
    let Some(bench) = networked() else { return };
    let (port, _abstract) = host_services("private");
    let (sandbox, _) = bench.prepare();
    assert!(matches!(sandbox.network, Net::Private { .. }));
    let (said, took) = run_with_pasta(&bench, &sandbox.network, None, &reach(port));
    assert_eq!(said, "end\n");
    eprintln!("the network was there after {took:?}");
}

/// Shows that the test above can fail: the same script where the network is the host's.
#[test]
fn the_hosts_network_is_the_hosts_and_is_said_to_be() {
    let Some(mut bench) = Bench::new("wt") else { return };
    let (port, _abstract) = host_services("host");
    bench.spec.policy.network = Network::Allow;
    bench.table.network = Reach::Host;
    let decision = network::decide(Network::Allow, &bench.table, &bench.tools, &Machine::default()).unwrap();
    assert!(decision.note.unwrap().contains("shares this machine's network"));
    let ran = super::harness::finish(bench.command(&["/bin/bash", "-c", &reach(port)]).spawn().unwrap());
    assert!(ran.out.contains("reached 127.0.0.1 hello") && ran.out.contains("wm-abstract"), "{}{}", ran.out, ran.err);
    // The policy comes first.
    bench.spec.policy.network = Network::None;
    assert_eq!(bench.answer("tail -n +3 /proc/net/dev | wc -l"), "1");
}

#[test]
fn names_are_resolved_by_a_resolver_of_this_machine() {
    let Some(mut bench) = networked() else { return };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can be a resolver for this test");
        return;
    }
    // An address of its own, as the oldest pasta passes nothing on to a loopback.
    let own = network::own_addresses().into_iter().find(|a| a.is_ipv4() && !a.is_loopback()).unwrap();
    let resolver = UdpSocket::bind((own, 53)).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = resolver.recv_from(&mut query) {
            let _gone = resolver.send_to(&answer(&query[..length]), from);
        }
    });
    let file = bench.root().join("resolv.conf");
    bench.file(&file, &format!("nameserver {own}\n"));
    bench.resolv_conf = Some("nameserver 169.254.1.1\n".into());
    let net = Net::Private { resolvers: vec!["169.254.1.1".parse().unwrap()] };
    let script = "getent ahostsv4 probe.test | grep -m1 -o '^[0-9.]*'; echo end";
    let (said, _) = run_with_pasta(&bench, &net, Some(&file), script);
    assert_eq!(said, "192.0.2.77\nend\n");
}

/// One address for every question.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] = 0x81;
    bytes[3] = 0x80;
    bytes[7] = 1;
    bytes.truncate(12 + query[12..].iter().position(|b| *b == 0).map_or(0, |p| p + 5));
    bytes[11] = 0;
    bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 77]);
    bytes
}
