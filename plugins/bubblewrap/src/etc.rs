//! The guest's `/etc`: a short list of the machine's own files that programs cannot do without, and small files
//! written for this one guest. Everything else there may hold secrets or somebody else's business.
//!
//! bwrap reads its whole mount table again for each bind, so files are not bound one by one: they are copied into one
//! directory ([`crate::copies`]), bound at [`COPIES`], and `/etc` has links to them. `/etc` itself is memory, where
//! bwrap can make mount points.

use std::path::Path;

use workmux_plugin_api::{Error, Result, User};

use crate::copies;
use crate::machine::Machine;
use crate::step::Step;

/// Where the copies are, in the guest.
const COPIES: &str = "/run/etc";

/// Files of the machine that the guest has, too.
const FILES: &[&str] = &[
    "bash.bashrc",
    "ca-certificates.conf",
    "debian_version",
    "inputrc",
    "ld.so.cache",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "magic",
    "mime.types",
    "os-release",
    "profile",
    "protocols",
    "services",
    "ssl/openssl.cnf",
    "timezone",
];

/// Directories likewise. `ssl` and `pki` in parts: beside the certificates lie private keys.
const DIRECTORIES: &[&str] =
    &["alternatives", "crypto-policies", "fonts", "pki/ca-trust", "pki/tls/certs", "ssl/certs", "vim"];

/// Java keeps its configuration in directories named after the version, and does not start without.
const DIRECTORY_PREFIXES: &[&str] = &["java-"];

/// The user's name in the guest.
pub(crate) fn account(machine: &Machine, user: User, home: &Path) -> String {
    let passwd = machine.text("/etc/passwd");
    let listed = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user.uid)).then(|| name.to_owned())
    });
    let by_home = || home.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    let plain = |name: &String| {
        (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && !name.starts_with('-')
    };
    listed.filter(plain).or_else(|| by_home().filter(plain)).unwrap_or_else(|| "user".to_owned())
}

/// The guest's `/etc`, decided.
pub(crate) struct Etc {
    /// In the directory of copies.
    files: Vec<(String, Vec<u8>)>,
    /// Links and directories that are the machine's.
    shared: Vec<Step>,
}

/// Decides; touches no file.
pub(crate) fn decide(
    machine: &Machine,
    user: User,
    account: &str,
    home: &Path,
    hostname: &str,
    resolv_conf: String,
) -> Etc {
    let mut etc = Etc { files: Vec::new(), shared: Vec::new() };
    let by_prefix = machine.etc().into_iter().filter(|n| DIRECTORY_PREFIXES.iter().any(|p| n.starts_with(p)));
    for name in DIRECTORIES.iter().map(|n| (*n).to_owned()).chain(by_prefix) {
        let path = format!("/etc/{name}");
        if machine.has_directory(&path) {
            etc.shared.push(Step::read_only(&path, &path));
        }
    }
    for name in FILES {
        let path = format!("/etc/{name}");
        match machine.link(&path) {
            Some(to) if Path::new("/etc").join(&to).starts_with("/usr") || to.starts_with("../usr") => {
                etc.shared.push(Step::Link { at: path.into(), to });
            }
            _ => etc.files.extend(machine.bytes(&path).map(|bytes| ((*name).to_owned(), bytes))),
        }
    }
    let own = own_files(machine, user, account, home, hostname, resolv_conf);
    etc.files.extend(own.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())));
    etc
}

/// The files that are written for this guest alone.
fn own_files(
    machine: &Machine,
    user: User,
    account: &str,
    home: &Path,
    hostname: &str,
    resolv_conf: String,
) -> Vec<(&'static str, String)> {
    let shell = if machine.exists("/bin/bash") { "/bin/bash" } else { "/bin/sh" };
    let User { uid, gid } = user;
    // A home with a colon cannot be written down there; `HOME` still says where it is.
    let home = home.to_str().filter(|h| !h.contains([':', '\n'])).unwrap_or("/");
    let mut passwd = String::new();
    let mut group = String::new();
    if uid != 0 {
        passwd.push_str("root:x:0:0:root:/root:/bin/sh\n");
    }
    passwd.push_str(&format!("{account}:x:{uid}:{gid}::{home}:{shell}\n"));
    if gid != 0 {
        group.push_str("root:x:0:\n");
    }
    group.push_str(&format!("{account}:x:{gid}:\n"));
    if uid != 65534 {
        passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    }
    if gid != 65534 {
        group.push_str("nogroup:x:65534:\n");
    }
    let own = format!("127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost ip6-loopback {hostname}\n");
    vec![
        ("group", group),
        ("hostname", format!("{hostname}\n")),
        ("hosts", own + &machine.text("/etc/hosts")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n".into()),
        ("passwd", passwd),
        ("resolv.conf", resolv_conf),
    ]
}

impl Etc {
    /// The steps that build it.
    pub(crate) fn steps(&self, state: &Path) -> Vec<Step> {
        let mut steps = vec![Step::read_only(copies::place(state, &self.files), COPIES)];
        steps.extend(self.shared.iter().cloned());
        steps.extend(
            self.files
                .iter()
                .map(|(name, _)| Step::Link { at: Path::new("/etc").join(name), to: Path::new(COPIES).join(name) }),
        );
        steps
    }

    /// Puts the files where the steps say.
    pub(crate) fn save(&self, state: &Path, run: &str) -> Result<()> {
        let place = copies::place(state, &self.files);
        copies::make(&place, &self.files, run)
            .map_err(|e| Error::internal(format!("could not write '{}'", place.display())).cause(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn machine(passwd: &str) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/ssl/certs")).unwrap();
        fs::create_dir_all(dir.path().join("etc/ssl/private")).unwrap();
        fs::create_dir_all(dir.path().join("etc/java-17-openjdk")).unwrap();
        for name in ["gitconfig", "shadow", "environment", "services"] {
            fs::write(dir.path().join("etc").join(name), "secret").unwrap();
        }
        fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        fs::write(dir.path().join("etc/hosts"), "10.0.0.5 git.corp\n").unwrap();
        let machine = Machine::at(dir.path());
        (dir, machine)
    }

    #[test]
    fn the_account_is_named_as_on_the_host() {
        let (_dir, m) = machine("root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nb d:x:7:7::/:/\n");
        let name = |uid, home: &str| account(&m, User { uid, gid: 1 }, Path::new(home));
        assert_eq!(name(1000, "/x"), "ann");
        assert_eq!(name(4242, "/home/ldap.user"), "ldap.user", "not in the file: as the home is called");
        assert_eq!(name(7, "/home/ü"), "user");
    }

    #[test]
    fn only_the_listed_files_are_shared_and_the_guests_own_are_short() {
        let (dir, m) = machine("");
        std::os::unix::fs::symlink("../usr/lib/os-release", dir.path().join("etc/os-release")).unwrap();
        std::os::unix::fs::symlink("/root/clock", dir.path().join("etc/localtime")).unwrap();
        let user = User { uid: 1000, gid: 100 };
        let etc = decide(&m, user, "ann", Path::new("/home/ann"), "box", "nameserver 1.1.1.1\n".into());
        let said: Vec<String> = etc
            .steps(Path::new("/state"))
            .iter()
            .map(|s| match s {
                Step::Link { at, to } => format!("{} -> {}", at.display(), to.display()),
                Step::Bind { source, target, .. } => format!("{} on {}", source.display(), target.display()),
                other => panic!("{other:?}"),
            })
            .collect();
        insta::assert_snapshot!(said.join("\n"), @"
        /state/etc-aaa8c2bd0ccf75edb5dd495cac6fa046 on /run/etc
        /etc/ssl/certs on /etc/ssl/certs
        /etc/java-17-openjdk on /etc/java-17-openjdk
        /etc/os-release -> ../usr/lib/os-release
        /etc/services -> /run/etc/services
        /etc/group -> /run/etc/group
        /etc/hostname -> /run/etc/hostname
        /etc/hosts -> /run/etc/hosts
        /etc/nsswitch.conf -> /run/etc/nsswitch.conf
        /etc/passwd -> /run/etc/passwd
        /etc/resolv.conf -> /run/etc/resolv.conf
        ");
        let own = |home| own_files(&m, user, "ann", Path::new(home), "box", String::new());
        let text = |home, name| own(home).into_iter().find(|(n, _)| *n == name).unwrap().1;
        assert!(text("/home/ann", "passwd").contains("ann:x:1000:100::/home/ann:/bin/sh\n"));
        assert!(text("/a:b", "passwd").contains("ann:x:1000:100::/:/bin/sh\n"));
        let hosts = text("/", "hosts");
        assert!(hosts.starts_with("127.0.0.1 localhost box\n") && hosts.contains("git.corp"));
    }
}
