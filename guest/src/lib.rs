//! What the host and the program inside a sandbox say to each other.
//!
//! This library owns the two conversations and nothing else: [`control`] is between the supervisor and the
//! sandbox's first process, with [`proof`] before it where it goes over TCP; [`words`] is the JSON-lines RPC that any
//! program in the guest may speak. The binary of this package is the guest's end of both; the host's end is in
//! `host/src/supervisor` and `host/src/rpc`.

pub mod control;
pub mod proof;
pub mod words;

/// Where the host mounts its directory of sockets in a guest (read-only; connecting needs no write access).
pub const GUEST_SOCKET_DIR: &str = "/run/workmux/sock";
/// Where the host mounts the guest program, in a directory that is put first on the guest's `PATH`.
pub const GUEST_BIN_DIR: &str = "/run/workmux/bin";
/// The guest program as guests call it.
pub const GUEST_PROGRAM: &str = "/run/workmux/bin/workmux";
/// Socket (in the socket directory) on which the supervisor waits for the first process.
pub const CONTROL_SOCKET: &str = "control";
/// Socket (in the socket directory) on which the supervisor serves RPC; absent where a run has none.
pub const RPC_SOCKET: &str = "rpc";
