//! Sandboxes made by the real bwrap, from the command line this crate answers, looked at from inside.
//!
//! They run as an ordinary user: the one who runs the tests, or one without a name where that is root. A plain shell
//! stands in for the host's guest program.

mod attach;
mod boundary;
mod harness;
mod host;
mod network;
