//! What every command in a sandbox loses before it starts: capabilities, ways to gain privileges, and the two
//! terminal calls that type into somebody else's prompt.
//!
//! The sandbox itself is the backend's work; this is what holds in all of them alike.

use nix::errno::Errno;
use nix::sys::prctl;

/// What could not be taken away. The command is not started then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    NoNewPrivileges,
    Capabilities,
    Filter,
}

impl Step {
    pub(crate) const ALL: [Self; 3] = [Self::NoNewPrivileges, Self::Capabilities, Self::Filter];

    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::NoNewPrivileges => "could not rule out new privileges (no_new_privs)",
            Self::Capabilities => "could not drop the capabilities",
            Self::Filter => "could not install the filter for terminal calls (seccomp)",
        }
    }
}

/// Applies everything to this process and all that it starts. Cannot be undone.
pub(crate) fn confine() -> Result<(), (Step, Errno)> {
    leave_session_keyring();
    drop_privileges()?;
    if !crate::mutant::off("p82_filter") {
        seccomp::install().map_err(|e| (Step::Filter, e))?;
    }
    Ok(())
}

/// The user's session keyring (tickets, keys of file systems) is inherited through every namespace; from here on there
/// is an empty one. Where the call does not exist or is refused, an outer filter keeps keys away already.
#[expect(unsafe_code, reason = "no safe wrapper")]
fn leave_session_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: takes numbers; a null name asks for a new anonymous keyring.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0, 0, 0, 0) };
}

/// No capabilities now, and none through any later `execve`.
pub(crate) fn drop_privileges() -> Result<(), (Step, Errno)> {
    prctl::set_no_new_privs().map_err(|e| (Step::NoNewPrivileges, e))?;
    capabilities::drop_all().map_err(|e| (Step::Capabilities, e))
}

mod capabilities {
    //! `capset` and the bounding set, by number: the kernel's list is longer than any library's.

    use nix::errno::Errno;

    const VERSION_3: u32 = 0x2008_0522;

    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }

    #[expect(unsafe_code, reason = "no safe wrapper")]
    pub(super) fn drop_all() -> Result<(), Errno> {
        // The bounding set needs a capability itself, so it goes first, and only where we may: without it
        // no_new_privs already keeps `execve` from granting anything.
        for capability in 0..64 {
            // SAFETY: takes numbers.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
                break;
            }
        }
        // SAFETY: takes numbers. Kernels without an ambient set (before 4.3) have nothing to clear.
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
        let header = Header { version: VERSION_3, pid: 0 };
        let none = [Sets { effective: 0, permitted: 0, inheritable: 0 }; 2];
        // SAFETY: version 3 takes one header and two records, and both outlive the call.
        Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) }).map(drop)
    }
}

mod seccomp {
    //! The filter of promise P82: `ioctl` with TIOCSTI or TIOCLINUX fails with EPERM, whatever the descriptor.
    //!
    //! The kernel looks at the low 32 bits of the request alone, so the filter does too. A call by another
    //! architecture's table would have other numbers: such a program is killed, and x32 calls do not exist.

    use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    use nix::errno::Errno;

    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: u32 = 0xC000_003E;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: u32 = 0xC000_00B7;
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    compile_error!("give this architecture's AUDIT_ARCH number, and check where its ioctl request stands");

    /// Calls from here on are x32's; no other architecture has calls with such numbers.
    const X32: u32 = 0x4000_0000;

    /// Offsets in `struct seccomp_data`. Both architectures are little-endian: the low half of argument 1 is first.
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    const REQUEST: u32 = 24;

    const LOAD: u32 = BPF_LD | BPF_W | BPF_ABS;
    const EQUAL: u32 = BPF_JMP | BPF_JEQ | BPF_K;
    const AT_LEAST: u32 = BPF_JMP | BPF_JGE | BPF_K;
    const ANSWER: u32 = BPF_RET | BPF_K;

    const fn op(code: u32, yes: u8, no: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: yes, jf: no, k }
    }

    /// `yes` and `no` count the instructions to skip.
    const FILTER: [libc::sock_filter; 12] = [
        op(LOAD, 0, 0, ARCH),
        op(EQUAL, 1, 0, ARCHITECTURE),
        op(ANSWER, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        op(LOAD, 0, 0, NUMBER),
        op(AT_LEAST, 6, 0, X32),
        op(EQUAL, 0, 3, libc::SYS_ioctl as u32),
        op(LOAD, 0, 0, REQUEST),
        op(EQUAL, 2, 0, libc::TIOCSTI as u32),
        op(EQUAL, 1, 0, libc::TIOCLINUX as u32),
        op(ANSWER, 0, 0, libc::SECCOMP_RET_ALLOW),
        op(ANSWER, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        op(ANSWER, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ];

    #[expect(unsafe_code, reason = "no safe wrapper")]
    pub(super) fn install() -> Result<(), Errno> {
        let program = libc::sock_fprog { len: FILTER.len() as u16, filter: FILTER.as_ptr().cast_mut() };
        // SAFETY: the program points at a constant of that length, which the kernel copies.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) })
            .map(drop)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// Runs the filter as the kernel would.
        fn answer(arch: u32, number: u32, request: u64) -> u32 {
            let (mut at, mut loaded) = (0, 0);
            loop {
                let op = FILTER[at];
                let code = u32::from(op.code);
                at += 1;
                if code == LOAD {
                    loaded = match op.k {
                        NUMBER => number,
                        ARCH => arch,
                        REQUEST => request as u32,
                        other => panic!("loads {other}"),
                    };
                } else if code == ANSWER {
                    return op.k;
                } else {
                    let holds = if code == EQUAL { loaded == op.k } else { loaded >= op.k };
                    at += usize::from(if holds { op.jt } else { op.jf });
                }
            }
        }

        #[test]
        fn p82_only_the_two_terminal_calls_are_refused() {
            let ioctl = libc::SYS_ioctl as u32;
            let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
            for request in [libc::TIOCSTI, libc::TIOCLINUX] {
                assert_eq!(answer(ARCHITECTURE, ioctl, request), refused);
                assert_eq!(answer(ARCHITECTURE, ioctl, request | 0xDEAD_BEEF << 32), refused, "high bits are ignored");
                assert_eq!(answer(ARCHITECTURE, ioctl + 1, request), libc::SECCOMP_RET_ALLOW);
            }
            for request in [libc::TIOCGWINSZ, libc::TCGETS, libc::TIOCSPGRP, 0] {
                assert_eq!(answer(ARCHITECTURE, ioctl, request), libc::SECCOMP_RET_ALLOW);
            }
        }

        #[test]
        fn p82_other_call_tables_are_no_way_round() {
            assert_eq!(answer(0x4000_0003, 54, libc::TIOCSTI), libc::SECCOMP_RET_KILL_PROCESS, "i386");
            assert_eq!(answer(ARCHITECTURE, X32 | 514, libc::TIOCSTI), libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
        }
    }
}
