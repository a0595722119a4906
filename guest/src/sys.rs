//! The system calls that have no safe wrapper elsewhere, each as one small safe function.
//!
//! This and [`crate::confine`] hold all unsafe code of the package. No policy stands here.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::{ForkResult, Pid};

/// Forks. Every role that forks has one thread, so the child may do what the parent may.
#[expect(unsafe_code, reason = "fork is unsafe in programs with several threads")]
pub(crate) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: neither `init` nor `exec` nor `unshare` ever starts a thread; only `cli`, which never forks, does.
    unsafe { nix::unistd::fork() }
}

/// Ends this process at once, running no destructor: for the child's side of a fork.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Gives every signal its default action, those too that the C library keeps from `signal` and may find ignored.
#[expect(unsafe_code, reason = "no safe wrapper takes every signal")]
pub(crate) fn default_signal_actions() {
    // The kernel's `struct sigaction`, whose size does not differ between our architectures; zero is the default.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // SAFETY: the kernel reads one `sigaction` with a set of 8 bytes. No handler of ours is replaced. It fails
        // for KILL and STOP, which are always at their default.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8) };
    }
}

/// Sets what a signal does, and answers what it did before. No handler of ours exists.
#[expect(unsafe_code, reason = "the wrapper is unsafe for the sake of handlers")]
pub(crate) fn signal_action(signal: Signal, action: SigHandler) -> nix::Result<SigHandler> {
    // SAFETY: callers ignore a signal, give it its default, or give back what this function answered.
    unsafe { nix::sys::signal::signal(signal, action) }
}

/// Gives a terminal its size.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn set_terminal_size(terminal: BorrowedFd, rows: u16, columns: u16) -> nix::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call reads exactly this structure.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// Sends a signal by number, real-time ones included. A negative pid names a process group, -1 everything.
#[expect(unsafe_code, reason = "the safe wrapper does not take real-time signals")]
pub(crate) fn kill(pid: i32, signal: i32) -> nix::Result<()> {
    // SAFETY: takes two numbers.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// A child that ended or stopped, if there is one: never waits. `ECHILD`: there are no children.
#[expect(unsafe_code, reason = "the safe wrapper loses children that died of a real-time signal")]
pub(crate) fn next_change() -> nix::Result<Option<(Pid, ExitStatus)>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) })?;
    Ok((pid > 0).then(|| (Pid::from_raw(pid), ExitStatus::from_raw(status))))
}

/// Waits until this child has ended.
#[expect(unsafe_code, reason = "the safe wrapper loses children that died of a real-time signal")]
pub(crate) fn wait_for(child: Pid) -> nix::Result<ExitStatus> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the answer.
        match Errno::result(unsafe { libc::waitpid(child.as_raw(), &raw mut status, 0) }) {
            Err(Errno::EINTR) => {}
            answer => return answer.map(|_| ExitStatus::from_raw(status)),
        }
    }
}

/// A copy of what is mounted at `fd`, from there on with everything below, that is mounted nowhere yet. `ENOSYS` before
/// Linux 5.2.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn copy_mounts(fd: &impl AsRawFd) -> nix::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | (libc::AT_EMPTY_PATH | RECURSIVE) as libc::c_uint;
    // SAFETY: the path is empty and outlives the call.
    let copy = Errno::result(unsafe { libc::syscall(libc::SYS_open_tree, fd.as_raw_fd(), c"".as_ptr(), flags) })?;
    // SAFETY: the descriptor was just made, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as RawFd) })
}

/// Mounts such a copy on `at`.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn mount_copy(copy: &OwnedFd, at: &impl AsRawFd) -> nix::Result<()> {
    let (from, empty, to) = (copy.as_raw_fd(), c"".as_ptr(), at.as_raw_fd());
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty and outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, empty, flags) }).map(drop)
}

/// `AT_RECURSIVE`, which the library lacks.
const RECURSIVE: libc::c_int = 0x8000;

/// Makes the mount that `fd` is the root of read-only, and all mounts below it. `ENOSYS` before Linux 5.12.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn make_read_only(fd: &impl AsRawFd) -> nix::Result<()> {
    // The kernel's `struct mount_attr`: set, clear, propagation, user namespace.
    let attributes = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0];
    let flags = libc::AT_EMPTY_PATH | RECURSIVE;
    let size = size_of_val(&attributes);
    let call = libc::SYS_mount_setattr;
    // SAFETY: the path is empty, and the kernel reads the given number of bytes.
    Errno::result(unsafe { libc::syscall(call, fd.as_raw_fd(), c"".as_ptr(), flags, attributes.as_ptr(), size) })
        .map(drop)
}

/// Makes the terminal behind `fd` the controlling terminal of this session. Never takes it from another session.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn take_controlling_terminal(fd: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the descriptor is open; the argument is a number.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Leaves the controlling terminal behind `fd`; if this process leads its session, the whole session does.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn give_up_controlling_terminal(fd: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the descriptor is open; the request takes no argument.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCNOTTY) }).map(drop)
}

/// Marks every descriptor from `first` on to be closed by `execve`.
pub(crate) fn close_on_exec_from(first: RawFd) {
    for_descriptors_from(first, libc::CLOSE_RANGE_CLOEXEC, |fd| {
        if let Ok(flags) = nix::fcntl::fcntl(borrow(fd), nix::fcntl::F_GETFD) {
            let flags = nix::fcntl::FdFlag::from_bits_truncate(flags) | nix::fcntl::FdFlag::FD_CLOEXEC;
            let _ = nix::fcntl::fcntl(borrow(fd), nix::fcntl::F_SETFD(flags));
        }
    });
}

/// Puts `fd` in the place of the three standard descriptors and closes every other one: for a child that needs
/// exactly this descriptor, which it gets back.
#[expect(unsafe_code, reason = "closes descriptors that other values still name")]
pub(crate) fn keep_only(fd: &impl AsRawFd) -> nix::Result<OwnedFd> {
    for place in 0..=2 {
        // SAFETY: takes two numbers.
        Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), place) })?;
    }
    for_descriptors_from(3, 0, |fd| {
        // SAFETY: takes a number. The caller is a forked child that uses no value holding a descriptor any more.
        unsafe { libc::close(fd) };
    });
    // SAFETY: descriptor 0 was just made, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(0) })
}

/// Where the kernel knows no `close_range` (before 5.9), as many descriptors are visited as a process usually may have.
#[expect(unsafe_code, reason = "no safe wrapper")]
fn for_descriptors_from(first: RawFd, flags: libc::c_uint, one: impl Fn(RawFd)) {
    // SAFETY: takes three numbers.
    if unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) } != 0 {
        (first..1024).for_each(one);
    }
}

#[expect(unsafe_code, reason = "asks about a descriptor that may not be open")]
fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: only passed to fcntl, which answers EBADF for a descriptor that is not open.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Brings a network interface up if it is down.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn bring_up(interface: &CStr) -> io::Result<()> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: all bytes zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.to_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the request is an `ifreq`, which is what both calls take; SIOCGIFFLAGS has filled the flags in before
    // they are read.
    unsafe {
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request))?;
        let up = libc::IFF_UP as libc::c_short;
        if request.ifr_ifru.ifru_flags & up == 0 {
            request.ifr_ifru.ifru_flags |= up;
            Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request))?;
        }
    }
    Ok(())
}
