//! Speaks `limactl`: which words, how long they may take, and what its answers mean. Nothing is decided here.
//!
//! Its messages differ between releases, so single words are looked for and never sentences; its exit codes say little,
//! so that whoever starts or stops a machine looks at it again afterwards.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use workmux_plugin_api::{Context, Error, ErrorKind, Level, Result, Step, Tool, ToolOutput};

use crate::exports::Export;

pub(crate) const LIMACTL: &str = "limactl";
/// What to do where it is missing.
pub(crate) const INSTALL: &str =
    "install Lima (https://lima-vm.io/docs/installation/), 1.0 or newer, so that 'limactl' is on your PATH";
/// The oldest release whose words and answers this file knows.
pub(crate) const OLDEST: (u32, u32) = (1, 0);
/// A question. It asks each machine's host agent, which gets 3 s.
const QUESTION: Duration = Duration::from_secs(20);
/// How often a list is asked for that another program's work on some machine spoiled.
const TRIES: u32 = 4;
/// What is kept of what it said.
const LINES: usize = 12;

/// A machine as `limactl list` tells of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) dir: PathBuf,
    pub(crate) ssh_config: PathBuf,
    pub(crate) cpus: u32,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) disk: u64,
    pub(crate) image: String,
    /// Those at our places.
    pub(crate) exports: Vec<Export>,
    /// Where it has others, which the user gives to all machines.
    pub(crate) others: Vec<PathBuf>,
}

/// What a machine does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Stopped,
    /// One of its processes is missing; or it is starting, or ending, just now.
    Broken,
    /// In its own word, or none.
    #[default]
    Unknown,
    Other(String),
}

impl Status {
    fn of(word: &str) -> Self {
        match word {
            "Running" => Self::Running,
            "Stopped" => Self::Stopped,
            "Broken" => Self::Broken,
            "" => Self::Unknown,
            other => Self::Other(other.to_owned()),
        }
    }

    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Running => "Running",
            Self::Stopped => "Stopped",
            Self::Broken => "Broken",
            Self::Unknown => "Unknown",
            Self::Other(word) => word,
        }
    }
}

/// All machines, or one. One that cannot be read costs a warning.
pub(crate) async fn list(cx: &Context, name: Option<&str>) -> Result<Vec<Listed>> {
    let mut words = vec!["list", "--json"];
    words.extend(name);
    for attempt in 1.. {
        let output = run(cx, &words, QUESTION).await?;
        let (all, unreadable) = parse(&output.stdout);
        // With a name that it does not know it fails, and says so in words.
        let unknown = name.is_some() && output.stderr.contains("No instance matching");
        if output.code == Some(0) || unknown || (name.is_some() && !all.is_empty()) {
            let all: Vec<Listed> = all.into_iter().filter(|one| name.is_none_or(|name| one.name == name)).collect();
            // Where the one that was asked for is there, nothing is missing.
            let level = if name.is_some() && !all.is_empty() { Level::Debug } else { Level::Warning };
            for line in unreadable {
                cx.log(level, format!("'limactl list' says something unreadable: {line}"));
            }
            return Ok(all);
        }
        // Before 2.2 a machine that is being made or deleted spoils the whole list for a moment.
        let failure = failure("list", &output);
        if attempt == TRIES || failure.kind != ErrorKind::ToolFailed {
            return Err(failure);
        }
        cx.sleep(Duration::from_millis(300)).await?;
    }
    Ok(Vec::new())
}

/// One machine, if there is one of that name.
pub(crate) async fn find(cx: &Context, name: &str) -> Result<Option<Listed>> {
    Ok(list(cx, Some(name)).await?.pop())
}

/// One object a line. The second answer are lines that are none.
fn parse(text: &str) -> (Vec<Listed>, Vec<String>) {
    let (mut all, mut unreadable) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str::<Instance>(line) {
            Ok(instance) => all.push(instance.into()),
            Err(_) => unreadable.push(line.chars().take(80).collect()),
        }
    }
    (all, unreadable)
}

/// The parts of an answer that count.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Instance {
    name: String,
    status: String,
    dir: PathBuf,
    #[serde(rename = "sshConfigFile")]
    ssh_config: PathBuf,
    cpus: u32,
    memory: u64,
    disk: u64,
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    mounts: Vec<MountPoint>,
    images: Vec<Image>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MountPoint {
    location: PathBuf,
    mount_point: PathBuf,
    writable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Image {
    location: String,
}

impl From<Instance> for Listed {
    fn from(instance: Instance) -> Self {
        let (mut exports, mut others) = (Vec::new(), Vec::new());
        for MountPoint { location, mount_point, writable } in instance.config.mounts {
            let export = Export { location, writable };
            match mount_point {
                point if point == export.mount_point() => exports.push(export),
                point if point.as_os_str().is_empty() => others.push(export.location),
                point => others.push(point),
            }
        }
        Self {
            status: Status::of(&instance.status),
            name: instance.name,
            dir: instance.dir,
            ssh_config: instance.ssh_config,
            cpus: instance.cpus,
            memory: instance.memory,
            disk: instance.disk,
            image: instance.config.images.into_iter().next().unwrap_or_default().location,
            exports,
            others,
        }
    }
}

/// Its release; asks it.
pub(crate) async fn version(cx: &Context) -> Result<String> {
    let output = run(cx, &["--version"], QUESTION).await?;
    if output.code != Some(0) {
        return Err(failure("--version", &output));
    }
    let version = output.stdout.split_whitespace().last().unwrap_or_default().trim_start_matches('v').to_owned();
    match numbers(&version) {
        Some(found) if found < OLDEST => {
            Err(Error::new(ErrorKind::TooOld, format!("'limactl' is {version}; this backend needs 1.0 or newer"))
                .hint(INSTALL))
        }
        // A build between releases has no number; it is taken for a new one.
        _ => Ok(version),
    }
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Runs it to its end.
pub(crate) async fn run(cx: &Context, words: &[&str], deadline: Duration) -> Result<ToolOutput> {
    cx.require_tool(LIMACTL, INSTALL)?;
    let tool = tool(words, deadline);
    cx.run(tool).await.map_err(|e| match e.kind {
        ErrorKind::Timeout => Error::new(ErrorKind::Timeout, format!("'limactl {}' does not answer", words[0]))
            .cause(e.message)
            .hint("look for what hangs: limactl list; a host agent that hangs is ended by: limactl stop --force NAME"),
        _ => e,
    })
}

fn tool(words: &[&str], deadline: Duration) -> Tool {
    Tool {
        program: LIMACTL.into(),
        args: words.iter().map(|word| (*word).into()).collect(),
        deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
        ..Tool::default()
    }
}

/// Runs it to its end and tells how far it is, beginning with `what`. The answer is its exit code and the last that it
/// said; neither says for certain what became of the machine.
pub(crate) async fn watch(cx: &Context, what: &str, words: &[&str], deadline: Duration) -> Result<ToolOutput> {
    cx.require_tool(LIMACTL, INSTALL)?;
    // A machine that boots goes on doing so, and is found by the next start.
    let mut running = cx.start(Tool { work_goes_on: true, ..tool(words, deadline) }).await?;
    let mut last: Vec<String> = Vec::new();
    let mut said = String::new();
    loop {
        match running.next(Duration::from_secs(1)).await? {
            Step::Printed { lines } => {
                for line in lines {
                    let (level, text) = message(&line);
                    if matches!(level, "warning" | "error" | "fatal") {
                        cx.log(Level::Debug, text.clone());
                    }
                    if !is_noise(&text) {
                        said = text;
                    }
                    last.push(line);
                }
                let surplus = last.len().saturating_sub(LINES);
                last.drain(..surplus);
            }
            Step::Quiet => {}
            Step::Ended { code } => {
                return Ok(ToolOutput { code, stdout: String::new(), stderr: last.join("\n") });
            }
        }
        let short: String = said.chars().take(100).collect();
        let colon = if short.is_empty() { "" } else { ": " };
        // Also where nothing was said: the host takes silence for a hang.
        cx.progress(format!("{what}{colon}{short}"), 0, 0);
    }
}

/// What is about `limactl` and not about the machine: advice to type what this program is about to do.
fn is_noise(text: &str) -> bool {
    text.starts_with("Terminal is not available") || text.starts_with("Run `limactl start")
}

/// Level and text of a log line such as `time="…" level=info msg="…"`.
fn message(line: &str) -> (&str, String) {
    let field = |name: &str| line.find(name).map(|at| &line[at + name.len()..]);
    let level = field("level=").and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    let text = field("msg=").map_or(line, |rest| rest);
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let text = match values.next() {
        Some(Ok(text)) => text,
        _ if text.starts_with('"') => text.trim_matches('"').to_owned(),
        // A single word stands without quotes.
        _ if text.len() < line.len() => text.split_whitespace().next().unwrap_or_default().to_owned(),
        _ => line.to_owned(),
    };
    (level, text)
}

/// What went wrong, in its own last words, with the next thing to do.
pub(crate) fn failure(what: &str, output: &ToolOutput) -> Error {
    let said = &output.stderr;
    let has = |word: &str| said.contains(word);
    if has("must not run as the root") {
        return Error::refused("Lima does not work for root")
            .hint("run workmux as an ordinary user, who owns the worktree; or choose another backend with --backend");
    }
    let mut causes: Vec<String> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| (message(line), line))
        .filter(|((level, _), _)| !matches!(*level, "info" | "debug" | "trace"))
        .map(|((_, text), _)| text)
        .collect();
    if causes.is_empty() {
        causes.extend(said.lines().rev().find(|line| !line.trim().is_empty()).map(|line| message(line).1));
    }
    let surplus = causes.len().saturating_sub(3);
    causes.drain(..surplus);
    let (kind, hint) = if has("no space left on device") {
        (ErrorKind::LimitHit, "make room on the disk, or delete machines that nobody uses: workmux sandbox prune")
    } else if has("protected to prohibit accidental removal") {
        (ErrorKind::Refused, "it is protected; allow it again with: limactl unprotect NAME")
    } else if has("guest agent binary could not be found") {
        (ErrorKind::MissingTool, "Lima's own files are incomplete: install it again, with its share/lima directory")
    } else if has("qemu-system-") && (has("not found") || has("no such file")) || has("failed to find the QEMU binary")
    {
        (ErrorKind::MissingTool, "install QEMU, which Lima runs machines with: sudo apt install qemu-system qemu-utils")
    } else if has("unable to load instance") {
        (ErrorKind::ToolFailed, "that directory is no machine, and Lima lists nothing while it is there: remove it")
    } else {
        (ErrorKind::ToolFailed, "try it by hand: limactl list")
    };
    let code = output.code.map_or("was ended by a signal".to_owned(), |code| format!("failed with code {code}"));
    let mut error = Error::new(kind, format!("'limactl {what}' {code}")).hint(hint);
    error.causes = causes;
    error
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn p78_a_list_is_read_whatever_else_stands_in_it() {
        let point = Export { location: "/a".into(), writable: true }.mount_point();
        let text = format!(
            "WARN something\n\n{}\n{}\n{{\"name\": 3}}\n",
            serde_json::json!({"name": "wm-a-1", "status": "Running", "dir": "/d", "sshConfigFile": "/d/ssh.config",
                "cpus": 2, "memory": 1 << 30, "errors": [{}], "new": [1], "config": {
                    "images": [{"location": "x"}, {"location": "y"}],
                    "mounts": [{"location": "/a", "mountPoint": point, "writable": true},
                               {"location": "/b", "mountPoint": "/mnt/workmux/elsewhere"}, {"location": "/c"}]}}),
            serde_json::json!({"name": "other", "status": "Sleeping"}),
        );
        let (all, unreadable) = parse(&text);
        assert_eq!(unreadable, ["WARN something", "{\"name\": 3}"]);
        assert_eq!(all[0].exports, [Export { location: "/a".into(), writable: true }]);
        assert_eq!(all[0].others, [Path::new("/mnt/workmux/elsewhere"), Path::new("/c")]);
        assert_eq!((all[0].status.clone(), all[0].image.as_str(), all[0].cpus), (Status::Running, "x", 2));
        assert_eq!(all[1].status, Status::Other("Sleeping".into()));
        assert_eq!(Status::of("").word(), "Unknown");
    }

    #[test]
    fn log_lines_are_read_and_other_lines_left_as_they_are() {
        for (line, level, text) in [
            (r#"time="2026-01-01T00:00:00Z" level=info msg="SSH \"x\" `y`" more=1"#, "info", "SSH \"x\" `y`"),
            ("time=now level=fatal msg=short more=1", "fatal", "short"),
            ("panic: must not", "", "panic: must not"),
            (r#"level=error msg="bad \x escape""#, "error", "bad \\x escape"),
            ("", "", ""),
        ] {
            assert_eq!(message(line), (level, text.to_owned()), "{line}");
        }
    }

    #[test]
    fn failures_have_a_kind_and_a_next_step() {
        let of =
            |said: &str| failure("start", &ToolOutput { code: Some(1), stderr: said.into(), ..ToolOutput::default() });
        for root in [
            "limactl: must not run as the root user",
            "panic: must not run as the root user\n\ngoroutine 1 [running]:",
            r#"time="x" level=fatal msg="must not run as the root user""#,
        ] {
            assert_eq!(of(root).kind, ErrorKind::Refused);
            assert!(of(root).message.contains("root"));
        }
        assert_eq!(of("level=fatal msg=\"write: no space left on device\"").kind, ErrorKind::LimitHit);
        let two = of("level=info msg=\"a\"\nlevel=warning msg=\"b\"\nlevel=fatal msg=\"c d\"");
        assert_eq!((two.kind, two.causes), (ErrorKind::ToolFailed, vec!["b".to_owned(), "c d".to_owned()]));
        assert_eq!(of("level=info msg=only").causes, ["only"]);
        assert!(of("").causes.is_empty());
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("0.23.2").unwrap() < OLDEST && numbers("1.0.7").unwrap() >= OLDEST);
        assert!(numbers("2.10.0-rc.1").unwrap() > (2, 9));
        assert_eq!(numbers("HEAD"), None);
    }
}
