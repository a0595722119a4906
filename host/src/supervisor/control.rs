//! The supervisor's end of the conversation with the first process, once it is in: send the start, read frames.
//!
//! The open connection is the guest's lifeline: dropping [`Guest`] ends everything inside.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use workmux_guest::control::{FromGuest, Start, ToGuest, VERSION};

use super::door::{Connection, Door};

/// Nothing the first process says is longer; a guest that took it over gets no more of our memory than this.
const MAX_BUFFERED: usize = 64 * 1024;

/// The first process, before and after it has connected.
pub(super) struct Guest {
    door: Option<Door>,
    stream: Option<Box<dyn Connection>>,
    pid: Option<u32>,
    start: Option<Start>,
    buffer: Vec<u8>,
    greeted: bool,
}

impl Guest {
    pub(super) fn new(door: Door, start: Start) -> Self {
        Self { door: Some(door), stream: None, pid: None, start: Some(start), buffer: Vec::new(), greeted: false }
    }

    pub(super) fn connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Its process id as this machine sees it, where it does.
    pub(super) const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Tells it what to run. Once.
    pub(super) async fn start(&mut self) -> io::Result<()> {
        match self.start.take() {
            Some(start) => self.send(&ToGuest::Start(start)).await,
            None => Err(io::Error::other("the first process asked twice what to run")),
        }
    }

    pub(super) async fn send(&mut self, message: &ToGuest) -> io::Result<()> {
        match &mut self.stream {
            Some(stream) => stream.write_all(&message.encode()).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The next frame, pending for ever without a guest. An error ends the conversation: `None` is its plain end.
    /// Cancel-safe: what was read stays in the buffer.
    pub(super) async fn next(guest: &mut Option<Self>) -> Result<FromGuest, Option<io::Error>> {
        match guest {
            Some(guest) => guest.frame().await,
            None => std::future::pending().await,
        }
    }

    async fn frame(&mut self) -> Result<FromGuest, Option<io::Error>> {
        if let Some(door) = &mut self.door {
            let (stream, pid) = door.enter().await.map_err(Some)?;
            // Nobody comes second.
            self.door = None;
            (self.stream, self.pid) = (Some(stream), pid);
        }
        let Some(stream) = &mut self.stream else { return Err(None) };
        loop {
            match FromGuest::take_from(&mut self.buffer).map_err(Some)? {
                Some(FromGuest::Hello { version }) if version != VERSION => {
                    let why = format!("it speaks version {version} of our conversation, this workmux {VERSION}");
                    return Err(Some(io::Error::other(why)));
                }
                Some(hello @ FromGuest::Hello { .. }) if !self.greeted => {
                    self.greeted = true;
                    return Ok(hello);
                }
                Some(_) if !self.greeted => return Err(Some(io::Error::other("it did not say hello first"))),
                Some(frame) => return Ok(frame),
                None if self.buffer.len() >= MAX_BUFFERED => return Err(Some(io::Error::other("it says too much"))),
                None => {
                    match stream.read_buf(&mut self.buffer).await {
                        Ok(0) => return Err(None),
                        Ok(_) => {}
                        // A machine that goes away at once takes its last words with it.
                        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(None),
                        Err(e) => return Err(Some(e)),
                    }
                }
            }
        }
    }
}
