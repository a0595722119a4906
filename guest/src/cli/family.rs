//! The words about agents that were started from here: looking, waiting, telling, merging, closing.
//!
//! Each is one request, `wait` as many as it takes. Which agents may be named is the host's decision.

use std::ffi::OsString;
use std::fs::File;
use std::io::stdin;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use workmux_guest::words::{Member, Merge, Request};

use super::add::read_to_end;
use super::ask::{UNREACHABLE, ask};
use super::flags::{Flag, Line, read, utf8};
use super::members;
use crate::output;
use crate::rpc_client::NOT_OURS;

const STATUS: &str = "\
Usage: workmux status [--json] [--tree]

Shows the agents that were started from here, and theirs.

Options:
      --json  Print what the host says, as JSON
      --tree  Show each below the one that started it";

const WAIT: &str = "\
Usage: workmux wait <NAME>... [--timeout <SECONDS>]

Waits until all of these agents are done or have ended. Exits with 0 if each is done or exited with 0, with 1 if one
did not or the time is over.

Options:
  -t, --timeout <SECONDS>  Wait no longer than this";

const SEND: &str = "\
Usage: workmux send <NAME> <TEXT>...
       workmux send <NAME> -

Types a text for an agent. Everything after the name is the text; '-' alone reads it from standard input, without its
last line end.";

const CAPTURE: &str = "\
Usage: workmux capture <NAME> [--lines <N>]

Prints what an agent's terminal shows.

Options:
  -n, --lines <N>  So many of the last lines, up to 2000 [default: 100]";

const MERGE: &str = "\
Usage: workmux merge <NAME> [OPTIONS]

Merges an agent's branch.

Options:
      --into <BRANCH>       The branch to merge into
      --rebase              Rebase it first
      --squash              Merge it as one commit
      --ignore-uncommitted  Even if there is work that is not committed
  -k, --keep                Keep the worktree and its branch
      --cleanup             Remove the worktree and its branch
  -n, --no-verify           Skip git's hooks
      --no-hooks            Skip the configured hooks
      --notification        Tell the user when it is done";

const CLOSE: &str = "\
Usage: workmux close <NAME>

Closes an agent's window. Its worktree and branch stay.";

/// Each above what the host itself allows.
const LIMIT: Duration = Duration::from_secs(15);
const MERGE_LIMIT: Duration = Duration::from_secs(130);
const CLOSE_LIMIT: Duration = Duration::from_secs(40);
/// Seconds that one request may keep us waiting.
const LONGEST: u64 = 60;
/// Between two requests.
const PAUSE: Duration = Duration::from_secs(1);
/// Names in one request.
const MOST: usize = 64;

/// What a word does; an error is one in how it was called.
type Work = fn(&Line) -> Result<u8, String>;

/// Does one of these words; `None` if it is another.
pub(super) fn run(word: &str, args: &[OsString]) -> Option<u8> {
    let (help, flags, work): (&str, &[Flag], Work) = match word {
        "status" => (STATUS, &[("json", None, false), ("tree", None, false)], status),
        "wait" => (WAIT, &[("timeout", Some('t'), true)], wait),
        "capture" => (CAPTURE, &[("lines", Some('n'), true)], capture),
        "merge" => (
            MERGE,
            &[
                ("into", None, true),
                ("rebase", None, false),
                ("squash", None, false),
                ("ignore-uncommitted", None, false),
                ("keep", Some('k'), false),
                ("cleanup", None, false),
                ("no-verify", Some('n'), false),
                ("no-hooks", None, false),
                ("notification", None, false),
            ],
            merge,
        ),
        "close" => (CLOSE, &[], close),
        "send" => (SEND, &[], send),
        _ => return None,
    };
    // What stands behind the name is no flag but the text.
    let (args, text) = if word == "send" { args.split_at(args.len().min(name_ends(args))) } else { (args, &[][..]) };
    let done = read(args, flags).and_then(|mut line| {
        if line.has("help") {
            output::line(help);
            return Ok(0);
        }
        for word in text {
            line.words.push(utf8(word)?.to_owned());
        }
        work(&line)
    });
    Some(done.unwrap_or_else(|wrong| output::usage(&wrong)))
}

/// How many words there are up to the first that is no flag, with the `--` around it.
fn name_ends(args: &[OsString]) -> usize {
    let before = args.iter().take_while(|arg| arg.len() > 1 && arg.to_string_lossy().starts_with('-')).count();
    let end = before + 1;
    end + usize::from(args.get(end).is_some_and(|arg| arg == "--"))
}

fn status(line: &Line) -> Result<u8, String> {
    if !line.words.is_empty() {
        return Err("'status' takes no names".to_owned());
    }
    let (message, members) = match look("status", &Request::Status {}, LIMIT) {
        Ok(seen) => seen,
        Err(code) => return Ok(code),
    };
    if line.has("json") {
        output::line(&output::printable(&message));
    } else if members.is_empty() {
        output::note("No agents were started from here.");
    } else {
        members::print(&members, line.has("tree"));
    }
    Ok(0)
}

fn wait(line: &Line) -> Result<u8, String> {
    let timeout = line.number("timeout", u32::MAX)?.map_or(u64::MAX, u64::from);
    let mut names: Vec<String> = Vec::new();
    for name in &line.words {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    if names.is_empty() || names.len() > MOST {
        return Err(format!("'wait' takes 1 to {MOST} names"));
    }
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        let left = timeout.saturating_sub(begun.elapsed().as_secs());
        let seconds = left.clamp(1, LONGEST);
        let request = Request::Wait { names: names.clone(), seconds: seconds as u32 };
        let members = match look("wait", &request, LIMIT + Duration::from_secs(seconds)) {
            Ok((_, members)) => members,
            Err(code) => return Ok(code),
        };
        // Not told of is not done.
        let told = |name: &&String| members.iter().any(|member| member.name == **name || member.branch == **name);
        if let Some(name) = names.iter().find(|name| !told(name)) {
            return Ok(output::error(&format!("the host did not tell how '{name}' is"), None));
        }
        let all = members.iter().all(members::finished);
        if all || begun.elapsed().as_secs() >= timeout {
            return Ok(result(&members, all));
        }
        // A host that answers too early is not asked in a circle.
        if asked.elapsed() < PAUSE {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Says how each is, and what is wrong.
fn result(members: &[Member], all: bool) -> u8 {
    let mut wrong = Vec::new();
    for member in members {
        let (name, state) = (output::printable_line(&member.name), members::state(member));
        let still = if members::finished(member) { "" } else { "still " };
        output::line(&format!("{name}: {still}{state}"));
        if !members::succeeded(member) {
            wrong.push(name);
        }
    }
    if wrong.is_empty() {
        return 0;
    }
    output::error(&format!("not done: {}", joined(&wrong, ", ")), (!all).then_some("the time is over"))
}

/// Asks how agents are.
fn look(word: &str, request: &Request, limit: Duration) -> Result<(String, Vec<Member>), u8> {
    let mut told = String::new();
    match ask(word, request, limit, Some(&mut |message| told = message)) {
        0 => {}
        code => return Err(code),
    }
    let wrong = || output::error(UNREACHABLE, Some(NOT_OURS));
    let members = members::read(&told).ok_or_else(wrong)?;
    Ok((told, members))
}

fn send(line: &Line) -> Result<u8, String> {
    let [name, text @ ..] = line.words.as_slice() else { return Err("give the agent's name".to_owned()) };
    let text = match text {
        [only] if only == "-" => match typed() {
            Ok(text) => text,
            Err(why) => return Ok(output::error("could not read the text from standard input", Some(&why))),
        },
        words => joined(words, " "),
    };
    if text.is_empty() {
        return Err("give a text to send".to_owned());
    }
    Ok(tell("send", &Request::Send { name: name.clone(), text }, LIMIT))
}

fn joined(words: &[String], between: &str) -> String {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() {
            text.push_str(between);
        }
        text.push_str(word);
    }
    text
}

fn typed() -> Result<String, String> {
    let input = stdin().as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    let mut text = read_to_end(File::from(input))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

fn capture(line: &Line) -> Result<u8, String> {
    let request = Request::Capture { name: name(line)?, lines: line.number("lines", 2000)? };
    Ok(tell("capture", &request, LIMIT))
}

fn merge(line: &Line) -> Result<u8, String> {
    for (one, other) in [("rebase", "squash"), ("keep", "cleanup")] {
        if line.has(one) && line.has(other) {
            return Err(format!("use one of --{one} and --{other}"));
        }
    }
    let merge = Merge {
        name: name(line)?,
        into: line.value("into").map(str::to_owned),
        rebase: line.has("rebase"),
        squash: line.has("squash"),
        ignore_uncommitted: line.has("ignore-uncommitted"),
        keep: line.has("keep"),
        no_verify: line.has("no-verify"),
        no_hooks: line.has("no-hooks"),
        notification: line.has("notification"),
        cleanup: line.has("cleanup"),
    };
    Ok(tell("merge", &Request::Merge(merge), MERGE_LIMIT))
}

fn close(line: &Line) -> Result<u8, String> {
    Ok(tell("close", &Request::Close { name: name(line)? }, CLOSE_LIMIT))
}

fn name(line: &Line) -> Result<String, String> {
    match line.words.as_slice() {
        [name] => Ok(name.clone()),
        _ => Err("give the name of one agent".to_owned()),
    }
}

/// Asks, and prints what the host tells.
fn tell(word: &str, request: &Request, limit: Duration) -> u8 {
    ask(word, request, limit, Some(&mut |message| output::line(&output::printable(&message))))
}
