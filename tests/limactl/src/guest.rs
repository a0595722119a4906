//! The machine: a namespace in which an ssh server runs and which shows what a guest would see. Its disk is a directory
//! and outlives it; the host's programs are its own, read-only; of the host's files it has what `lima.yaml` mounts.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt};
use nix::unistd::getgid;
use serde_json::Value;

use crate::config::Config;
use crate::failure::{Failure, Result, words};
use crate::ssh;
use crate::store::Instance;

/// What runs first.
const BOOT: &str = include_str!("boot.sh");
/// What a distribution's image has in `/etc` and a namespace without it would miss.
const HOST_ETC: [&str; 14] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "bash.bashrc",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "os-release",
    "protocols",
    "resolv.conf",
    "services",
    "ssl",
];
/// Directories at the root that lead into `/usr` on most distributions.
const ROOT_LINKS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// What of the disk is there from the start.
const FOLDERS: [&str; 14] = [
    "dev",
    "etc/ssh",
    "home",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr/local/bin",
    "var/log",
    "var/tmp",
];
/// In guests of Lima everybody may become root. Here there is only one user, who may write wherever root would.
const SUDO: &str = "#!/bin/sh\n\
    while [ $# -gt 0 ]; do\n\
        case $1 in -u | -g | -p | -h) shift 2 ;; --) shift; break ;; -*) shift ;; *=*) export \"$1\"; shift ;; *) break ;; esac\n\
    done\n\
    exec \"$@\"\n";
const PROFILE: &str = "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";

/// A machine that runs.
pub(crate) struct Guest {
    /// The process around it, our child.
    pub(crate) around: Child,
    /// The first process in it: with it everything in the guest ends.
    pub(crate) first: i32,
    /// What it says when its boot is through.
    pub(crate) said: BufReader<ChildStdout>,
}

/// A port of the loopback that nobody else is given while this lives. It does not listen, so a server can.
pub(crate) struct Port {
    _held: OwnedFd,
    pub(crate) number: u16,
}

impl Port {
    /// This one, or any where it is 0.
    pub(crate) fn reserve(wanted: u16) -> Result<Self> {
        let reserve = || {
            let held = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&held, sockopt::ReuseAddr, &true)?;
            bind(held.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, wanted)))?;
            let number = getsockname::<SockaddrIn>(held.as_raw_fd())?.port();
            Ok::<_, nix::Error>(Self { _held: held, number })
        };
        reserve().map_err(|e| Failure::new(format!("listen tcp 127.0.0.1:{wanted}: bind: {}", e.desc().to_lowercase())))
    }

    /// Whether an ssh server answers there.
    pub(crate) fn answers(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.number));
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
        let mut greeting = [0; 4];
        stream.set_read_timeout(Some(Duration::from_secs(10))).is_ok()
            && stream.read_exact(&mut greeting).is_ok()
            && &greeting == b"SSH-"
    }
}

/// Where the disk of an instance lies.
fn disk(instance: &Instance) -> PathBuf {
    instance.file("fake-disk")
}

/// Starts the machine. `sshd`: with its ssh server.
pub(crate) fn start(instance: &Instance, config: &Config, home: &Path, port: u16, sshd: bool) -> Result<Guest> {
    let disk = disk(instance);
    let file = |e: std::io::Error| Failure::file("write", &disk, &e);
    format(&disk, instance, config, home)?;
    let lock = fs::File::open(&disk).map_err(file)?;
    // Held by the machine, as QEMU holds its disk: two host agents cannot give one disk to two machines.
    lock.try_lock()
        .map_err(|_| Failure::new("qemu: Failed to get \"write\" lock. Is another process using the image?"))?;
    put_scripts(&disk, instance, config).map_err(file)?;
    let serial = fs::OpenOptions::new().append(true).create(true).open(instance.file("serial.log")).map_err(file)?;

    let mut bwrap = Command::new("bwrap");
    bwrap.args(["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--clearenv"]);
    bwrap.args(["--hostname", &instance.hostname()]);
    bwrap.arg("--bind").arg(&disk).arg("/");
    bwrap.args(["--ro-bind", "/usr", "/usr", "--bind"]).arg(disk.join("usr/local")).arg("/usr/local");
    for name in ROOT_LINKS {
        let path = Path::new("/").join(name);
        if path.is_dir() && !path.is_symlink() {
            bwrap.arg("--ro-bind").arg(&path).arg(&path);
        }
    }
    bwrap.args([
        "--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp", "--perms", "755", "--tmpfs", "/run",
    ]);
    // Every machine has one.
    bwrap.args(["--dev-bind-try", "/dev/console", "/dev/console"]);
    for name in HOST_ETC {
        let path = Path::new("/etc").join(name);
        bwrap.arg("--ro-bind-try").arg(&path).arg(&path);
    }
    for mount in &config.mounts {
        fs::create_dir_all(&mount.location).map_err(|e| Failure::file("mkdir", &mount.location, &e))?;
        bwrap.arg(if mount.writable { "--bind" } else { "--ro-bind" }).arg(&mount.location).arg(&mount.point);
    }
    let (read, write) = nix::unistd::pipe().map_err(|e| Failure::new(format!("pipe: {}", e.desc())))?;
    let descriptors =
        [(read.as_fd(), FdFlag::FD_CLOEXEC), (write.as_fd(), FdFlag::empty()), (lock.as_fd(), FdFlag::empty())];
    for (end, flag) in descriptors {
        fcntl(end, FcntlArg::F_SETFD(flag)).map_err(|e| Failure::new(format!("fcntl: {}", e.desc())))?;
    }
    bwrap.args(["--info-fd", &write.as_raw_fd().to_string(), "--chdir", "/", "--", "/bin/bash", "/etc/fake-boot"]);
    bwrap.arg(port.to_string()).arg(if sshd { sshd_path() } else { PathBuf::new() });
    bwrap.args([&config.user.name, &config.user.home]);
    bwrap.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(serial).process_group(0);
    let mut around = bwrap.spawn().map_err(|e| Failure::new(format!("exec: \"bwrap\": {}", words(&e))))?;
    drop(write);
    let mut info = String::new();
    let _unread = fs::File::from(read).read_to_string(&mut info);
    let info: Value = serde_json::from_str(&info).unwrap_or_default();
    let said = around.stdout.take().map(BufReader::new);
    match (info["child-pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()), said) {
        (Some(first), Some(said)) => Ok(Guest { around, first, said }),
        _ => {
            let _ended = around.kill();
            let _status = around.wait();
            Err(format!("the namespace did not start (hint: see \"{}\")", instance.file("serial.log").display()).into())
        }
    }
}

/// The process in the guest that understands the power button.
pub(crate) fn button(first: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Waits until the boot is through; whether it got there.
pub(crate) fn boots(said: &mut BufReader<ChildStdout>) -> bool {
    let mut line = String::new();
    said.read_line(&mut line).is_ok() && line.trim() == "boot-done"
}

fn sshd_path() -> PathBuf {
    let usual = PathBuf::from("/usr/sbin/sshd");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = || std::env::split_paths(&path).map(|folder| folder.join("sshd")).find(|sshd| sshd.is_file());
    if usual.is_file() { usual } else { found().unwrap_or(usual) }
}

/// Makes of an empty directory a disk, once: what a guest changed on its disk stays.
fn format(disk: &Path, instance: &Instance, config: &Config, home: &Path) -> Result {
    let user = &config.user;
    let guest_home = disk.join(user.home.trim_start_matches('/'));
    let fail = |e: std::io::Error| Failure::file("write", disk, &e);
    for folder in FOLDERS {
        fs::create_dir_all(disk.join(folder)).map_err(fail)?;
    }
    fs::create_dir_all(guest_home.join(".ssh")).map_err(fail)?;
    for name in ROOT_LINKS {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            let _there = symlink(target, disk.join(name));
        }
    }
    let old_home = disk.join("home").join(format!("{}.linux", user.name));
    if !old_home.exists() {
        let _there = symlink(&user.home, old_home);
    }
    let write = |name: &str, text: String| {
        let path = disk.join(name);
        if path.exists() { Ok(()) } else { fs::write(path, text) }
    };
    let (name, uid, gid) = (&user.name, user.uid, getgid());
    let hostname = instance.hostname();
    // Without a group of terminals, which this namespace could not give them to, they belong to the user's.
    write("etc/group", format!("root:x:0:\n{name}:x:{gid}:\nnogroup:x:65534:\n")).map_err(fail)?;
    let people = format!(
        "root:x:0:0:root:/root:/bin/bash\n{name}:x:{uid}:{gid}::{}:{}\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
        user.home, user.shell
    );
    write("etc/passwd", people).map_err(fail)?;
    write("etc/hostname", format!("{hostname}\n")).map_err(fail)?;
    let host = if config.plain { String::new() } else { "127.0.0.1 host.lima.internal\n".to_owned() };
    write("etc/hosts", format!("127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost\n{host}")).map_err(fail)?;
    write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".into()).map_err(fail)?;
    write("etc/shells", "/bin/sh\n/bin/bash\n".into()).map_err(fail)?;
    write("etc/profile", PROFILE.into()).map_err(fail)?;
    write("usr/local/bin/sudo", SUDO.into()).map_err(fail)?;
    fs::set_permissions(disk.join("usr/local/bin/sudo"), fs::Permissions::from_mode(0o755)).map_err(fail)?;
    let key = disk.join("etc/ssh/ssh_host_ed25519_key");
    if !key.exists() {
        ssh::generate_key(&key, &hostname)?;
    }
    // Written each time: a boot of Lima's does so too.
    let authorized = fs::read_to_string(home.join("_config/user.pub")).map_err(fail)?;
    fs::write(guest_home.join(".ssh/authorized_keys"), authorized).map_err(fail)?;
    fs::write(disk.join("etc/ssh/sshd_config"), server_config(config)).map_err(fail)?;
    fs::write(disk.join("etc/fake-boot"), BOOT).map_err(fail)
}

/// As Debian's and Ubuntu's images have it, less what takes root.
fn server_config(config: &Config) -> String {
    let mut text =
        "ListenAddress 127.0.0.1\nHostKey /etc/ssh/ssh_host_ed25519_key\nPidFile none\nUsePAM no\nStrictModes no\n\
        PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\nPrintLastLog no\nUseDNS no\n\
        AcceptEnv LANG LC_* COLORTERM\nMaxSessions 10\nSubsystem sftp internal-sftp\n"
            .to_owned();
    let variables = config
        .env
        .iter()
        .map(|(name, value)| format!("\"{name}={}\"", value.replace('\\', "\\\\").replace('"', "\\\"")));
    let variables: Vec<_> = variables.collect();
    if !variables.is_empty() {
        text.push_str(&format!("SetEnv {}\n", variables.join(" ")));
    }
    text
}

/// Puts the scripts where Lima mounts them.
fn put_scripts(disk: &Path, instance: &Instance, config: &Config) -> std::io::Result<()> {
    let all = disk.join("mnt/lima-cidata");
    if all.exists() {
        fs::remove_dir_all(&all)?;
    }
    for (at, one) in config.provision.iter().enumerate().filter(|(_, one)| one.mode != "ansible") {
        let folder = all.join(format!("provision.{}", one.mode));
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{at:08}"));
        fs::write(&path, expanded(&one.script, instance, config))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The template variables that scripts may hold.
fn expanded(script: &str, instance: &Instance, config: &Config) -> String {
    let user = &config.user;
    let fixed = [
        ("Name", instance.name.clone()),
        ("Hostname", instance.hostname()),
        ("UID", user.uid.to_string()),
        ("User", user.name.clone()),
        ("Home", user.home.clone()),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
    let params = config.param.iter().map(|(name, value)| (format!("Param.{name}"), value.clone()));
    fixed
        .chain(params)
        .fold(script.to_owned(), |script, (name, value)| script.replace(&format!("{{{{.{name}}}}}"), &value))
}
