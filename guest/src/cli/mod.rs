//! The words of `workmux` inside a sandbox: each is one request to the supervisor.
//!
//! This file knows which words there are and when they may be used; what each does is in a file of its own.

mod add;
mod add_flags;
mod hook;
mod status;

use std::env;
use std::ffi::OsString;

use crate::output;

const HELP: &str = "\
Usage: workmux <COMMAND>

This is workmux inside a sandbox. It asks the workmux that started the sandbox.

Commands:
  add [BRANCH]                                    Start an agent in a worktree of its own
  set-window-status <working|waiting|done|clear>  Show the agent's status in its window
  set-title <TITLE>                               Name the agent's window
  register-agent                                  Announce the agent that runs here
  heartbeat                                       Check that the host answers

Options:
  -h, --help     Print help ('add --help' for the options of 'add')
  -V, --version  Print version";

const WORDS: &str = "'add', 'set-window-status', 'set-title', 'register-agent', 'heartbeat'";

/// Runs the command line; answers the exit code.
pub(crate) fn run(args: &[OsString]) -> u8 {
    let Some((word, rest)) = args.split_first() else {
        output::note(HELP);
        return 2;
    };
    let text = word.to_string_lossy();
    match &*text {
        "-h" | "--help" | "help" => print(HELP),
        "-V" | "--version" => print(concat!("workmux ", env!("CARGO_PKG_VERSION"), " (guest)")),
        "set-window-status" | "register-agent" | "set-title" | "heartbeat" | "add" if asks_for_help(rest) => {
            print(if text == "add" { add::HELP } else { HELP })
        }
        "set-window-status" => status::set_window_status(rest),
        "register-agent" => status::register_agent(rest),
        "set-title" => status::set_title(rest),
        "heartbeat" => status::heartbeat(rest),
        "add" => add::run(rest),
        _ => {
            output::error(&format!("unknown command '{text}': inside a sandbox there are {WORDS}"), None);
            2
        }
    }
}

fn print(text: &str) -> u8 {
    output::line(text);
    0
}

fn asks_for_help(rest: &[OsString]) -> bool {
    matches!(rest, [only] if only == "-h" || only == "--help")
}

/// Whether this is a sandbox. If not, says so and gives the exit code.
fn require_sandbox(word: &str) -> Result<(), u8> {
    if env::var_os("WM_SANDBOX_GUEST").is_some() {
        return Ok(());
    }
    let what = format!("'{word}' was called outside of a workmux sandbox (WM_SANDBOX_GUEST is not set)");
    Err(output::error(&what, Some("this program is the sandbox's half of workmux; use the host's 'workmux' instead")))
}
