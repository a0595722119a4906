//! `add` from inside a sandbox: reads the prompt here and asks the host for a worktree with an agent in it.
//!
//! Everything else (base, sandbox, hooks, agent) is the host's decision; [`super::add_flags`] refuses what would
//! suggest otherwise.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use workmux_guest::words::Request;

use super::add_flags::{Flags, Prompt, Refusal, parse};
use super::ask::UNREACHABLE;
use super::{hook, require_sandbox};
use crate::output;
use crate::rpc_client::{Failure, MAX_LINE, call};

pub(super) const HELP: &str = "\
Usage: workmux add [OPTIONS] <BRANCH>
       workmux add [OPTIONS] --auto-name

Asks the host for a new worktree with an agent of its own, sandboxed like this one. It starts from the branch that is
checked out here.

Options:
  -A, --auto-name           Let the host name the branch after the prompt, as without BRANCH
  -p, --prompt <TEXT>       What the agent is to do
  -P, --prompt-file <FILE>  Read the prompt from a file
  -e, --prompt-editor       Write the prompt in $VISUAL or $EDITOR
  -b, --background          Do not switch to the new window
  -S, --sandbox             Always so from inside a sandbox
  -H, --no-hooks            Always so from inside a sandbox
  -h, --help                Print help";

/// Above the 120 s that the host itself allows for it.
const LIMIT: Duration = Duration::from_secs(130);

pub(super) fn run(args: &[OsString]) -> u8 {
    let flags = match parse(args) {
        Ok(flags) => flags,
        Err(Refusal::Usage(what)) => return output::usage(&what),
        Err(Refusal::Unsupported(what)) => return output::error(&what, None),
    };
    if flags.help {
        output::line(HELP);
        return 0;
    }
    if let Err(code) = require_sandbox("add") {
        return code;
    }
    match request(flags) {
        Ok(request) => send(&request),
        Err((what, why)) => output::error(&what, why.as_deref()),
    }
}

type Reason = (String, Option<String>);

fn request(flags: Flags) -> Result<Request, Reason> {
    let prompt = match flags.prompt {
        None => String::new(),
        Some(Prompt::Text(text)) => text,
        Some(Prompt::File(path)) => read(Path::new(&path))
            .map_err(|why| (format!("could not read the prompt from '{}'", show(&path)), Some(why)))?,
        Some(Prompt::Editor) => {
            edit().map_err(|why| ("could not get the prompt from an editor".to_owned(), Some(why)))?
        }
    };
    if hook::input_is_given() {
        let what = "lines on standard input are not supported from inside a sandbox: call 'add' once for each";
        return Err((what.to_owned(), None));
    }
    let branch_name = match flags.branch {
        Some(branch) if flags.auto_name => {
            output::note(&output::printable(&format!(
                "warning: the branch '{branch}' is not used, because -A lets the host name it"
            )));
            None
        }
        branch => branch,
    };
    let background = flags.background.then_some(true);
    Ok(Request::SpawnAgent { prompt, branch_name, background, request_id: Some(random_id()) })
}

fn send(request: &Request) -> u8 {
    let answer = match call(request, LIMIT) {
        // The host may have begun: it knows the request by its id, so asking again cannot make a second agent.
        Err(Failure::Lost(_)) => call(request, LIMIT),
        answer => answer,
    };
    match answer {
        Ok(()) => {
            let Request::SpawnAgent { branch_name, .. } = request else { return 0 };
            output::line(&format!("✓ Spawned agent: {}", branch_name.as_deref().unwrap_or("(auto-named)")));
            0
        }
        Err(failure @ Failure::Refused(_)) => {
            output::error("the host failed to spawn the agent", Some(failure.reason()))
        }
        Err(failure @ Failure::TooLong) => output::error("the prompt cannot be sent", Some(failure.reason())),
        Err(failure) => output::error(UNREACHABLE, Some(failure.reason())),
    }
}

/// The whole file as text, byte for byte, if it can be a prompt at all.
fn read(path: &Path) -> Result<String, String> {
    read_to_end(File::open(path).map_err(|e| e.to_string())?)
}

/// As [`read`], for what is open already.
pub(super) fn read_to_end(file: File) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.take(MAX_LINE as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() == MAX_LINE {
        return Err(Failure::TooLong.reason().to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "it is not valid UTF-8".to_owned())
}

/// Lets the user write a file of our own and reads it.
fn edit() -> Result<String, String> {
    let chosen = ["VISUAL", "EDITOR"].into_iter().filter_map(env::var_os).find(|editor| !editor.is_empty());
    let chosen = chosen.unwrap_or_else(|| "vi".into());
    let path = env::temp_dir().join(format!("workmux-prompt-{}.md", random_id()));
    let draft = Draft::new(path)?;
    // An editor may be configured with arguments of its own ('code --wait').
    let words =
        chosen.to_str().map_or_else(|| vec![&*chosen], |text| text.split_whitespace().map(OsStr::new).collect());
    let [program, arguments @ ..] = words.as_slice() else { return Err("the editor's name is empty".to_owned()) };
    let status = Command::new(program).args(arguments).arg(&draft.0).status();
    let status = status.map_err(|e| format!("'{}' could not be started: {e}", show(program)))?;
    if !status.success() {
        return Err(format!("'{}' ended with {status}", show(program)));
    }
    let text = read(&draft.0)?;
    if text.trim().is_empty() { Err("the prompt is empty, nothing was sent".to_owned()) } else { Ok(text) }
}

/// A new file that is gone when we are done with it.
struct Draft(PathBuf);

impl Draft {
    fn new(path: PathBuf) -> Result<Self, String> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|e| format!("could not make '{}': {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It lies in the temporary directory: a leftover would not matter.
        let _ = fs::remove_file(&self.0);
    }
}

fn show(path: &(impl AsRef<OsStr> + ?Sized)) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// 32 hex digits that nobody else has.
fn random_id() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}
