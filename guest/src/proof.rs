//! Who is there, where the conversation of [`control`](crate::control) goes over TCP.
//!
//! A socket in a private directory admits nobody else; a port does. So both ends prove themselves before the first
//! frame: the guest sends its key, the supervisor answers with its own, and each hangs up on a wrong one. Both keys are
//! fresh for each run and stand in one file that the host mounts; it is gone once the first process is in. That the
//! guest asks for proof as well keeps whoever takes over the port of a supervisor that was killed from commanding the
//! guest.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};

/// Bytes of one key: lower-case hex digits.
pub const KEY: usize = 64;

/// Seconds without a sign of life from the other machine until it counts as gone.
const SILENCE: u32 = 30;
/// Seconds until the kernel asks for the first sign of life, and between each further one.
const ASK: (u32, u32) = (10, 5);

/// The connection is a lifeline, and a network that is gone ends nothing by itself: has it end after a while of silence.
pub fn notice_silence(stream: &impl AsFd) -> io::Result<()> {
    let (first, further) = ASK;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &first)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &further)?;
    setsockopt(stream, sockopt::TcpKeepCount, &((SILENCE - first) / further))?;
    // What was sent and never arrived is asked for by other rules, which are patient.
    setsockopt(stream, sockopt::TcpUserTimeout, &(SILENCE * 1000))?;
    Ok(())
}

/// The keys of one run, as the guest finds them.
pub struct Keys {
    /// What the guest sends.
    pub guest: [u8; KEY],
    /// What the supervisor answers.
    pub host: [u8; KEY],
}

impl Keys {
    /// The file's content.
    pub fn encode(guest: &str, host: &str) -> String {
        format!("{guest}\n{host}\n")
    }

    /// Reads the file's content.
    pub fn decode(content: &[u8]) -> io::Result<Self> {
        let mut lines = content.split(|byte| *byte == b'\n');
        let mut key = || <[u8; KEY]>::try_from(lines.next()?).ok().filter(|key| key.iter().all(u8::is_ascii_hexdigit));
        match (key(), key()) {
            (Some(guest), Some(host)) => Ok(Self { guest, host }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the file of keys is not whole")),
        }
    }

    /// Whether this is the supervisor's key. Takes the same time for every wrong one.
    pub fn is_host(&self, given: &[u8; KEY]) -> bool {
        let difference = self.host.iter().zip(given).fold(0, |all, (a, b)| all | std::hint::black_box(a ^ b));
        std::hint::black_box(difference) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written_and_whole_or_not_at_all() {
        let (guest, host) = ("0a".repeat(32), "f9".repeat(32));
        let file = Keys::encode(&guest, &host);
        let keys = Keys::decode(file.as_bytes()).unwrap();
        assert_eq!((&keys.guest[..], &keys.host[..]), (guest.as_bytes(), host.as_bytes()));
        for cut in 0..file.len() - 1 {
            assert!(Keys::decode(&file.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Keys::decode(file.to_uppercase().replace('A', "\0").as_bytes()).is_err());
    }

    #[test]
    fn a_silent_machine_is_asked_for_a_sign_of_life() {
        use nix::sys::socket::getsockopt;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        notice_silence(&stream).unwrap();
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        let first = getsockopt(&stream, sockopt::TcpKeepIdle).unwrap();
        let (pause, count) = (
            getsockopt(&stream, sockopt::TcpKeepInterval).unwrap(),
            getsockopt(&stream, sockopt::TcpKeepCount).unwrap(),
        );
        assert_eq!(first + pause * count, SILENCE);
        assert_eq!(getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(), SILENCE * 1000);
    }

    #[test]
    fn only_the_whole_key_is_the_key() {
        let keys = Keys { guest: [b'0'; KEY], host: [b'1'; KEY] };
        assert!(keys.is_host(&[b'1'; KEY]));
        for at in [0, 31, KEY - 1] {
            let mut wrong = keys.host;
            wrong[at] ^= 1;
            assert!(!keys.is_host(&wrong), "wrong at {at}");
        }
    }
}
