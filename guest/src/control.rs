//! The conversation between a supervisor and the first process of a sandbox, over one stream: a unix socket,
//! or a TCP connection on which both have proved themselves ([`proof`](crate::proof)).
//!
//! The first process connects and says [`FromGuest::Hello`]; the supervisor answers with [`ToGuest::Start`], which
//! carries the command with its exact words and environment: that is how secrets reach a guest without ever standing
//! on a command line. From then on the open connection is the **lifeline**: when it ends, for whatever reason, the
//! first process kills everything and exits.
//!
//! A frame is a kind byte, a little-endian `u32` length and that many bytes. Lists are counted, strings are
//! length-prefixed, so any bytes but NUL may stand in a word. Either side treats a frame it cannot read as the end
//! of the conversation. `exec` (a second command in a running sandbox) holds the same conversation on a stream of
//! its own.

use std::io::{self, Read, Write};

/// The version of this conversation. The host mounts its own guest program, so both ends are always of one build;
/// the number catches a guest program that somebody put there by hand.
pub const VERSION: u32 = 1;

/// No frame is larger: the command line and environment of one command.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// What the supervisor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGuest {
    /// Run this command. Sent once.
    Start(Start),
    /// Send this signal number to the command's process group.
    Signal(i32),
}

/// The command to run and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    /// The words of the command, at least one.
    pub argv: Vec<Vec<u8>>,
    /// The environment as `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// The directory to start in.
    pub cwd: Vec<u8>,
    /// Standard input is a terminal that the first process makes the command's controlling terminal.
    pub terminal: bool,
    /// Listen on the guest's loopback, forward each connection to the RPC socket, and set `WM_RPC_HOST` and
    /// `WM_RPC_PORT` in the command's environment.
    pub relay: bool,
    /// Wait (up to 10 s) until the network has a default route before starting the command.
    pub wait_for_route: bool,
    /// The terminal's rows and columns. An engine tells its own terminals late.
    pub size: Option<(u16, u16)>,
    /// What the first process was started with lies below `env`; otherwise nothing is inherited.
    pub inherit: bool,
}

/// What the first process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromGuest {
    /// First frame: the version of the conversation.
    Hello { version: u32 },
    /// The command runs.
    Started,
    /// The command could not be started: 127 not found, 126 not executable, 125 anything of ours, and the reason.
    Failed { code: u8, reason: String },
    /// The command ended by itself with this code.
    Exited { code: u8 },
    /// The command was ended by this signal.
    Signaled { signal: i32 },
    /// A line for the supervisor's log or the user: something is degraded, the run goes on.
    Warning { text: String },
}

impl ToGuest {
    /// Writes one frame.
    pub fn write_to(&self, w: &mut impl Write) -> io::Result<()> {
        w.write_all(&self.encode())
    }

    /// The frame as bytes, for writers that are not `std::io`.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Start(s) => {
                let mut b = Body::new(1);
                b.list(&s.argv);
                b.list(&s.env);
                b.bytes(&s.cwd);
                let flags = [s.terminal, s.relay, s.wait_for_route, s.inherit];
                b.u32(flags.iter().enumerate().map(|(bit, flag)| u32::from(*flag) << bit).sum());
                b.u32(s.size.map_or(0, |(rows, columns)| u32::from(rows) << 16 | u32::from(columns)));
                b.finish()
            }
            Self::Signal(n) => {
                let mut b = Body::new(2);
                b.u32(*n as u32);
                b.finish()
            }
        }
    }

    /// Reads one frame; `None` is a clean end before a frame began.
    pub fn read_from(r: &mut impl Read) -> io::Result<Option<Self>> {
        read_frame(r)?.map(|(kind, body)| Self::decode(kind, &body)).transpose()
    }

    /// Splits one frame off the front of `buffer`, for readers that must not wait. `None`: not whole yet.
    pub fn take_from(buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        take_frame(buffer, Self::decode)
    }

    fn decode(kind: u8, body: &[u8]) -> io::Result<Self> {
        let mut p = Parser(body);
        let message = match kind {
            1 => {
                let (argv, env, cwd, flags, size) = (p.list()?, p.list()?, p.bytes()?, p.u32()?, p.u32()?);
                Self::Start(Start {
                    argv,
                    env,
                    cwd,
                    terminal: flags & 1 != 0,
                    relay: flags & 2 != 0,
                    wait_for_route: flags & 4 != 0,
                    inherit: flags & 8 != 0,
                    size: (size != 0).then_some(((size >> 16) as u16, size as u16)),
                })
            }
            2 => Self::Signal(p.u32()? as i32),
            _ => return Err(bad("unknown kind")),
        };
        p.end()?;
        Ok(message)
    }
}

impl FromGuest {
    /// Writes one frame.
    pub fn write_to(&self, w: &mut impl Write) -> io::Result<()> {
        w.write_all(&self.encode())
    }

    /// The frame as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut b;
        match self {
            Self::Hello { version } => {
                b = Body::new(1);
                b.u32(*version);
            }
            Self::Started => b = Body::new(2),
            Self::Failed { code, reason } => {
                b = Body::new(3);
                b.u32(u32::from(*code));
                b.bytes(reason.as_bytes());
            }
            Self::Exited { code } => {
                b = Body::new(4);
                b.u32(u32::from(*code));
            }
            Self::Signaled { signal } => {
                b = Body::new(5);
                b.u32(*signal as u32);
            }
            Self::Warning { text } => {
                b = Body::new(6);
                b.bytes(text.as_bytes());
            }
        }
        b.finish()
    }

    /// Reads one frame; `None` is a clean end before a frame began.
    pub fn read_from(r: &mut impl Read) -> io::Result<Option<Self>> {
        read_frame(r)?.map(|(kind, body)| Self::decode(kind, &body)).transpose()
    }

    /// Splits one frame off the front of `buffer`, for readers that are not `std::io`. `None`: not whole yet.
    pub fn take_from(buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        take_frame(buffer, Self::decode)
    }

    fn decode(kind: u8, body: &[u8]) -> io::Result<Self> {
        let mut p = Parser(body);
        let message = match kind {
            1 => Self::Hello { version: p.u32()? },
            2 => Self::Started,
            3 => Self::Failed { code: p.u8()?, reason: p.text()? },
            4 => Self::Exited { code: p.u8()? },
            5 => Self::Signaled { signal: p.u32()? as i32 },
            6 => Self::Warning { text: p.text()? },
            _ => return Err(bad("unknown kind")),
        };
        p.end()?;
        Ok(message)
    }
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("control frame: {why}"))
}

fn parse_header(header: &[u8; 5]) -> io::Result<(u8, usize)> {
    let len = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if len > MAX_FRAME { Err(bad("too large")) } else { Ok((header[0], len)) }
}

fn take_frame<T>(buffer: &mut Vec<u8>, decode: impl Fn(u8, &[u8]) -> io::Result<T>) -> io::Result<Option<T>> {
    let Some(header) = buffer.first_chunk::<5>() else { return Ok(None) };
    let (kind, len) = parse_header(header)?;
    if buffer.len() < 5 + len {
        return Ok(None);
    }
    let message = decode(kind, &buffer[5..5 + len])?;
    buffer.drain(..5 + len);
    Ok(Some(message))
}

fn read_frame(r: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0; 5];
    loop {
        match r.read(&mut header[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    r.read_exact(&mut header[1..])?;
    let (kind, len) = parse_header(&header)?;
    let mut body = vec![0; len];
    r.read_exact(&mut body)?;
    Ok(Some((kind, body)))
}

/// A frame being written: the header is filled in at the end.
struct Body(Vec<u8>);

impl Body {
    fn new(kind: u8) -> Self {
        Self(vec![kind, 0, 0, 0, 0])
    }
    fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }
    fn bytes(&mut self, b: &[u8]) {
        self.u32(b.len() as u32);
        self.0.extend_from_slice(b);
    }
    fn list(&mut self, list: &[Vec<u8>]) {
        self.u32(list.len() as u32);
        for item in list {
            self.bytes(item);
        }
    }
    fn finish(mut self) -> Vec<u8> {
        let len = (self.0.len() - 5) as u32;
        self.0[1..5].copy_from_slice(&len.to_le_bytes());
        self.0
    }
}

/// A frame being read: every length is checked against what is there before memory is taken.
struct Parser<'a>(&'a [u8]);

impl Parser<'_> {
    fn u32(&mut self) -> io::Result<u32> {
        let (head, rest) = self.0.split_first_chunk::<4>().ok_or_else(|| bad("cut short"))?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*head))
    }
    fn u8(&mut self) -> io::Result<u8> {
        u8::try_from(self.u32()?).map_err(|_| bad("number out of range"))
    }
    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let len = self.u32()? as usize;
        if len > self.0.len() {
            return Err(bad("cut short"));
        }
        let (head, rest) = self.0.split_at(len);
        self.0 = rest;
        Ok(head.to_vec())
    }
    fn text(&mut self) -> io::Result<String> {
        String::from_utf8(self.bytes()?).map_err(|_| bad("not UTF-8"))
    }
    fn list(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let count = self.u32()? as usize;
        if count > self.0.len() / 4 {
            return Err(bad("cut short"));
        }
        (0..count).map(|_| self.bytes()).collect()
    }
    fn end(&self) -> io::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(bad("bytes left over")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_survives_the_wire() {
        let start = Start {
            argv: vec![b"sh".to_vec(), b"".to_vec(), b"a  b\n\xff".to_vec()],
            env: vec![b"A=1\n2".to_vec()],
            cwd: b"/x y".to_vec(),
            terminal: true,
            relay: false,
            wait_for_route: true,
            inherit: true,
            size: Some((24, 80)),
        };
        for message in [ToGuest::Start(start), ToGuest::Signal(15)] {
            assert_eq!(ToGuest::read_from(&mut message.encode().as_slice()).unwrap(), Some(message.clone()));
            let mut bytes = message.encode();
            bytes.push(7);
            assert_eq!(ToGuest::take_from(&mut bytes).unwrap(), Some(message));
            assert_eq!(ToGuest::take_from(&mut bytes).unwrap(), None);
            assert_eq!(bytes, [7]);
        }
        for message in [
            FromGuest::Hello { version: VERSION },
            FromGuest::Started,
            FromGuest::Failed { code: 127, reason: "no".into() },
            FromGuest::Exited { code: 255 },
            FromGuest::Signaled { signal: 9 },
            FromGuest::Warning { text: "w".into() },
        ] {
            assert_eq!(FromGuest::read_from(&mut message.encode().as_slice()).unwrap(), Some(message.clone()));
            let mut bytes = message.encode();
            bytes.push(7);
            assert_eq!(FromGuest::take_from(&mut bytes).unwrap(), Some(message));
            assert_eq!(bytes, [7]);
        }
    }

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_is_refused() {
        let good = ToGuest::Start(Start { argv: vec![b"x".to_vec()], ..Start::default() }).encode();
        for cut in 1..good.len() {
            assert!(ToGuest::read_from(&mut &good[..cut]).is_err(), "cut at {cut}");
        }
        let mut huge = good.clone();
        huge[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(ToGuest::read_from(&mut huge.as_slice()).is_err());
        let mut count = good;
        count[5..9].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(ToGuest::read_from(&mut count.as_slice()).is_err());
        assert_eq!(ToGuest::read_from(&mut [].as_slice()).unwrap(), None);
    }
}
