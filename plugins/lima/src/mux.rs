//! What is said on the socket of a shared ssh connection: a command is handed to the process that holds the connection,
//! together with the three descriptors that it shall read and write. Starting `ssh` for that, which says the same, takes
//! longer than all the rest.
//!
//! The words are those of OpenSSH's `PROTOCOL.mux`, version 4, as far as one command without a terminal needs them. That
//! process is this user's own and as trusted as `ssh` itself; still nothing it says makes this side wait for ever before
//! the command is accepted, or keep more than a few kilobytes.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg};

const VERSION: u32 = 4;
const HELLO: u32 = 1;
const NEW_SESSION: u32 = 0x1000_0002;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT: u32 = 0x8000_0004;
const OPENED: u32 = 0x8000_0006;
/// There is one request on each connection.
const REQUEST: u32 = 1;
/// No character of the input is special.
const NO_ESCAPE: u32 = u32::MAX;

/// What the process has to answer a greeting; it is on this machine and does nothing else meanwhile.
const GREETING: Duration = Duration::from_secs(3);
/// Answers are numbers and reasons in words.
const LONGEST: u32 = 64 * 1024;

/// A connection to the process that holds the shared one.
#[derive(Debug)]
pub(crate) struct Mux(UnixStream);

/// What became of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It runs.
    Yes,
    /// The machine takes no further one over this connection, or the connection is gone.
    No,
}

impl Mux {
    /// Greets. A socket that is left over answers nobody, and a process that was stopped does not answer in time.
    pub(crate) fn greet(socket: &Path) -> io::Result<Self> {
        let stream = connected(socket)?;
        stream.set_read_timeout(Some(GREETING))?;
        stream.set_write_timeout(Some(GREETING))?;
        let mut mux = Self(stream);
        mux.send(&Packet::new(HELLO).number(VERSION))?;
        let mut hello = Answer(&mux.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?);
        if (hello.number()?, hello.number()?) != (HELLO, VERSION) {
            return Err(unknown());
        }
        mux.0.set_read_timeout(None)?;
        Ok(mux)
    }

    /// For another thread, to end the wait.
    pub(crate) fn handle(&self) -> io::Result<UnixStream> {
        self.0.try_clone()
    }

    /// Has a command run, which is text for the shell of the machine's user; waits until the machine has accepted it.
    pub(crate) fn open(&mut self, command: &str, stdio: [BorrowedFd; 3]) -> io::Result<Opened> {
        // Flags: terminal, X11, agent, subsystem. No environment: it would have to be allowed over there.
        let flags = Packet::new(NEW_SESSION).number(REQUEST).text("").number(0).number(0).number(0).number(0);
        self.send(&flags.number(NO_ESCAPE).text("").text(command))?;
        for fd in stdio {
            let fd = [fd.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&fd)];
            sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(&[0])], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
        }
        let Some(answer) = self.receive()? else { return Ok(Opened::No) };
        match Answer(&answer).number()? {
            OPENED => Ok(Opened::Yes),
            FAILURE | PERMISSION_DENIED => Ok(Opened::No),
            _ => Err(unknown()),
        }
    }

    /// Waits for the end of the command: its code, or none where it was ended by a signal or the connection was lost.
    pub(crate) fn ended(&mut self) -> io::Result<Option<u8>> {
        let mut code = None;
        while let Some(answer) = self.receive()? {
            let mut answer = Answer(&answer);
            if answer.number()? == EXIT {
                let _session = answer.number()?;
                code = u8::try_from(answer.number()?).ok();
            }
        }
        Ok(code)
    }

    fn send(&mut self, packet: &Packet) -> io::Result<()> {
        let length = u32::try_from(packet.0.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut whole = length.to_be_bytes().to_vec();
        whole.extend_from_slice(&packet.0);
        self.0.write_all(&whole)
    }

    /// The next answer; none at the end.
    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                return Ok(None);
            }
            other => other?,
        }
        let length = u32::from_be_bytes(length);
        if length > LONGEST {
            return Err(unknown());
        }
        let mut answer = vec![0; length as usize];
        self.0.read_exact(&mut answer)?;
        Ok(Some(answer))
    }
}

/// Without waiting: where the holder was stopped and others wait already, that would be for ever.
fn connected(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

struct Packet(Vec<u8>);

impl Packet {
    fn new(kind: u32) -> Self {
        Self(Vec::new()).number(kind)
    }

    fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Longer ones than fit are refused when the packet is sent.
    fn text(mut self, text: &str) -> Self {
        self = self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self
    }
}

struct Answer<'a>(&'a [u8]);

impl Answer<'_> {
    fn number(&mut self) -> io::Result<u32> {
        let (number, rest) = self.0.split_first_chunk().ok_or_else(unknown)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the shared ssh connection answers in words that are not known")
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What is answered to one client, whatever it says.
    fn answered(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, std::path::PathBuf, thread::JoinHandle<Vec<u8>>) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let _gone = stream.write_all(&answer);
            }
            let _whole = stream.shutdown(std::net::Shutdown::Write);
            let mut said = Vec::new();
            let _gone = stream.read_to_end(&mut said);
            said
        });
        (dir, socket, server)
    }

    fn packet(numbers: &[u32]) -> Vec<u8> {
        let mut all = u32::try_from(numbers.len() * 4).unwrap().to_be_bytes().to_vec();
        all.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        all
    }

    #[test]
    fn a_command_goes_over_with_its_descriptors_and_its_code_comes_back() {
        let (_dir, socket, server) =
            answered(vec![packet(&[HELLO, 4]), packet(&[OPENED, 1, 7]), packet(&[EXIT, 7, 42])]);
        let mut mux = Mux::greet(&socket).unwrap();
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        assert_eq!(mux.open("exec true", [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).unwrap(), Opened::Yes);
        assert_eq!(mux.ended().unwrap(), Some(42));
        drop(mux);
        let said = server.join().unwrap();
        assert_eq!(said[..12], [0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 4]);
        let command: Vec<u8> = [&[0, 0, 0, 9], "exec true".as_bytes(), &[0, 0, 0]].concat();
        assert!(said.ends_with(&command), "{said:?}");
    }

    #[test]
    fn what_is_refused_or_lost_is_told_from_what_runs() {
        let stdin = io::stdin();
        let fds = || [stdin.as_fd(), stdin.as_fd(), stdin.as_fd()];
        for refusal in [vec![packet(&[FAILURE, 1, 0])], vec![packet(&[PERMISSION_DENIED, 1, 0])], vec![]] {
            let (_dir, socket, _server) = answered([vec![packet(&[HELLO, 4])], refusal].concat());
            assert_eq!(Mux::greet(&socket).unwrap().open("x", fds()).unwrap(), Opened::No);
        }
        let (_dir, socket, _server) = answered(vec![packet(&[HELLO, 4]), packet(&[OPENED, 1, 7])]);
        let mut mux = Mux::greet(&socket).unwrap();
        assert_eq!(mux.open("x", fds()).unwrap(), Opened::Yes);
        assert_eq!(mux.ended().unwrap(), None, "no code: it was lost");
    }

    #[test]
    fn nonsense_is_no_connection() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Mux::greet(&dir.path().join("s")).is_err(), "nobody");
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        drop(listener);
        assert!(Mux::greet(&dir.path().join("s")).is_err(), "left over");
        for hello in
            [packet(&[HELLO, 3]), packet(&[4, 4]), packet(&[HELLO]), vec![0xff; 8], vec![0, 0, 0, 9, 1], vec![]]
        {
            let (_dir, socket, _server) = answered(vec![hello.clone()]);
            assert!(Mux::greet(&socket).is_err(), "{hello:?}");
        }
    }
}
