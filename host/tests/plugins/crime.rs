//! Commits one crime in a child of this test program, whose process may die of it, and reports what the host said.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use workmux::plugins::{Backend, CallError, Deadlines, Events, Exec, Registry};
use workmux_plugin_api::*;

use super::stage::Stage;

const STAGE: &str = "WORKMUX_TEST_STAGE";
/// In the child's environment, not in the manifest's `tool_env`.
pub(crate) const SECRET: &str = "sentinel-4711";

/// What a child saw.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    said: BTreeMap<String, Value>,
}

impl Report {
    /// What came of a step: `ok …` or the error.
    pub(crate) fn of(&self, step: &str) -> &str {
        self.said.get(step).and_then(Value::as_str).unwrap_or_else(|| panic!("no '{step}' in {self:?}"))
    }

    pub(crate) fn number(&self, what: &str) -> u64 {
        self.said[what].as_u64().unwrap()
    }

    /// Every step but these went well, and so did another backend afterwards.
    pub(crate) fn only(&self, failed: &[&str]) {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.of("afterwards"), "ok minimal-x");
        for (step, said) in self.said.iter().filter_map(|(step, said)| Some((step, said.as_str()?))) {
            assert_eq!(!said.starts_with("ok"), failed.contains(&step.as_str()), "{step}: {said}");
            assert!(!said.chars().any(char::is_control), "control characters in {said:?}");
            assert!(said.chars().count() < 20_000, "{} characters", said.len());
        }
    }
}

/// Commits `sin@place`.
pub(crate) fn commit(wish: &str) -> Report {
    let stage = Stage::new();
    stage.install("hostile");
    stage.install("minimal");
    commit_on(&stage, wish)
}

pub(crate) fn commit_on(stage: &Stage, wish: &str) -> Report {
    let output = workmux::tool::run(&mut child(stage, wish), b"", Duration::from_secs(60)).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text.lines().filter_map(|line| serde_json::from_str::<BTreeMap<String, Value>>(line).ok()).flatten();
    Report { code: output.status.code(), stderr: output.stderr_text(), said: said.collect() }
}

/// Whether the host is still at it after `time`, with a guard switched off.
pub(crate) fn goes_on_without(guard: &str, wish: &str, time: Duration) -> bool {
    let stage = Stage::new();
    stage.install("hostile");
    stage.install("minimal");
    let outcome = workmux::tool::run(child(&stage, wish).env("WORKMUX_MUTANT", guard), b"", time);
    matches!(outcome, Err(workmux::tool::ToolError::Deadline { .. }))
}

fn child(stage: &Stage, wish: &str) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "--nocapture", "--test-threads=1", "plugins::hostile_child"])
        .env(STAGE, stage.at(""))
        .env("WORKMUX_HOSTILE", wish)
        .env("WORKMUX_TEST_PASSED", "passed")
        .env("WORKMUX_TEST_SECRET", SECRET)
        .stdin(Stdio::null())
        .process_group(0);
    child
}

/// The child's side.
pub(crate) fn be_the_child() {
    let Some(root) = std::env::var_os(STAGE) else { return };
    let stage = Stage::there(PathBuf::from(root));
    // What the real program has: one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(&stage));
    say("children", json!(children()));
    std::process::exit(0);
}

#[expect(clippy::print_stdout, reason = "the report to the parent")]
fn say(step: &str, what: Value) {
    println!("\n{}", json!({ step: what }));
}

fn told<T>(step: &str, result: Result<T, CallError>, show: impl FnOnce(&T) -> String) -> Option<T> {
    let text = match &result {
        Ok(value) => format!("ok {}", show(value)),
        Err(e) => format!("{:?} {e} -> {}", e.error.kind, e.error.hint.as_deref().unwrap_or("-")),
    };
    say(step, text.into());
    result.ok()
}

async fn run(stage: &Stage) {
    let counter = Arc::new(Counter::default());
    let mut environment = stage.environment();
    for name in ["WORKMUX_TEST_PASSED", "WORKMUX_TEST_SECRET"] {
        environment.variables.insert(name.into(), std::env::var_os(name).unwrap());
    }
    environment.variables.insert("WORKMUX_TRACE".into(), format!("plugin:{}", stage.at("trace").display()).into());
    environment.deadlines = Deadlines {
        question: Duration::from_secs(1),
        change: Duration::from_secs(1),
        silence: Duration::from_secs(1),
        prepare: Duration::from_secs(6),
        load: Duration::from_secs(5),
    };
    let events = Arc::clone(&counter) as Arc<dyn Events>;
    match Registry::new(environment).with_events(events).find("hostile") {
        Ok(backend) => {
            say("find", "ok".into());
            // A watchdog of the test's own: without the host's deadlines this must fail, not hang.
            let limit = Duration::from_secs(25);
            tokio::time::timeout(limit, verbs(&backend)).await.expect("a call without end");
        }
        Err(e) => say("find", format!("{e} -> {}", e.hint().unwrap_or_default()).into()),
    }
    say("lines", json!(counter.lines.load(Ordering::SeqCst)));
    say("steps", json!(counter.steps.load(Ordering::SeqCst)));
    say("line", json!(format!("ok {}", counter.last.lock().unwrap())));

    let other = Registry::new(stage.environment()).find("minimal").unwrap();
    let spec = SandboxSpec { slug: "x".into(), home: "/home/u".into(), ..SandboxSpec::default() };
    let prepared = other.prepare(PrepareRequest { spec, ..PrepareRequest::default() }).await;
    told("afterwards", prepared, |instance| instance.name.clone());
}

async fn verbs(backend: &Backend) {
    let wish = std::env::var("WORKMUX_HOSTILE").unwrap();
    let settings = backend.settings(SettingsRequest::default()).await;
    told("settings", settings, |s| format!("{:?}", s.refusals));
    told("check", backend.check(CheckRequest::default()).await, |f| format!("{f:?}"));
    told("rpc_route", backend.rpc_route(RouteRequest::default(), false).await, |r| format!("{r:?}"));
    let prepared = backend.prepare(PrepareRequest::default()).await;
    told("prepare", prepared, |i| format!("{} {} {}", i.name, i.notes.len(), i.notes.concat()));
    let exec = backend.exec(ExecRequest::default()).await;
    if let Some(Exec::Session(session)) = told("exec", exec, |_| String::new()) {
        session.signal(15);
        session.resize(24, 80);
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let run = session.run(null(), null(), null());
        // Nothing limits a session but its user.
        match tokio::time::timeout(Duration::from_secs(2), run).await {
            Ok(ended) => _ = told("session", ended, |e| format!("{e:?}")),
            Err(_) => say("session", "ok given up".into()),
        }
        told("again", session.run(null(), null(), null()).await, |_| String::new());
    }
    told("attach", backend.attach(AttachRequest::default()).await, |_| String::new());
    told("image", backend.image(ImageRequest::default()).await, |i| i.name.clone());
    told("pull", backend.pull(PullRequest::default()).await, |p| p.id.clone().unwrap_or_default());
    told("build", backend.build(BuildRequest::default()).await, |()| String::new());
    told("recipe", backend.recipe(ImageRequest::default()).await, |r| format!("{} {}", r.file, r.build));
    let freshness = backend.freshness(FreshnessRequest::default()).await;
    told("freshness", freshness, |f| f.id.clone().unwrap_or_default());
    let installed = backend.install(InstallRequest::default()).await;
    told("install", installed, |places| format!("{:?}", places.iter().map(|p| &p.place).collect::<Vec<_>>()));
    told("explain", backend.explain(ExplainRequest::default()).await, |e| format!("{e:?}"));
    told("verify", backend.verify(VerifyRequest::default()).await, |()| String::new());
    if wish.ends_with("@dropped") {
        // The caller loses interest: no deadline is involved.
        let wait = tokio::time::timeout(Duration::from_millis(300), backend.release(ReleaseRequest::default())).await;
        wait.unwrap_err();
        say("left by the dropped one", json!(children()));
        return;
    }
    told("release", backend.release(ReleaseRequest::default()).await, |()| String::new());
}

#[derive(Default)]
struct Counter {
    lines: AtomicU64,
    steps: AtomicU64,
    last: Mutex<String>,
}

impl Events for Counter {
    fn log(&self, _backend: &str, _level: Level, text: &str) {
        self.lines.fetch_add(1, Ordering::SeqCst);
        *self.last.lock().unwrap() = text.to_owned();
    }

    fn progress(&self, _backend: &str, _text: &str, _done: u64, _total: u64) {
        self.steps.fetch_add(1, Ordering::SeqCst);
    }
}

/// Processes below this one.
fn children() -> usize {
    let me = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let parents = processes.filter_map(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        Some(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned())
    });
    parents.filter(|parent| *parent == me).count()
}
