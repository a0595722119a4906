//! Waiting for the network: is there a default route, and tell me when there is.
//!
//! The kernel's routing socket answers both, needs no privilege and no `/proc`. A sandbox's network may be attached
//! from outside while its first process already runs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// Not every kernel announces routes (gVisor's does not), so the whole table is asked for again at this pace.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

const HEADER: usize = 16;
const GROUPS: u32 = (libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE) as u32;

pub(crate) struct RouteWatch {
    socket: OwnedFd,
    asked: Instant,
}

impl RouteWatch {
    /// Subscribes to new routes, then asks for those that exist: none is missed between the two.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        let mut watch = Self { socket, asked: Instant::now() };
        watch.ask()?;
        Ok(watch)
    }

    /// When [`Self::arrived`] wants to be called even if nothing came.
    pub(crate) fn look_again(&self) -> Instant {
        self.asked + LOOK_AGAIN
    }

    /// Whether a default route exists. Never waits.
    pub(crate) fn arrived(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(n) if holds_default_route(&buffer[..n]) => return Ok(true),
                // ENOBUFS: announcements were lost; the next look makes up for them.
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(Errno::EAGAIN) => break,
                Err(e) => return Err(e.into()),
            }
        }
        if Instant::now() >= self.look_again() {
            self.ask()?;
        }
        Ok(false)
    }

    fn ask(&mut self) -> io::Result<()> {
        self.asked = Instant::now();
        // struct nlmsghdr, then struct rtmsg with nothing asked for: every route of every family.
        let mut request = [0; HEADER + 12];
        request[..4].copy_from_slice(&((HEADER + 12) as u32).to_ne_bytes());
        request[4..6].copy_from_slice(&libc::RTM_GETROUTE.to_ne_bytes());
        request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        Ok(())
    }
}

impl AsFd for RouteWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Looks through a batch of messages for a new route to everywhere that leads somewhere.
fn holds_default_route(mut batch: &[u8]) -> bool {
    while let (Some(length), Some(kind)) = (batch.first_chunk(), batch.get(4..6)) {
        let length = u32::from_ne_bytes(*length) as usize;
        let Some(message) = batch.get(HEADER..length) else { return false };
        // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type
        if kind == libc::RTM_NEWROUTE.to_ne_bytes()
            && message.get(1) == Some(&0)
            && message.get(7) == Some(&libc::RTN_UNICAST)
        {
            return true;
        }
        batch = batch.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, dst_len: u8, route_type: u8) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + 12];
        bytes[..4].copy_from_slice(&((HEADER + 12) as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[HEADER + 1] = dst_len;
        bytes[HEADER + 7] = route_type;
        bytes
    }

    #[test]
    fn only_a_new_unicast_route_to_everywhere_counts() {
        let default = message(libc::RTM_NEWROUTE, 0, libc::RTN_UNICAST);
        let others = [
            message(libc::RTM_NEWROUTE, 24, libc::RTN_UNICAST),
            message(libc::RTM_NEWROUTE, 0, libc::RTN_UNREACHABLE),
            message(libc::RTM_DELROUTE, 0, libc::RTN_UNICAST),
        ]
        .concat();
        assert!(!holds_default_route(&others));
        assert!(holds_default_route(&[others, default].concat()));
    }

    #[test]
    fn a_batch_that_lies_about_its_lengths_is_survived() {
        let default = message(libc::RTM_NEWROUTE, 0, libc::RTN_UNICAST);
        for length in [0_u32, 1, 15, 16, 17, 29, u32::MAX] {
            let mut bytes = default.clone();
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(!holds_default_route(&bytes), "{length}");
        }
        for cut in 0..default.len() {
            assert!(!holds_default_route(&default[..cut]));
        }
    }
}
