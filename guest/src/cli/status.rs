//! The small words: status, title, registration, heartbeat.
//!
//! Status and registration are called by agents' hooks, where a failure would disturb the agent: once they are
//! called correctly they exit with 0 whatever the host says.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use workmux_guest::words::Request;

use super::ask::ask;
use super::{hook, require_sandbox};
use crate::output;
use crate::rpc_client::{Failure, call};

const LIMIT: Duration = Duration::from_secs(5);
const STATUSES: [&str; 4] = ["working", "waiting", "done", "clear"];

pub(super) fn set_window_status(args: &[OsString]) -> u8 {
    let [word] = args else {
        return output::usage("'set-window-status' takes one argument: 'working', 'waiting', 'done' or 'clear'");
    };
    match word.to_str().filter(|word| STATUSES.contains(word)) {
        Some(status) => report("set-window-status", status),
        None => output::usage(&format!(
            "'{}' is not a status: use 'working', 'waiting', 'done' or 'clear'",
            word.to_string_lossy()
        )),
    }
}

pub(super) fn register_agent(args: &[OsString]) -> u8 {
    if !args.is_empty() {
        return output::usage("'register-agent' takes no arguments");
    }
    report("register-agent", "register")
}

fn report(word: &str, status: &str) -> u8 {
    if let Err(code) = require_sandbox(word) {
        return code;
    }
    if env::var_os("WORKMUX_DISABLE_SET_WINDOW_STATUS").is_some() {
        return 0;
    }
    let request = Request::SetStatus { status: status.to_owned(), prompt: hook::prompt() };
    if let Err(failure) = call(&request, LIMIT) {
        let what = match failure {
            Failure::Refused(_) => "the host did not take the status",
            _ => "could not reach the host",
        };
        output::note(&output::printable(&format!("workmux: {what}: {}", failure.reason())));
    }
    0
}

pub(super) fn set_title(args: &[OsString]) -> u8 {
    let [title] = args else { return output::usage("'set-title' takes one argument, the title") };
    match title.to_str() {
        Some(title) => ask("set-title", &Request::SetTitle { title: title.to_owned() }, LIMIT, None),
        None => output::usage("the title is not valid UTF-8"),
    }
}

pub(super) fn heartbeat(args: &[OsString]) -> u8 {
    if !args.is_empty() {
        return output::usage("'heartbeat' takes no arguments");
    }
    ask("heartbeat", &Request::Heartbeat {}, LIMIT, None)
}
