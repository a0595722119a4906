//! Where a host is, in images that may have nothing to look names up with: addresses as they are, then `/etc/hosts`
//! read by ourselves, then whatever the C library of this static program manages.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

/// Container engines write the names of the host here.
const HOSTS: &str = "/etc/hosts";
/// No honest one is larger.
const MOST: u64 = 1024 * 1024;

/// All addresses of `host`. The last resort has time limits of its own (up to half a minute) and no others.
pub(crate) fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let known = in_hosts(&read(Path::new(HOSTS)).unwrap_or_default(), host);
    if !known.is_empty() {
        return Ok(known.into_iter().map(|address| SocketAddr::new(address, port)).collect());
    }
    let found = Vec::from_iter((host, port).to_socket_addrs().map_err(|e| unknown(host, &e.to_string()))?);
    if found.is_empty() { Err(unknown(host, "it has no address")) } else { Ok(found) }
}

fn unknown(host: &str, why: &str) -> io::Error {
    io::Error::other(format!("cannot look up '{host}': {why}"))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, MOST), &mut content)?;
    Ok(content)
}

/// The addresses of a name in the text of a hosts file, in its order.
fn in_hosts(text: &[u8], name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = |line: &[u8]| {
        let line = line.split(|byte| *byte == b'#').next()?;
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    text.split(|byte| *byte == b'\n').filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_nothing_to_be_looked_up_in() {
        for (host, shown) in [("172.17.0.1", "172.17.0.1:7"), ("fd00::2", "[fd00::2]:7")] {
            assert_eq!(resolve(host, 7).unwrap(), [shown.parse().unwrap()]);
        }
    }

    #[test]
    fn a_hosts_file_is_read_as_people_and_engines_write_it() {
        let text = b"127.0.0.1\tlocalhost\n\
            # 10.0.0.9 host.docker.internal\n\
            \n\
            172.17.0.1\thost.docker.internal other # host.commented\r\n\
            not-an-address host.docker.internal\n\
            10.0.0.1 bad\xffbytes host.docker.internal\n\
            \x20 fd00::1   Alias HOST.Docker.Internal\n\
            10.0.0.2 host.docker.internal.example nothost.docker.internal\n\
            10.0.0.3";
        let of = |name: &str| in_hosts(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("host.docker.internal"), ["172.17.0.1", "fd00::1"]);
        assert_eq!(of("Host.Docker.Internal."), ["172.17.0.1", "fd00::1"]);
        assert_eq!(of("other"), ["172.17.0.1"]);
        assert_eq!(of("localhost"), ["127.0.0.1"]);
        for absent in ["host.commented", "internal", "10.0.0.3", "", "#"] {
            assert_eq!(of(absent), [""; 0], "{absent}");
        }
    }

    #[test]
    fn what_is_nowhere_is_an_error_that_names_it() {
        let error = resolve("no such host", 7).unwrap_err().to_string();
        assert!(error.contains("'no such host'"), "{error}");
    }
}
