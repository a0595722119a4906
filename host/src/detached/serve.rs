//! Answers clients: each in a task of its own, each for a limited time, none of them in the terminal's way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::supervise::Terminal;
use super::wire::{self, Frame, HEADER, Kind, MAX_INPUT};

/// At once; the next ones wait in the socket's queue.
const MAX_CLIENTS: u32 = 64;
/// How long a client may take to say what it wants, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long those attached may take to see the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Everybody who is being served.
pub(super) struct Clients(Arc<Semaphore>);

impl Clients {
    /// Waits until they have gone, but not long.
    pub(super) async fn leave(self) {
        let _late = timeout(FAREWELL, self.0.acquire_many(MAX_CLIENTS)).await;
    }
}

/// Begins to serve.
pub(super) fn start(listener: UnixListener, terminal: &Arc<Terminal>) -> (Clients, JoinHandle<()>) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS as usize));
    let (free, terminal) = (Arc::clone(&places), Arc::clone(terminal));
    let server = tokio::spawn(async move {
        loop {
            let Ok(place) = Arc::clone(&free).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let terminal = Arc::clone(&terminal);
                    tokio::spawn(async move {
                        let _whatever_it_did = serve(stream, &terminal).await;
                        drop(place);
                    });
                }
                // Out of descriptors: the connection is still there, and would be refused again at once.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    });
    (Clients(places), server)
}

async fn serve(stream: UnixStream, terminal: &Terminal) -> io::Result<()> {
    if stream.peer_cred()?.uid() != geteuid().as_raw() {
        return Ok(());
    }
    let (mut from, mut to) = stream.into_split();
    let Frame { kind, payload } = timeout(PATIENCE, receive(&mut from)).await??;
    let answer = match kind {
        Kind::Type => wire::frame(if terminal.type_in(&payload) { Kind::Done } else { Kind::Deaf }, b""),
        Kind::Capture => match payload.try_into() {
            Ok(lines) => {
                let lines = usize::try_from(u32::from_be_bytes(lines)).unwrap_or(usize::MAX);
                wire::frame(Kind::Text, terminal.text(lines).as_bytes())
            }
            Err(_) => return Ok(()),
        },
        Kind::Stop => {
            terminal.stop();
            wire::frame(Kind::Done, b"")
        }
        Kind::Attach => {
            let Some((rows, columns)) = wire::read_size(&payload) else { return Ok(()) };
            terminal.resize(rows, columns);
            // Neither waits for the other: a client that shows nothing can still type, and leave.
            return tokio::select! {
                typed = take_keys(from, terminal) => typed,
                shown = give_output(&mut to, terminal) => shown,
            };
        }
        Kind::Resize | Kind::Done | Kind::Deaf | Kind::Text => return Ok(()),
    };
    timeout(PATIENCE, to.write_all(&answer)).await?
}

async fn receive(from: &mut OwnedReadHalf) -> io::Result<Frame> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header).await?;
    let (kind, length) = wire::header(header, MAX_INPUT)?;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok(Frame { kind, payload })
}

async fn take_keys(mut from: OwnedReadHalf, terminal: &Terminal) -> io::Result<()> {
    loop {
        let Frame { kind, payload } = receive(&mut from).await?;
        match kind {
            // As with any terminal whose program does not read, what does not fit is not typed.
            Kind::Type => _ = terminal.type_in(&payload),
            Kind::Resize => {
                if let Some((rows, columns)) = wire::read_size(&payload) {
                    terminal.resize(rows, columns);
                }
            }
            _ => return Ok(()),
        }
    }
}

async fn give_output(to: &mut OwnedWriteHalf, terminal: &Terminal) -> io::Result<()> {
    loop {
        let (screen, mut output) = terminal.watch();
        to.write_all(&wire::frame(Kind::Text, &screen)).await?;
        loop {
            match output.recv().await {
                Ok(end) if end.is_empty() => return to.shutdown().await,
                Ok(bytes) => to.write_all(&wire::frame(Kind::Text, &bytes)).await?,
                // It is behind: what it missed is over, so it is shown how things stand.
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}
