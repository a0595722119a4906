//! Where the service listens: a unix socket or one TCP address. The conversation is the same on both.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A socket that guests connect to.
#[derive(Debug)]
pub enum Listener {
    /// In a directory that the guest sees.
    Unix(UnixListener),
    /// On one address that this backend's guests reach.
    Tcp(TcpListener),
}

impl Listener {
    /// Listens on a new socket file. Who can reach it is decided by the directory it is in.
    pub fn unix(path: &Path) -> io::Result<Self> {
        UnixListener::bind(path).map(Self::Unix)
    }

    /// Listens on a free port of one address. All interfaces only if the user's own configuration says so (P46).
    pub async fn tcp(address: IpAddr, all_interfaces: bool) -> io::Result<Self> {
        if address.is_unspecified() && !all_interfaces && !crate::mutant::off("p46_address") {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("refusing to listen on all interfaces ('{address}'); name the one address guests reach"),
            ));
        }
        TcpListener::bind((address, 0)).await.map(Self::Tcp)
    }

    /// The TCP address, if it is one.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(listener) => listener.local_addr().ok(),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                // Small answers that somebody waits for. A connection that is gone already shows soon enough.
                let _gone = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

/// One accepted connection.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Says a last word without waiting for anything, and closes: a new socket has room for it.
    pub(super) fn turn_away(self, word: &[u8]) {
        // Through the plain socket: what tokio knows of a new one's readiness comes a moment too late.
        let _whether_heard = match self {
            Self::Unix(stream) => stream.into_std().and_then(|mut s| s.write(word)),
            Self::Tcp(stream) => stream.into_std().and_then(|mut s| s.write(word)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p46_one_address_never_all_of_them() {
        for all in ["0.0.0.0", "::"] {
            let error = Listener::tcp(all.parse().unwrap(), false).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
        let listener = Listener::tcp("127.0.0.1".parse().unwrap(), false).await.unwrap();
        let port = listener.tcp_address().unwrap().port();
        // Another address of this very machine finds nobody.
        assert!(TcpStream::connect(("127.0.0.2", port)).await.is_err());
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    }
}
