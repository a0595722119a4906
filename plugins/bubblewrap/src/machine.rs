//! What the plugin reads of this machine. Only files; nothing is started and no name service is asked, which could
//! hang.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

/// This machine, or in tests a directory that looks like one.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    root: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

/// What one of the machine's top directories is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Top {
    Directory,
    Link(PathBuf),
}

/// Files of `/etc` and `/proc` are small; one that is not is not what it should be.
const MAX_FILE: u64 = 8 * 1024 * 1024;

impl Machine {
    #[cfg(test)]
    pub(crate) fn at(root: &std::path::Path) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// A file's content, where this user can read it.
    pub(crate) fn bytes(&self, absolute: &str) -> Option<Vec<u8>> {
        let file = fs::File::open(self.path(absolute)).ok()?;
        let facts = file.metadata().ok().filter(fs::Metadata::is_file)?;
        let mut bytes = Vec::with_capacity(facts.len().min(MAX_FILE) as usize + 1);
        file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// A file's text; empty where it cannot be read.
    pub(crate) fn text(&self, absolute: &str) -> String {
        String::from_utf8_lossy(&self.bytes(absolute).unwrap_or_default()).into_owned()
    }

    /// What a link says.
    pub(crate) fn link(&self, absolute: &str) -> Option<PathBuf> {
        fs::read_link(self.path(absolute)).ok()
    }

    /// Whether it is a directory, and of its own.
    pub(crate) fn top(&self, absolute: &str) -> Option<Top> {
        let directory = || self.path(absolute).is_dir().then_some(Top::Directory);
        self.link(absolute).map(Top::Link).or_else(directory)
    }

    /// Names in `/etc`, sorted.
    pub(crate) fn etc(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("/etc")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Whether it is a directory that this user can read: bwrap fails as a whole on one it cannot bind.
    pub(crate) fn has_directory(&self, absolute: &str) -> bool {
        fs::read_dir(self.path(absolute)).is_ok()
    }

    /// Whether it is there.
    pub(crate) fn exists(&self, absolute: &str) -> bool {
        self.path(absolute).exists()
    }

    /// Its memory in bytes; where that cannot be told, what a small machine has.
    pub(crate) fn memory(&self) -> u64 {
        let text = self.text("/proc/meminfo");
        let kilobytes =
            text.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
        kilobytes.unwrap_or(4_u64 << 20) * 1024
    }

    /// Whether this user may open the device that networks in user space need.
    pub(crate) fn tun_usable(&self) -> bool {
        use nix::unistd::{AccessFlags, access};
        access(&self.path("/dev/net/tun"), AccessFlags::R_OK | AccessFlags::W_OK).is_ok()
    }

    /// Whether packets can leave this machine.
    pub(crate) fn has_default_route(&self) -> bool {
        default_route_v4(&self.text("/proc/net/route")) || default_route_v6(&self.text("/proc/net/ipv6_route"))
    }
}

const RTF_UP: u32 = 0x1;
const RTF_REJECT: u32 = 0x200;

fn leads_out(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|f| f & RTF_UP != 0 && f & RTF_REJECT == 0)
}

/// Columns: interface, destination, gateway, flags, …, mask at 7.
fn default_route_v4(table: &str) -> bool {
    table.lines().skip(1).any(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        matches!(columns.as_slice(), [_, "00000000", _, flags, _, _, _, "00000000", ..] if leads_out(flags))
    })
}

/// Columns: destination, its length, source, its length, next hop, metric, uses, uses, flags, interface.
fn default_route_v6(table: &str) -> bool {
    table.lines().any(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        matches!(columns.as_slice(), [to, "00", _, _, _, _, _, _, flags, interface]
            if to.bytes().all(|b| b == b'0') && *interface != "lo" && leads_out(flags))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_route_that_leads_out_is_a_default_route() {
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
        for (line, wanted) in [
            ("eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0", true),
            ("tun0 00000000 00000000 0001 0 0 0 00000000 0 0 0", true),
            ("eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0", false),
            ("vpn0 00000000 00000000 0001 0 0 0 00000080 0 0 0", false),
            ("* 00000000 00000000 0201 0 0 0 00000000 0 0 0", false),
            ("eth0 00000000", false),
        ] {
            assert_eq!(default_route_v4(&format!("{head}{line}\n")), wanted, "{line}");
        }
        let zero = "0".repeat(32);
        let line = |length: &str, flags: &str, interface: &str| {
            format!("{zero} {length} {zero} 00 {zero} 00000400 00000002 00000000 {flags} {interface}\n")
        };
        assert!(default_route_v6(&line("00", "00000003", "eth0")));
        assert!(!default_route_v6(&line("00", "00200200", "lo")));
        assert!(!default_route_v6(&line("40", "00000001", "eth0")));
        assert!(!default_route_v6(""));
    }
}
