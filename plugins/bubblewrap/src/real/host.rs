//! The host's part, for these tests: what `Companion::own_network` and `Plan::enter` ask of it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::unistd::{geteuid, setgid, setgroups, setuid};
use workmux_plugin_api::{Companion, Plan, User};

use super::harness::Bench;

nix::ioctl_none!(owning_user_namespace, 0xb7, 1);

/// bwrap's only child, once it runs the guest's program.
pub(super) fn first_process(bwrap: &Child) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", bwrap.id());
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let text = fs::read_to_string(&children).unwrap();
        if let Some(pid) = text.split_ascii_whitespace().next().and_then(|p| p.parse().ok())
            && fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() != "bwrap")
        {
            return pid;
        }
        thread::yield_now();
    }
    panic!("no first process");
}

/// Starts a companion in the user namespace that owns the first process's network. Where root runs the tests it gets a
/// device node of its own, and a resolver file where one is given: ordinary machines have the node for everybody.
#[expect(unsafe_code, reason = "namespaces are entered between fork and exec")]
pub(super) fn start_companion(bench: &Bench, companion: &Companion, pid: u32, resolv_conf: Option<&Path>) -> Child {
    let net = File::open(format!("/proc/{pid}/ns/net")).unwrap();
    // SAFETY: the call takes no argument and answers a new descriptor, which nothing else owns.
    let owner = unsafe { OwnedFd::from_raw_fd(owning_user_namespace(net.as_raw_fd()).unwrap()) };
    let mut command = Command::new(&companion.program);
    command.args(companion.args.iter().map(|a| a.replace("{pid}", &pid.to_string())));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    let User { uid, gid } = bench.spec.user;
    let resolv_conf = resolv_conf.map(Path::to_owned);
    let enter = move || -> io::Result<()> {
        if geteuid().is_root() {
            private_device(resolv_conf.as_deref())?;
            setgroups(&[])?;
            setgid(gid.into())?;
            setuid(uid.into())?;
        }
        setns(&owner, CloneFlags::CLONE_NEWUSER)?;
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only.
    unsafe { command.pre_exec(enter) };
    command.spawn().unwrap()
}

fn private_device(resolv_conf: Option<&Path>) -> nix::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), MsFlags::empty(), none)?;
    umask(Mode::empty());
    mknod("/dev/net/tun", SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(10, 200))?;
    if let Some(own) = resolv_conf {
        mount(Some(own), "/etc/resolv.conf", none, MsFlags::MS_BIND, none)?;
    }
    Ok(())
}

/// Starts a plan that enters the namespaces of a process.
#[expect(unsafe_code, reason = "namespaces are entered between fork and exec")]
pub(super) fn start_inside(bench: &Bench, plan: &Plan) -> Child {
    let pid = plan.enter.unwrap();
    let process = pidfd(pid);
    let own = |name: &str, of: &str| fs::read_link(format!("/proc/{of}/ns/{name}")).unwrap();
    let differing: CloneFlags = [
        ("user", CloneFlags::CLONE_NEWUSER),
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("net", CloneFlags::CLONE_NEWNET),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ]
    .into_iter()
    .filter(|(name, _)| own(name, "self") != own(name, &pid.to_string()))
    .map(|(_, flag)| flag)
    .collect();
    let mut command = Command::new(&plan.program);
    command.args(plan.args.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
    bench.as_guest(&mut command);
    command.envs(plan.env.iter().map(|(name, value)| (name, value.as_os_str())));
    let cwd = plan.cwd.clone();
    let enter = move || -> io::Result<()> {
        setns(&process, differing)?;
        nix::unistd::chdir(&cwd)?;
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only.
    unsafe { command.pre_exec(enter) };
    command.spawn().unwrap()
}

#[expect(unsafe_code, reason = "pidfd_open has no safe wrapper in nix")]
fn pidfd(pid: u32) -> OwnedFd {
    // SAFETY: a plain system call; the descriptor it returns is new and ours alone.
    unsafe {
        let fd = nix::libc::syscall(nix::libc::SYS_pidfd_open, pid as nix::libc::pid_t, 0);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd as i32)
    }
}
