//! Entering a sandbox's namespaces: for a further command in it, and for a companion that configures its network.
//!
//! An ordinary user may do both, because the kernel lets the owner of a user namespace into it and what it owns. A
//! sandbox can sit in a namespace nested in the one that owns the rest, so a process is entered whole, in one call.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::sched::{CloneFlags, setns};

/// Open namespaces: still the same ones when the process is gone and its number belongs to another.
pub(super) struct Namespaces {
    fd: OwnedFd,
    kinds: CloneFlags,
}

impl Namespaces {
    /// Moves the calling process (for the process namespace: its children) into them. Safe between fork and exec.
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.fd, self.kinds)?)
    }
}

/// The namespaces of a process of this machine that are not ours as well.
pub(super) fn of_process(pid: u32) -> io::Result<Namespaces> {
    let fd = crate::tool::pidfd_open(pid)?;
    let mut kinds = CloneFlags::empty();
    for (name, kind) in KINDS {
        // One that is shared with the host needs no entering, and may not be entered.
        let id = |process: &str| fs::read_link(format!("/proc/{process}/ns/{name}"));
        if id(&pid.to_string())? != id("self")? {
            kinds |= kind;
        }
    }
    Ok(Namespaces { fd, kinds })
}

const KINDS: [(&str, CloneFlags); 7] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("net", CloneFlags::CLONE_NEWNET),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
];

/// The user namespace that owns the network of a process.
#[expect(unsafe_code, reason = "the ioctl has no safe wrapper in nix")]
pub(super) fn owner_of_network(pid: u32) -> io::Result<Namespaces> {
    /// `NS_GET_USERNS`
    const OWNER: libc::Ioctl = 0xb701;
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    // SAFETY: takes no argument and answers a new descriptor that is ours alone.
    let fd = unsafe {
        match libc::ioctl(network.as_raw_fd(), OWNER) {
            -1 => return Err(io::Error::last_os_error()),
            fd => OwnedFd::from_raw_fd(fd),
        }
    };
    Ok(Namespaces { fd, kinds: CloneFlags::CLONE_NEWUSER })
}
