//! The socket by which this user's other commands type into a sandbox's terminal: `<run>/input.sock`, in the run's private
//! directory, which no guest sees.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as Stream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::supervisor::{MOST_TYPED, Typing};

const SOCKET: &str = "input.sock";
/// From connecting to the answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Listens until dropped.
pub(super) struct Listener {
    typing: Arc<Typing>,
    task: JoinHandle<()>,
}

impl Listener {
    /// What it was told to type.
    pub(super) fn typing(&self) -> Arc<Typing> {
        Arc::clone(&self.typing)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The run's directory, held open: the path of a socket is short by law of the kernel, and a home's need not be.
struct Near(File);

impl Near {
    fn open(directory: &Path) -> io::Result<Self> {
        File::open(directory).map(Self)
    }

    fn socket(&self) -> String {
        format!("/proc/self/fd/{}/{SOCKET}", self.0.as_raw_fd())
    }
}

/// Begins to listen in the run's directory.
pub(super) fn listen(directory: &Path) -> io::Result<Listener> {
    let typing = Arc::new(Typing::new()?);
    let socket = UnixListener::bind(Near::open(directory)?.socket())?;
    std::fs::set_permissions(directory.join(SOCKET), std::fs::Permissions::from_mode(0o600))?;
    let told = Arc::clone(&typing);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            // One after the other: who stalls is given up, and nobody else is let in meanwhile but this user.
            let _given_up = tokio::time::timeout(DEADLINE, serve(stream, &told)).await;
        }
    });
    Ok(Listener { typing, task })
}

async fn serve(mut stream: UnixStream, typing: &Typing) -> io::Result<()> {
    if stream.peer_cred()?.uid() != nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    let mut text = Vec::new();
    (&mut stream).take(MOST_TYPED as u64 + 1).read_to_end(&mut text).await?;
    let answer = match typing.enter(&text) {
        Ok(()) => "ok".to_owned(),
        Err(full) => full.to_string(),
    };
    stream.write_all(answer.as_bytes()).await
}

/// Types a text, and the Return key, into the terminal of the run with this directory.
///
/// # Errors
/// There is no such terminal, it is not read, or nobody answers in time.
pub(crate) fn enter(run: &Path, text: &str) -> io::Result<()> {
    let mut stream = Stream::connect(Near::open(run)?.socket())?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.take(200).read_to_string(&mut answer)?;
    match answer.as_str() {
        "ok" => Ok(()),
        why => Err(io::Error::other(crate::text::line(why))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_types_is_heard_however_long_the_path_is() {
        let home = tempfile::tempdir().unwrap();
        let run = home.path().join("x".repeat(120));
        std::fs::create_dir(&run).unwrap();
        let listener = listen(&run).unwrap();
        let at = run.clone();
        tokio::task::spawn_blocking(move || enter(&at, "hello")).await.unwrap().unwrap();
        drop(listener);
    }
}
