//! A stand-in for `limactl`: its command line, its files, its processes and its exit codes, with a namespace where Lima has
//! a virtual machine. README.md says what it reproduces and what it does not.
//!
//! `flags` reads words as cobra does, `version` knows how releases differ, `store` derives what is known of instances from
//! files and live processes, `config` reads `lima.yaml`, `edits` changes it, `commands` are the words themselves;
//! `hostagent` is the process behind a running instance, `guest` the namespace it starts, `ssh` the way into it, `events`
//! what it reports; `faults` is what a test makes go wrong, `journal` what a test can look up. `log`, `quoting` and `failure`
//! are how it speaks.

#![forbid(unsafe_code)]

mod commands;
mod config;
mod edits;
mod events;
mod failure;
mod faults;
mod flags;
mod guest;
mod hostagent;
mod journal;
mod log;
mod quoting;
mod ssh;
mod store;
mod version;

use std::process::ExitCode;

use failure::Failure;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let code = commands::run(&words).unwrap_or_else(|Failure { code, message, .. }| {
        if !message.is_empty() {
            log::fatal(&message);
        }
        code
    });
    // As the system does with Go's -1.
    ExitCode::from((code & 0xff) as u8)
}
