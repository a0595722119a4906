//! One request to the supervisor, one answer, and what is told before it: by the unix socket where there is one, else by TCP.
//!
//! Everything together stays within one deadline, resolving the name included. What a request means to the user is
//! the caller's business.

use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use workmux_guest::words::{Opening, PROTOCOL, Request};
use workmux_guest::{GUEST_SOCKET_DIR, RPC_SOCKET};

use crate::json;
use crate::names;
use crate::unix_socket::connect_now;

/// No line is longer, in either direction.
pub(crate) const MAX_LINE: usize = 1024 * 1024;

/// Said of an answer that no host of ours gives.
pub(crate) const NOT_OURS: &str = "the host's answer is not one of workmux's";

/// Why there is no `Ok`.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request never left: no supervisor was found, or it could not be sent.
    Unreachable(String),
    /// The connection ended, or the time ran out, before the answer: it may have been done or not.
    Lost(String),
    /// The host answered that it was not done.
    Refused(String),
    /// The request cannot be sent at all.
    TooLong,
}

impl Failure {
    /// Why, as one line for people.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Unreachable(why) | Self::Lost(why) | Self::Refused(why) => why,
            Self::TooLong => "it is longer than the 1 MiB that one request may have",
        }
    }
}

/// Sends the request and waits for its answer.
pub(crate) fn call(request: &Request, limit: Duration) -> Result<(), Failure> {
    collect(request, limit, None)
}

/// As [`call`], for a request whose answer may come after messages: each is handed over as it comes.
pub(crate) fn collect(
    request: &Request,
    limit: Duration,
    mut tell: Option<&mut dyn FnMut(String)>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + limit;
    let lines = lines(request)?;
    let mut stream = Stream::open(deadline).map_err(Failure::Unreachable)?;
    stream.send(&lines, deadline).map_err(|e| Failure::Unreachable(format!("could not send the request: {e}")))?;
    let lost = |e: io::Error| Failure::Lost(format!("no answer from the host: {e}"));
    let mut received = Vec::new();
    loop {
        let line = stream.line(&mut received, deadline).map_err(lost)?;
        let answer = json::read(&line);
        let kind = answer.as_ref().and_then(|answer| answer.text("type"));
        let (Some(answer), Some(kind)) = (&answer, kind) else { return Err(Failure::Lost(NOT_OURS.to_owned())) };
        let message = || answer.text("message").unwrap_or_default().to_owned();
        match (kind, &mut tell) {
            // Only hosts that know the offered version say it, and go on with the answer.
            ("Hello", _) if !crate::mutant::off("p50_version") => {}
            ("Output", Some(tell)) => tell(message()),
            ("Ok", _) => return Ok(()),
            ("Error", _) => return Err(Failure::Refused(message())),
            (other, _) => return Err(Failure::Lost(format!("the host gave an unknown answer '{other}'"))),
        }
    }
}

/// The opening and the request, each with its newline: both are sent at once, nobody waits for a greeting.
fn lines(request: &Request) -> Result<Vec<u8>, Failure> {
    let Ok(token) = env::var("WM_RPC_TOKEN") else {
        return Err(Failure::Unreachable("WM_RPC_TOKEN is not set".to_owned()));
    };
    let opening = serde_json::to_vec(&Opening { token, protocol: Some(PROTOCOL) });
    let request = serde_json::to_vec(request);
    let (Ok(mut lines), Ok(request)) = (opening, request) else {
        return Err(Failure::Unreachable("the request cannot be written as JSON".to_owned()));
    };
    if request.len() >= MAX_LINE {
        return Err(Failure::TooLong);
    }
    lines.push(b'\n');
    lines.extend_from_slice(&request);
    lines.push(b'\n');
    Ok(lines)
}

/// A connected stream socket. Which kind it is makes no difference to reading, writing and waiting.
struct Stream(UnixStream);

impl Stream {
    fn open(deadline: Instant) -> Result<Self, String> {
        if let Ok(stream) = connect_now(&Path::new(GUEST_SOCKET_DIR).join(RPC_SOCKET))
            && stream.set_nonblocking(false).is_ok()
        {
            return Ok(Self(stream));
        }
        let (Ok(host), Ok(port)) = (env::var("WM_RPC_HOST"), env::var("WM_RPC_PORT")) else {
            return Err("WM_RPC_HOST and WM_RPC_PORT are not set".to_owned());
        };
        let Ok(port) = port.parse() else { return Err(format!("WM_RPC_PORT is '{port}', which is not a port")) };
        let mut last = format!("'{host}' has no address");
        for address in resolve(host, port, deadline)? {
            let left = remaining(deadline).map_err(|e| e.to_string())?;
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => return Ok(Self(UnixStream::from(OwnedFd::from(stream)))),
                Err(e) => last = format!("{address}: {e}"),
            }
        }
        Err(last)
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            self.0.set_write_timeout(Some(remaining(deadline)?))?;
            match self.0.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if retry(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The next line that is not empty. A last line may end with the connection instead.
    fn line(&mut self, received: &mut Vec<u8>, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut chunk = [0; 4096];
        let mut ended = false;
        loop {
            let end = received.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
            if let Some(end) = end.or((ended && !received.is_empty()).then_some(received.len())) {
                let line: Vec<u8> = received.drain(..end).collect();
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(line);
            }
            if ended {
                return Err(io::Error::other("it closed the connection"));
            }
            if received.len() > MAX_LINE {
                return Err(io::Error::other("its answer is too long"));
            }
            self.0.set_read_timeout(Some(remaining(deadline)?))?;
            match self.0.read(&mut chunk) {
                Ok(0) => ended = true,
                Ok(n) => received.extend_from_slice(&chunk[..n]),
                Err(e) if retry(&e) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// The system's resolver has no deadline, so it is asked on a thread that nobody waits for longer than ours.
fn resolve(host: String, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
    let (answer, answered) = mpsc::channel();
    let name = host.clone();
    std::thread::spawn(move || answer.send(names::resolve(&name, port)));
    match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(found) => found.map_err(|e| e.to_string()),
        Err(_) => Err(format!("'{host}' could not be resolved in time")),
    }
}

/// The deadline itself decides when a wait that timed out is over.
fn retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO if crate::mutant::off("p51_deadline") => Ok(Duration::from_secs(1)),
        Duration::ZERO => Err(io::Error::other("the time is up")),
        left => Ok(left),
    }
}
