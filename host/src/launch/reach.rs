//! How guests reach this supervisor: through sockets in the directory they see, or through ports of the one address
//! that the backend named. The words for either are decided here, so that a run, a joining command and a dry run agree.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;

use color_eyre::eyre::{Report, Result, WrapErr as _};
use tokio::net::{TcpListener, UnixListener};
use workmux_guest::RPC_SOCKET;
use workmux_plugin_api::Route;

use crate::config::Config;
use crate::rpc::Listener;
use crate::supervisor::{Door, KeyFile};

/// The backend's answer; the user may know better what guests call this machine.
pub(super) fn route(answer: Route, config: &Config) -> Route {
    match (answer, &config.sandbox.rpc_host) {
        (Route::Tcp { bind, .. }, Some(guest_host)) => Route::Tcp { bind, guest_host: guest_host.clone() },
        (answer, _) => answer,
    }
}

/// Opens a door for a first process. `name` is new in `sockets`, which the guest sees at `in_guest`. Also answers where
/// the door is, in the guest program's words.
pub(super) async fn door(route: &Route, sockets: &Path, in_guest: &Path, name: &str) -> Result<(Door, OsString)> {
    match route {
        Route::Tcp { bind, .. } => {
            let listener = port(*bind).await?;
            let port = listener.local_addr().wrap_err("cannot tell our own port")?.port();
            let keys = KeyFile::create(sockets.join(keys(name))).wrap_err("cannot write the sandbox's keys")?;
            Ok((Door::port(listener, keys), place(route, in_guest, name, port)))
        }
        _ => Ok((Door::Socket(listen(sockets, name)?), place(route, in_guest, name, 0))),
    }
}

/// Where a door is, in the guest program's words: a path, or `tcp:HOST:PORT:FILE`.
pub(super) fn place(route: &Route, in_guest: &Path, name: &str, port: u16) -> OsString {
    match route {
        Route::Tcp { guest_host, .. } => {
            let mut place = OsString::from(format!("tcp:{guest_host}:{port}:"));
            place.push(in_guest.join(keys(name)));
            place
        }
        _ => in_guest.join(name).into_os_string(),
    }
}

/// Listens for RPC. Also answers what guests dial, where the host knows that.
pub(super) async fn rpc(route: &Route, sockets: &Path) -> Result<(Listener, Option<(String, u16)>)> {
    match route {
        Route::Tcp { bind, guest_host } => {
            let listener = Listener::tcp(*bind, false).await.map_err(|e| cannot_listen(*bind, e))?;
            let port = listener.tcp_address().map(|address| address.port());
            Ok((listener, port.map(|port| (guest_host.clone(), port))))
        }
        _ => Ok((Listener::Unix(listen(sockets, RPC_SOCKET)?), None)),
    }
}

fn keys(name: &str) -> String {
    format!("{name}.keys")
}

/// A free port of one address: all interfaces are refused here as well.
async fn port(bind: IpAddr) -> Result<TcpListener> {
    match Listener::tcp(bind, false).await.map_err(|e| cannot_listen(bind, e))? {
        Listener::Tcp(listener) => Ok(listener),
        Listener::Unix(_) => Err(Report::msg("a port was asked for")),
    }
}

fn cannot_listen(bind: IpAddr, e: std::io::Error) -> Report {
    Report::new(e).wrap_err(format!("cannot listen on '{bind}', where the backend says its guests reach this machine"))
}

/// Listens on a new socket. The path of a socket is short by law of the kernel; a longer one is reached through its
/// directory's descriptor.
fn listen(directory: &Path, name: &str) -> Result<UnixListener> {
    use std::os::fd::AsRawFd as _;
    let path = directory.join(name);
    let bound = if path.as_os_str().len() <= 100 {
        UnixListener::bind(&path)
    } else {
        std::fs::File::open(directory)
            .and_then(|dir| UnixListener::bind(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())))
    };
    bound.wrap_err_with(|| format!("cannot listen in {}", crate::text::quote(directory.as_os_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(bind: &str, guest_host: &str) -> Route {
        Route::Tcp { bind: bind.parse().unwrap(), guest_host: guest_host.into() }
    }

    #[test]
    fn the_users_name_for_this_machine_replaces_the_backends_and_nothing_else() {
        let mut config = Config::default();
        assert_eq!(route(tcp("127.0.0.1", "host.internal"), &config), tcp("127.0.0.1", "host.internal"));
        config.sandbox.rpc_host = Some("fd00::2".into());
        assert_eq!(route(tcp("127.0.0.1", "host.internal"), &config), tcp("127.0.0.1", "fd00::2"));
        assert_eq!(route(Route::Sockets, &config), Route::Sockets);
    }

    #[tokio::test]
    async fn p46_a_door_and_rpc_are_on_the_one_address_and_on_ports_of_their_own() {
        let sockets = tempfile::tempdir().unwrap();
        let in_guest = Path::new("/run/workmux/sock");
        let here = tcp("127.0.0.1", "host.internal");
        let (_door, place) = door(&here, sockets.path(), in_guest, "control").await.unwrap();
        let place = place.into_string().unwrap();
        let port = place.strip_prefix("tcp:host.internal:").unwrap();
        let port: u16 = port.strip_suffix(":/run/workmux/sock/control.keys").unwrap().parse().unwrap();
        assert!(sockets.path().join("control.keys").exists() && !sockets.path().join("control").exists());
        let (listener, address) = rpc(&here, sockets.path()).await.unwrap();
        assert_eq!(listener.tcp_address().unwrap().ip().to_string(), "127.0.0.1");
        let (guest_host, rpc_port) = address.unwrap();
        assert!(guest_host == "host.internal" && rpc_port != port, "{rpc_port}");

        let all = tcp("0.0.0.0", "host.internal");
        assert!(door(&all, sockets.path(), in_guest, "other").await.is_err());
        assert!(rpc(&all, sockets.path()).await.is_err());
        assert!(!sockets.path().join("other.keys").exists());
    }

    #[tokio::test]
    async fn through_sockets_no_port_is_opened() {
        let sockets = tempfile::tempdir().unwrap();
        let in_guest = Path::new("/run/workmux/sock");
        let (_door, place) = door(&Route::Sockets, sockets.path(), in_guest, "control").await.unwrap();
        assert_eq!(place, "/run/workmux/sock/control");
        let (listener, address) = rpc(&Route::Sockets, sockets.path()).await.unwrap();
        assert!(listener.tcp_address().is_none() && address.is_none());
    }
}
