//! The role for machines whose mounts are fixed when they are made: a program starts as the first process of
//! namespaces that an ordinary user makes without help, and sees what the command line lays out there.
//!
//! What is not laid out stays out of reach of whatever runs there later, with the same uid and any intent: namespaces
//! of a user namespace of its own, of which nobody in it holds a capability. Not cut off are the network, and what
//! the user's further groups may use: they cannot be given up without privileges, so sockets and devices of theirs
//! are for the caller to cover.
//!
//! This file owns the order. The command line is [`options`], entering namespaces [`namespaces`], walking paths
//! [`path`], mounting [`layout`] and [`devices`], and starting the program [`start`].

mod devices;
mod layout;
mod namespaces;
mod options;
mod path;
mod start;

use std::ffi::OsString;

use options::Options;

use crate::output;

/// The program's exit code, or 125 where it could not be started.
pub(crate) fn run(words: &[OsString]) -> u8 {
    let options = match Options::parse(words) {
        Ok(options) => options,
        Err(why) => return output::usage(&output::printable_line(&why)),
    };
    let started =
        namespaces::enter().and_then(|()| layout::lay_out(&options.steps)).and_then(|()| start::run(&options.program));
    started.unwrap_or_else(|why| failed(&why))
}

/// Says what could not be set up, in one line.
fn failed(why: &str) -> u8 {
    output::error(&output::printable_line(why), None);
    125
}
