//! Lets the first process in, and nobody else: by a socket that only the guest sees, or by a port, where everybody may
//! knock and the keys decide ([`workmux_guest::proof`]).
//!
//! Behind a port a task of its own takes callers, so that the supervisor's loop never waits for one. A stranger cannot
//! hold it up (each caller has [`PROOF`] in total, all of them are heard at once) nor crowd it out (beyond [`CALLERS`]
//! the one that has waited longest goes), and nobody takes the first process's place without its key.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;
use workmux_guest::proof::{KEY, Keys, notice_silence};

use crate::rpc::Token;

/// From connecting to the last byte of the key.
const PROOF: Duration = Duration::from_secs(5);
/// Callers that have not proved themselves.
const CALLERS: usize = 32;
/// What to wait when the system has no descriptor for a new connection.
const RETRY: Duration = Duration::from_millis(100);

/// Where the first process reports. Bound and listening.
#[derive(Debug)]
pub enum Door {
    /// A socket in a directory that only the guest sees.
    Socket(UnixListener),
    /// A port.
    Port(Port),
}

/// A port, behind which callers are already heard. Dropping it closes it.
#[derive(Debug)]
pub struct Port(JoinHandle<TcpStream>);

/// The connection to the first process.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Door {
    /// Takes callers who know the keys.
    pub fn port(listener: TcpListener, keys: KeyFile) -> Self {
        Self::Port(Port(tokio::spawn(first_to_prove(listener, keys, PROOF))))
    }

    /// The first process, and its process id as this machine sees it. Cancel-safe.
    pub(super) async fn enter(&mut self) -> io::Result<(Box<dyn Connection>, Option<u32>)> {
        match self {
            // Whoever connects first is the first process: nothing else runs in the guest yet.
            Self::Socket(listener) => {
                let (stream, _) = listener.accept().await?;
                let pid = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
                Ok((Box::new(stream), pid.filter(|pid| *pid > 0)))
            }
            Self::Port(Port(task)) => {
                let stream = task.await.map_err(io::Error::other)?;
                Ok((Box::new(stream), None))
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The keys of one run in a file that the guest sees; removed when dropped, which is when the first process is in.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    guest: Token,
    host: Token,
}

impl KeyFile {
    /// Writes fresh ones to a new file that nobody but the owner, whom the guest runs as, can read.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let keys = Self { path, guest: Token::fresh()?, host: Token::fresh()? };
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&keys.path)?;
        file.write_all(Keys::encode(keys.guest.reveal(), keys.host.reveal()).as_bytes())?;
        Ok(keys)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _gone_with_its_directory = std::fs::remove_file(&self.path);
    }
}

/// Hears callers until one knows the guest's key.
async fn first_to_prove(listener: TcpListener, keys: KeyFile, time: Duration) -> TcpStream {
    let keys = Arc::new(keys);
    let mut callers = JoinSet::new();
    let mut waiting: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            Some(heard) = callers.join_next() => {
                waiting.retain(|caller| !caller.is_finished());
                if let Ok(Some(stream)) = heard {
                    return stream;
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if waiting.len() >= CALLERS && let Some(oldest) = waiting.pop_front() {
                        oldest.abort();
                    }
                    let keys = Arc::clone(&keys);
                    waiting.push_back(callers.spawn(async move { timeout(time, hear(stream, &keys)).await.ok()?.ok() }));
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => tokio::time::sleep(RETRY).await,
            },
        }
    }
}

/// Hears one caller out. The answer is our own proof.
async fn hear(mut stream: TcpStream, keys: &KeyFile) -> io::Result<TcpStream> {
    let mut given = [0; KEY];
    stream.read_exact(&mut given).await?;
    if !std::str::from_utf8(&given).is_ok_and(|given| keys.guest.is(given)) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.set_nodelay(true)?;
    notice_silence(&stream)?;
    stream.write_all(keys.host.reveal().as_bytes()).await?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tempfile::TempDir;

    use super::*;

    /// An open door, where to knock, and the keys.
    async fn port() -> (Door, SocketAddr, Keys, TempDir) {
        port_with(PROOF).await
    }

    async fn port_with(time: Duration) -> (Door, SocketAddr, Keys, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("control.keys");
        let keys = KeyFile::create(file.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let content = std::fs::read(file).unwrap();
        (
            Door::Port(Port(tokio::spawn(first_to_prove(listener, keys, time)))),
            address,
            Keys::decode(&content).unwrap(),
            directory,
        )
    }

    async fn knock(address: SocketAddr, with: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(with).await.unwrap();
        stream
    }

    /// What the caller hears before the end, if that comes.
    async fn answer(stream: &mut TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        let _reset = stream.read_to_end(&mut all).await;
        all
    }

    /// The one with the key comes in, and is told ours.
    async fn guest_enters(door: &mut Door, address: SocketAddr, keys: &Keys) {
        let mut guest = knock(address, &keys.guest).await;
        let (mut entered, pid) = timeout(PROOF / 2, door.enter()).await.expect("at once").unwrap();
        assert_eq!(pid, None);
        let mut told = [0; KEY];
        guest.read_exact(&mut told).await.unwrap();
        assert!(keys.is_host(&told));
        guest.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        entered.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello", "the very same connection");
    }

    #[tokio::test]
    async fn p43_a_wrong_key_hears_nothing_and_takes_nobodys_place() {
        let (mut door, address, keys, _directory) = port().await;
        let mut last_wrong = keys.guest;
        last_wrong[KEY - 1] ^= 1;
        for wrong in [&keys.host[..], &[0xff; KEY], &[0; KEY], &last_wrong, &keys.guest.to_ascii_uppercase()] {
            let mut stranger = knock(address, wrong).await;
            assert_eq!(answer(&mut stranger).await, b"");
        }
        guest_enters(&mut door, address, &keys).await;
    }

    #[tokio::test]
    async fn p46_strangers_that_came_first_and_stay_are_passed_by() {
        let (mut door, address, keys, _directory) = port().await;
        let mut strangers = Vec::new();
        for _ in 0..3 * CALLERS {
            strangers.push(knock(address, &keys.host[..KEY - 1]).await);
        }
        guest_enters(&mut door, address, &keys).await;
        // Nobody comes second, with the key or without.
        for mut stranger in strangers {
            assert_eq!(answer(&mut stranger).await, b"");
        }
        drop(door);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn p48_a_caller_gets_no_more_time_for_each_byte() {
        let (mut door, address, keys, _directory) = port_with(Duration::from_millis(300)).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        for byte in keys.guest {
            if slow.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(answer(&mut slow).await, b"", "the whole key, but too late");
        guest_enters(&mut door, address, &keys).await;
    }

    #[tokio::test]
    async fn the_keys_are_the_owners_alone_new_each_time_and_gone_afterwards() {
        use std::os::unix::fs::MetadataExt as _;
        let (mut door, address, keys, directory) = port().await;
        let file = directory.path().join("control.keys");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let second = KeyFile::create(directory.path().join("other.keys")).unwrap();
        assert!(!second.guest.is(std::str::from_utf8(&keys.guest).unwrap()));
        assert!(KeyFile::create(file.clone()).is_err(), "never into a file that is there");
        guest_enters(&mut door, address, &keys).await;
        tokio::task::yield_now().await;
        assert!(!file.exists());
    }
}
