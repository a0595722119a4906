//! The relay: a TCP port on the guest's own loopback that leads to the supervisor's RPC socket.
//!
//! Programs that only know `WM_RPC_HOST` and `WM_RPC_PORT` reach the host through it, in a sandbox without any
//! network too. It is a process of its own, forked and never `exec`ed (there may be nothing to `exec`): whatever
//! happens to it, the first process lives on and starts it again a few times.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, getppid, setsid};

use crate::unix_socket::connect_now;
use crate::{confine, sys};

/// More wait in the kernel's queue until one of these ends.
const CONNECTIONS: usize = 64;
const BUFFER: usize = 16 * 1024;
/// A guest can kill the relay; that is its own loss, but not one to repeat for ever.
const RESTARTS: u32 = 5;
/// What to wait after the kernel refused a connection for want of descriptors or memory.
const PAUSE_MS: u16 = 50;

/// The first process's handle on the relay.
pub(crate) struct Relay {
    listener: TcpListener,
    port: u16,
    rpc: PathBuf,
    pid: Pid,
    restarts: u32,
}

impl Relay {
    /// Brings the loopback interface up if it is down, listens on it, and starts the process. The second answer is
    /// why the interface stays down, if it does: listening works all the same, connecting does not.
    pub(crate) fn start(rpc: &Path) -> io::Result<(Self, Option<io::Error>)> {
        let down = sys::bring_up(c"lo").err();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let pid = fork(&listener, rpc)?;
        Ok((Self { listener, port, rpc: rpc.to_owned(), pid, restarts: 0 }, down))
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// What tells programs in the guest where it listens.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("WM_RPC_HOST", Ipv4Addr::LOCALHOST.to_string()), ("WM_RPC_PORT", self.port.to_string())]
    }

    /// Starts it again on the same port after it died; `false`: not any more.
    pub(crate) fn restart(&mut self) -> bool {
        self.restarts += 1;
        if self.restarts > RESTARTS || crate::mutant::off("p52_restart") {
            return false;
        }
        fork(&self.listener, &self.rpc).map(|pid| self.pid = pid).is_ok()
    }
}

fn fork(listener: &TcpListener, rpc: &Path) -> nix::Result<Pid> {
    let parent = nix::unistd::getpid();
    match sys::fork()? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _ = serve(listener, rpc, parent);
            sys::exit_now(1)
        }
    }
}

/// The relay process. Holds nothing of the first process but the listener, and does not outlive it.
fn serve(listener: &TcpListener, rpc: &Path, parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    prctl::set_dumpable(false)?;
    if getppid() != parent {
        return Ok(());
    }
    let _ = setsid();
    let listener = TcpListener::from(sys::keep_only(listener)?);
    confine::confine().map_err(|(_, e)| e)?;
    let mut pairs: Vec<Pair> = Vec::new();
    loop {
        let accepting = pairs.len() < CONNECTIONS;
        let ready = wait(accepting.then_some(&listener), &pairs)?;
        let mut at = 0;
        pairs.retain_mut(|pair| {
            at += 1;
            !ready.pairs[at - 1] || pair.pump().unwrap_or(false) || crate::mutant::off("p56_ended")
        });
        if ready.listener {
            match listener.accept() {
                // Closing the connection is all the answer a guest gets while there is no supervisor.
                Ok((guest, _)) => pairs.extend(Pair::new(guest, rpc).ok()),
                Err(e) if e.raw_os_error().is_some_and(|n| [libc::EMFILE, libc::ENFILE, libc::ENOMEM].contains(&n)) => {
                    let _ = poll(&mut [], PAUSE_MS);
                }
                Err(_) => {}
            }
        }
    }
}

struct Ready {
    listener: bool,
    pairs: Vec<bool>,
}

/// Waits until something can be done. Descriptors nothing is wanted from are left out: their hang-up would be
/// reported over and over.
fn wait(listener: Option<&TcpListener>, pairs: &[Pair]) -> io::Result<Ready> {
    let mut fds: Vec<PollFd<'_>> = listener.iter().map(|l| PollFd::new(l.as_fd(), PollFlags::POLLIN)).collect();
    let mut owners = vec![None; fds.len()];
    for (index, pair) in pairs.iter().enumerate() {
        let wanted = [
            (pair.guest.as_fd(), pair.up.wants_input(), pair.down.wants_output()),
            (pair.host.as_fd(), pair.down.wants_input(), pair.up.wants_output()),
        ];
        for (fd, input, output) in wanted {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, input);
            events.set(PollFlags::POLLOUT, output);
            if !events.is_empty() {
                fds.push(PollFd::new(fd, events));
                owners.push(Some(index));
            }
        }
    }
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(e) => return Err(e.into()),
    }
    let mut ready = Ready { listener: false, pairs: vec![false; pairs.len()] };
    for (fd, owner) in fds.iter().zip(owners) {
        if fd.any().unwrap_or(true) {
            match owner {
                Some(index) => ready.pairs[index] = true,
                None => ready.listener = true,
            }
        }
    }
    Ok(ready)
}

/// One connection of the guest and its counterpart on the host's socket.
struct Pair {
    guest: TcpStream,
    host: UnixStream,
    up: Flow,
    down: Flow,
}

impl Pair {
    fn new(guest: TcpStream, rpc: &Path) -> io::Result<Self> {
        guest.set_nonblocking(true)?;
        guest.set_nodelay(true)?;
        Ok(Self { host: connect_now(rpc)?, guest, up: Flow::new(), down: Flow::new() })
    }

    /// Moves what can be moved. `false`: both directions have ended.
    fn pump(&mut self) -> io::Result<bool> {
        let (guest, host) = (&self.guest, &self.host);
        self.up.pump(&mut &*guest, &mut &*host, || host.shutdown(Shutdown::Write))?;
        self.down.pump(&mut &*host, &mut &*guest, || guest.shutdown(Shutdown::Write))?;
        Ok(self.up.open || self.down.open)
    }
}

/// One direction: at most a buffer's worth is under way, and the end is passed on once that has arrived.
struct Flow {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    open: bool,
}

impl Flow {
    fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0, open: true }
    }

    fn wants_input(&self) -> bool {
        self.open && self.start == self.end
    }

    fn wants_output(&self) -> bool {
        self.start < self.end
    }

    /// Goes on until it would have to wait, or a few buffers have passed and others should have their turn.
    fn pump(
        &mut self,
        from: &mut impl Read,
        to: &mut impl Write,
        finish: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        for _ in 0..8 {
            while self.wants_output() {
                match to.write(&self.buffer[self.start..self.end]) {
                    Ok(n) => self.start += n,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(e) => return Err(e),
                }
            }
            if !self.wants_input() {
                return Ok(());
            }
            match from.read(&mut self.buffer) {
                Ok(0) => {
                    self.open = false;
                    return finish();
                }
                Ok(n) => (self.start, self.end) = (0, n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
