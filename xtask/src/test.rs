//! `cargo xtask test`: every test there is, against programs built a moment ago.
//!
//! End-to-end tests learn from the environment what to drive and as whom (`tests/src/given.rs`): the paths come from
//! here and nowhere else, so no test can pick up an older program.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::build::{self, Profile};
use crate::engines::Engines;
use crate::install;
use crate::ledger::{Floors, Ledger, Totals};
use crate::scratch::Scratch;
use crate::setup::{self, Consent};
use crate::workspace::{Workspace, cargo};
use crate::{Result, in_ci, process, stamp};

/// The task.
pub(crate) fn run(workspace: &Workspace, consent: Consent, filter: Option<&str>) -> Result<()> {
    let ready = setup::prepare(consent, &setup::tests())?;
    let ready = if in_ci() { ready.complete()? } else { ready };
    let scratch = Scratch::open()?;
    let mut steps = Steps::default();

    // Taken before the build: sources that change while it runs make its result stale.
    let stamp = stamp::of_sources(&workspace.root).map_err(|e| format!("could not read the sources: {e}"))?;
    let product = steps.time("build", || build::make(workspace, Profile::Test))?;
    let stage = scratch.folder("stage")?;
    install::lay_out(workspace, &product, &stage)?;
    for library in &product.others {
        install::put(library, &stage.join("other").join(library.file_name().unwrap_or_default()), 0o644)?;
    }
    // In a folder of its own, which a test puts on the search path.
    let limactl = stage.join("doubles/limactl");
    install::put(product.limactl.as_deref().ok_or("cargo built no program 'fake-limactl'")?, &limactl, 0o755)?;
    let engines = steps.time("engines", || Engines::prepare(&scratch, &ready.account));
    let ledger = scratch.path("ledger");
    let _absent = std::fs::remove_file(&ledger);

    let mut tests = undisturbed(cargo());
    tests.args(["test", "--workspace", "--no-fail-fast"]).args(build::test_features(workspace));
    tests.arg("--target-dir").arg(build::test_target(workspace));
    tests.args(["--"].into_iter().chain(filter));
    tests.env("WORKMUX_TEST_BIN", stage.join("bin/workmux")).env("WORKMUX_TEST_STAMP", &stamp);
    tests.env("WORKMUX_TEST_GUEST", stage.join("lib/workmux/guest").join(workspace.arch()).join("workmux"));
    tests.env("WORKMUX_TEST_OTHER_PLUGINS", stage.join("other")).env("WORKMUX_TEST_LEDGER", &ledger);
    tests.env("WORKMUX_TEST_LIMACTL_DOUBLE", &limactl);
    if ready.account.borrowed {
        tests.env("WORKMUX_TEST_USER", &ready.account.name);
    }
    tests.env("WORKMUX_TEST_DIR", scratch.folder("worlds")?);
    tests.env("WORKMUX_TEST_ENGINES", engines.describe());
    if in_ci() {
        let release = steps.time("release build", || stage_release(workspace, &scratch))?;
        tests.env("WORKMUX_TEST_RELEASE", release);
    }
    let (passed, totals) = steps.time("tests", || show_and_count(&mut tests))?;
    let mut faults = Vec::new();
    if !passed {
        faults.push(format!("{} test(s) failed", totals.failed));
    }
    if filter.is_none() {
        faults.extend(steps.time("each package alone", || alone(workspace))?);
    }

    let ledger = Ledger::parse(&std::fs::read_to_string(&ledger).unwrap_or_default());
    println!("\n{} passed, {} failed; on engines:\n{ledger}{steps}", totals.passed, totals.failed);
    if std::env::var_os("WORKMUX_TEST_LIMACTL").is_none() {
        println!("contract(real limactl): NOT RUN (WORKMUX_TEST_LIMACTL names none)");
    }
    if !ready.missing.is_empty() {
        println!("to run what was skipped: {}", setup::install_line(&ready.missing).unwrap_or_default());
    }
    if totals.ignored > 0 {
        faults.push(format!("{} test(s) are ignored; there is no such thing here", totals.ignored));
    }
    if filter.is_none() {
        faults.extend(short_of_floors(workspace, &ledger, &totals)?);
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n       ")) }
}

/// The floors that this run did not reach. A machine without an engine cannot, and was told so; CI must.
fn short_of_floors(workspace: &Workspace, ledger: &Ledger, totals: &Totals) -> Result<Vec<String>> {
    let path = workspace.root.join("tests/expected.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("'{}': {e}", path.display()))?;
    let floors = Floors::parse(&text)?;
    if !in_ci() && !ledger.skipped().is_empty() {
        return Ok(vec![]);
    }
    Ok(ledger.below(&floors).into_iter().chain(floors.total_short(totals)).collect())
}

/// Builds what users get and installs it where a test looks at it.
fn stage_release(workspace: &Workspace, scratch: &Scratch) -> Result<PathBuf> {
    let product = build::make(workspace, Profile::Release)?;
    let prefix = scratch.path("stage").join("release");
    install::lay_out(workspace, &product, &prefix)?;
    Ok(prefix)
}

/// Whether each package that third parties copy or depend on compiles with only the features it asks for itself.
fn alone(workspace: &Workspace) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for package in ["plugins", "examples", "plugin-api", "guest"].into_iter().flat_map(|f| workspace.below(f)) {
        if process::run(cargo().args(["check", "--quiet", "-p", &package.name])).is_err() {
            faults.push(format!("'{}' does not compile alone: cargo check -p {0}", package.name));
        }
    }
    Ok(faults)
}

/// Runs cargo's tests on our terminal and adds up what they say.
fn show_and_count(command: &mut Command) -> Result<(bool, Totals)> {
    let child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn();
    let mut child = child.map_err(|e| format!("could not start {}: {e}", process::shown(command)))?;
    let mut totals = Totals::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|e| format!("lost the tests: {e}"))?;
            let line = String::from_utf8_lossy(&line);
            totals.read(&line);
            println!("{line}");
        }
    }
    let status = child.wait().map_err(|e| format!("lost the tests: {e}"))?;
    Ok((status.success(), totals))
}

/// The same command with every signal as a login leaves it: what a shell starts in the background ignores Ctrl-C, and
/// so would all that tests start.
fn undisturbed(plain: Command) -> Command {
    if !process::succeeds(Command::new("env").args(["--default-signal", "true"])) {
        return plain;
    }
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(plain.get_program()).args(plain.get_args());
    if let Some(folder) = plain.get_current_dir() {
        command.current_dir(folder);
    }
    command
}

/// How long each step took.
#[derive(Default)]
struct Steps(Vec<(&'static str, f32)>);

impl Steps {
    fn time<T>(&mut self, name: &'static str, step: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = step();
        self.0.push((name, started.elapsed().as_secs_f32()));
        result
    }
}

impl std::fmt::Display for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "time:")?;
        for (name, seconds) in &self.0 {
            write!(f, " {name} {seconds:.0} s;")?;
        }
        writeln!(f)
    }
}
