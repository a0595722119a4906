//! The words of `workmux` inside a sandbox: each is a request to the supervisor.
//!
//! This file knows which words there are, when they may be used and which are the host's alone; what each does is in a
//! file of its own.

mod add;
mod add_flags;
mod ask;
mod family;
mod flags;
mod hook;
mod members;
mod status;

use std::env;
use std::ffi::OsString;

use crate::output;

const HELP: &str = "\
Usage: workmux <COMMAND>

This is workmux inside a sandbox. It asks the workmux that started the sandbox.

Commands:
  add [BRANCH]                                    Start an agent in a worktree of its own
  status                                          Show the agents that were started from here
  wait <NAME>...                                  Wait until agents are done
  send <NAME> <TEXT>...                           Type a text for an agent
  capture <NAME>                                  Print what an agent's terminal shows
  merge <NAME>                                    Merge an agent's branch
  close <NAME>                                    Close an agent's window
  set-window-status <working|waiting|done|clear>  Show the agent's status in its window
  set-title <TITLE>                               Name the agent's window
  register-agent                                  Announce the agent that runs here
  heartbeat                                       Check that the host answers

Options:
  -h, --help     Print help ('<COMMAND> --help' for the options of a command)
  -V, --version  Print version";

const WORDS: &str = "'add', 'status', 'wait', 'send', 'capture', 'merge', 'close', 'set-window-status', 'set-title', 'register-agent', 'heartbeat'";

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
        "remove" | "rm" => not_here(&text, "use 'close' or 'merge --cleanup', or remove it on the host"),
        "list" | "ls" => not_here(&text, "use 'status', or run it on the host"),
        "open" | "path" | "setup" | "init" => not_here(&text, "run it on the host"),
        _ => family::run(&text, rest).unwrap_or_else(|| {
            output::error(&format!("unknown command '{text}': inside a sandbox there are {WORDS}"), None);
            2
        }),
    }
}

/// A word of the host's that is called correctly, but not from in here.
fn not_here(word: &str, instead: &str) -> u8 {
    output::error(&format!("'{word}' is not supported from inside a sandbox: {instead}"), None)
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
