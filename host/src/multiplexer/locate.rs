//! Where the environment says this process runs.

use std::ffi::OsString;
use std::path::PathBuf;

/// The multiplexer and pane that the supervisor was started in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The multiplexer's socket.
    pub(super) socket: PathBuf,
    /// The process that listened there when the pane was made, where that is known.
    pub(super) server: Option<u32>,
    /// The pane.
    pub(super) pane: String,
}

impl Location {
    /// Reads `WORKMUX_STATUS_*`, else `TMUX` and `TMUX_PANE`. The error is the reason why there is none.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok()).filter(|v| !v.is_empty());
        if let Some(explicit) = text("WORKMUX_STATUS_PANE_ID") {
            let multiplexer = text("WORKMUX_STATUS_BACKEND").unwrap_or_default();
            served("WORKMUX_STATUS_BACKEND", &multiplexer)?;
            let socket = text("WORKMUX_STATUS_INSTANCE").ok_or("WORKMUX_STATUS_INSTANCE is not set")?;
            return Self::new(socket, None, explicit);
        }
        if let Some(chosen) = text("WORKMUX_BACKEND") {
            served("WORKMUX_BACKEND", &chosen)?;
        }
        let (Some(tmux), Some(pane)) = (text("TMUX"), text("TMUX_PANE")) else {
            return Err("not started inside tmux".into());
        };
        // Socket, server and session; only the socket can hold a comma itself.
        let mut parts = tmux.rsplitn(3, ',');
        let (_session, server, socket) = (parts.next(), parts.next(), parts.next());
        match (server.and_then(|server| server.parse().ok()), socket) {
            (Some(server), Some(socket)) => Self::new(socket.to_owned(), Some(server), pane),
            _ => Err("TMUX is not 'socket,pid,session'".into()),
        }
    }

    /// A pane of the server that listens there.
    pub fn at(socket: &std::path::Path, pane: &str) -> Result<Self, String> {
        Self::new(socket.to_str().unwrap_or_default().to_owned(), None, pane.to_owned())
    }

    /// The multiplexer's socket.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// The pane.
    pub fn pane(&self) -> &str {
        &self.pane
    }

    fn new(socket: String, server: Option<u32>, pane: String) -> Result<Self, String> {
        let socket = PathBuf::from(socket);
        if !socket.is_absolute() {
            return Err("the tmux socket is not an absolute path".into());
        }
        if !super::is_name(&pane, '%') {
            return Err("the tmux pane is not '%' and a number".into());
        }
        Ok(Self { socket, server, pane })
    }
}

fn served(variable: &str, multiplexer: &str) -> Result<(), String> {
    match multiplexer {
        "tmux" => Ok(()),
        other => Err(format!("{variable} is '{}', and only tmux is served", crate::text::short(other, 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pairs: &[(&str, &str)]) -> Result<Location, String> {
        Location::from_environment(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).into()))
    }

    #[test]
    fn the_environment_names_socket_server_and_pane() {
        let found = find(&[("TMUX", "/tmp/a,b/default,123,0"), ("TMUX_PANE", "%7")]).unwrap();
        assert_eq!(found, Location { socket: "/tmp/a,b/default".into(), server: Some(123), pane: "%7".into() });
        let explicit = [
            ("WORKMUX_STATUS_BACKEND", "tmux"),
            ("WORKMUX_STATUS_INSTANCE", "/tmp/x"),
            ("WORKMUX_STATUS_PANE_ID", "%9"),
            ("TMUX", "/tmp/default,123,0"),
            ("TMUX_PANE", "%7"),
        ];
        assert_eq!(find(&explicit), Ok(Location { socket: "/tmp/x".into(), server: None, pane: "%9".into() }));
    }

    #[test]
    fn p54_anything_odd_is_no_place_and_says_why() {
        for (pairs, why) in [
            (&[][..], "not started inside tmux"),
            (&[("TMUX", "/tmp/x,1,0")], "not started inside tmux"),
            (&[("TMUX", "x,1,0"), ("TMUX_PANE", "%1")], "absolute"),
            (&[("TMUX", "/tmp/x"), ("TMUX_PANE", "%1")], "socket,pid,session"),
            (&[("TMUX", "/tmp/x,1,0"), ("TMUX_PANE", "1")], "'%' and a number"),
            (&[("TMUX", "/tmp/x,1,0"), ("TMUX_PANE", "%1;x")], "'%' and a number"),
            (&[("TMUX", "/tmp/x,1,0"), ("TMUX_PANE", "%1"), ("WORKMUX_BACKEND", "kitty")], "only tmux"),
            (&[("WORKMUX_STATUS_PANE_ID", "%1"), ("WORKMUX_STATUS_BACKEND", "zellij")], "only tmux"),
            (&[("WORKMUX_STATUS_PANE_ID", "%1"), ("WORKMUX_STATUS_BACKEND", "tmux")], "INSTANCE"),
        ] {
            let reason = find(pairs).unwrap_err();
            assert!(reason.contains(why), "{pairs:?}: {reason}");
        }
    }
}
