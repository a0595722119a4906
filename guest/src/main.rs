//! The program inside every sandbox: picks the role from the command line and leaves everything else to it.
//!
//! As `init` it is the sandbox's first process, as `exec` the parent of a further command in a running sandbox
//! ([`init`]), as `unshare` it makes the sandbox, in a machine whose mounts are fixed ([`unshare`]); with any other word
//! it is what people and agents in the guest call `workmux` ([`cli`]). One thread, no runtime, nothing needed from the
//! image it runs in.

mod cli;
mod confine;
mod init;
mod json;
mod mutant;
mod names;
mod output;
mod relay;
mod route;
mod rpc_client;
mod sys;
mod unix_socket;
mod unshare;

use std::ffi::OsString;
use std::process::ExitCode;

use init::{Place, Role};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let code = match args.first().and_then(|word| word.to_str()) {
        // Alone it is the host's word for setting up a project.
        Some("init") if args.len() > 1 => first_process(Role::First, &args[1..]),
        Some("exec") => first_process(Role::Further, &args[1..]),
        Some("unshare") => unshare::run(&args[1..]),
        _ => cli::run(&args),
    };
    ExitCode::from(code)
}

fn first_process(role: Role, args: &[OsString]) -> u8 {
    let place = match args {
        [place] => Place::parse(place),
        _ => None,
    };
    match place {
        Some(place) => init::run(role, &place),
        None => output::usage(&format!(
            "'{}' takes one argument: the path of the control socket, or tcp:HOST:PORT:FILE-OF-KEYS",
            role.word()
        )),
    }
}
