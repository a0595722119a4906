//! `WORKMUX_TRACE=plugin`: a line for each call into a backend and for each tool that it has the host run, on standard
//! error, or with `plugin:/a/file` at the end of that file.
//!
//! A line says who, what, how long, how much and how it ended, and nothing of what was said: requests hold the values
//! of variables and settings. Of a tool's words only those that can be the name of a subcommand are shown. Where
//! nobody asked for it a call costs one look at an `Option`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use workmux_plugin_api::{Error, Tool};

use super::{CallError, Environment, Rejection};

/// As it is typed.
pub const VARIABLE: &str = "WORKMUX_TRACE";
const PLUGIN: &str = "plugin";
/// Subcommands of a tool that are shown, and how long such a word is at most.
const MAX_SUBCOMMANDS: usize = 2;
const LONGEST_SUBCOMMAND: usize = 16;

/// Where lines go.
#[derive(Debug)]
pub(super) struct Trace(Option<File>);

impl Trace {
    /// What the environment asks for. What it asks for wrongly is nothing here, and said by [`fault`].
    pub(super) fn wanted(environment: &Environment) -> Option<Arc<Self>> {
        read(environment).ok().flatten().map(Arc::new)
    }

    /// A call begins.
    pub(super) fn begin(trace: Option<&Arc<Self>>, backend: &'static str, what: &str) -> Timed {
        Timed::new(trace, || format!("{backend} {what}"))
    }

    /// A tool begins.
    pub(super) fn tool(trace: Option<&Arc<Self>>, backend: &'static str, tool: &Tool) -> Timed {
        Timed::new(trace, || format!("{backend} runs {}", words(tool)))
    }

    fn line(&self, text: &str) {
        let Some(mut file) = self.0.as_ref() else { return crate::ui::trace(text) };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = format!("{}.{:03} {} {text}\n", now.as_secs(), now.subsec_millis(), std::process::id());
        // In one piece: other processes write there too. What cannot be written is no reason to stop.
        let _lost = file.write_all(line.as_bytes());
    }
}

/// What is wrong with the variable's value, if something is.
pub fn fault(environment: &Environment) -> Option<String> {
    read(environment).err()
}

fn read(environment: &Environment) -> Result<Option<Trace>, String> {
    let Some(value) = environment.var(VARIABLE).filter(|value| !value.is_empty()) else { return Ok(None) };
    let shown = crate::text::line(&value.to_string_lossy());
    let named = value.to_str().and_then(|value| value.strip_prefix(PLUGIN)?.strip_prefix(':'));
    match named.map(Path::new) {
        None if value == PLUGIN => Ok(Some(Trace(None))),
        Some(path) if path.is_absolute() => match open(path) {
            Ok(file) => Ok(Some(Trace(Some(file)))),
            Err(e) => Err(format!("nothing is traced: {VARIABLE} is '{shown}', and that cannot be opened: {e}")),
        },
        _ => Err(format!("nothing is traced: {VARIABLE} is '{shown}', not '{PLUGIN}' or '{PLUGIN}:/a/file'")),
    }
}

/// A file of the user's own: a link could lead to somebody else's, and a pipe would wait for its reader.
fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

/// The tool without its directory, its subcommands, and how many words follow: any of those may be a secret.
fn words(tool: &Tool) -> String {
    let name = tool.program.file_name().unwrap_or(tool.program.as_os_str());
    let plain = |word: &str| {
        word.len() <= LONGEST_SUBCOMMAND
            && word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
    };
    let subcommands = tool.args.iter().map_while(|word| word.as_os_str().to_str().filter(|word| plain(word)));
    let mut shown = vec![crate::text::short(&name.to_string_lossy(), 64)];
    shown.extend(subcommands.take(MAX_SUBCOMMANDS).map(str::to_owned));
    match tool.args.len() + 1 - shown.len() {
        0 => shown.join(" "),
        more => format!("{} (+{more})", shown.join(" ")),
    }
}

/// Something that began. Dropped without an end it was given up.
pub(super) struct Timed(Option<Open>);

struct Open {
    trace: Arc<Trace>,
    what: String,
    since: Instant,
    /// Bytes to the other side, and back.
    bytes: Option<(usize, usize)>,
}

impl Timed {
    fn new(trace: Option<&Arc<Trace>>, what: impl FnOnce() -> String) -> Self {
        Self(trace.map(|trace| Open { trace: Arc::clone(trace), what: what(), since: Instant::now(), bytes: None }))
    }

    /// How much was said.
    pub(super) fn bytes(&mut self, asked: usize, answered: usize) {
        if let Some(open) = &mut self.0 {
            open.bytes = Some((asked, answered));
        }
    }

    /// It came to this end.
    pub(super) fn end<T, E: Outcome>(self, result: &Result<T, E>) {
        self.ended(|| result.as_ref().err().map_or_else(|| "ok".to_owned(), Outcome::outcome));
    }

    /// The same, in the caller's words.
    pub(super) fn ended(mut self, outcome: impl FnOnce() -> String) {
        if let Some(open) = self.0.take() {
            open.print(&outcome());
        }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            open.print("given up");
        }
    }
}

impl Open {
    fn print(&self, outcome: &str) {
        let bytes = self.bytes.map(|(asked, answered)| format!(", {asked} bytes there, {answered} back"));
        let Self { what, since, .. } = self;
        self.trace.line(&crate::text::line(&format!(
            "plugin {what}: {}{}, {outcome}",
            time(since.elapsed()),
            bytes.unwrap_or_default()
        )));
    }
}

fn time(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// A failure in a word; its message may hold what it failed on.
pub(super) trait Outcome {
    fn outcome(&self) -> String;
}

impl Outcome for Error {
    fn outcome(&self) -> String {
        format!("failed ({:?})", self.kind)
    }
}

impl Outcome for CallError {
    fn outcome(&self) -> String {
        self.error.outcome()
    }
}

impl Outcome for Rejection {
    fn outcome(&self) -> String {
        "refused".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::plugins::testing;

    #[test]
    fn what_is_asked_for_wrongly_is_said_and_traces_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let with = |value: &str| {
            let mut environment = testing::environment(temp.path());
            environment.variables.insert(VARIABLE.into(), value.into());
            (Trace::wanted(&environment).is_some(), fault(&environment).unwrap_or_default())
        };
        assert_eq!(with(""), (false, String::new()));
        assert_eq!(with("plugin"), (true, String::new()));
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(temp.path().join("elsewhere"), &link).unwrap();
        let link = format!("plugin:{}", link.display());
        for wrong in ["plugins", "plugin:", "plugin:relative", "all\x1b[2J", "plugin:/nonexistent/x", &link] {
            let (traces, said) = with(wrong);
            assert!(!traces && said.starts_with("nothing is traced: ") && !said.contains('\x1b'), "{wrong}: {said}");
        }
        assert!(!temp.path().join("elsewhere").exists());
    }

    #[test]
    fn lines_are_bounded_and_hold_no_words_that_could_be_secret() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("trace");
        let trace = Arc::new(Trace(Some(open(&path).unwrap())));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let tool = |program: &str, args: &[&str]| Tool {
            program: program.into(),
            args: args.iter().map(|word| (*word).into()).collect(),
            env: vec![("TOKEN".into(), "sentinel".into())],
            ..Tool::default()
        };
        let many = "x".repeat(10_000);
        for tool in [
            tool("/usr/bin/acme", &["image", "ls", "all"]),
            tool("acme", &["login", "--password", "sentinel"]),
            tool("acme", &["sentinel-4711"]),
            tool("acme", &[&many]),
            tool(&many, &[]),
            tool("a\x1b[2J\nplugin b", &[]),
        ] {
            Trace::tool(Some(&trace), "backend", &tool).ended(|| "exit code 0".into());
        }
        let mut call = Trace::begin(Some(&trace), "backend", "prepare");
        call.bytes(12, 34);
        call.end(&Err::<(), _>(Error::refused("the value 'sentinel'")));
        drop(Trace::begin(Some(&trace), "backend", "release"));
        drop(Trace::begin(None, "backend", "nothing"));

        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("sentinel") && !text.contains('\x1b'), "{text}");
        let after = |line: &str| line.split_once("plugin backend ").unwrap().1.to_owned();
        let lines: Vec<String> = text.lines().map(after).collect();
        let begins = |at: usize, with: &str| assert!(lines[at].starts_with(with), "{with}: {}", lines[at]);
        begins(0, "runs acme image ls (+1): ");
        begins(1, "runs acme login (+2): ");
        begins(2, "runs acme (+1): ");
        begins(3, "runs acme (+1): ");
        begins(5, "runs ");
        begins(6, "prepare: ");
        assert!(lines[6].ends_with(" ms, 12 bytes there, 34 back, failed (Refused)"), "{}", lines[6]);
        assert!(lines[7].starts_with("release: ") && lines[7].ends_with(" ms, given up"), "{}", lines[7]);
        assert!(lines.len() == 8 && lines.iter().all(|line| line.chars().count() < 500), "{lines:?}");
    }
}
