//! Sandboxes come and go: several at once, many after each other, ended at any moment, killed with their supervisor.

use std::time::Duration;

use nix::sys::signal::Signal;
use workmux_plugin_api::{Instance, ReleaseRequest};

use crate::kit::Verdict;
use crate::kit::scene::{Scene, run, said, until};

/// Moments of a start, in milliseconds after it.
const MOMENTS: [u64; 8] = [0, 5, 15, 30, 60, 100, 200, 400];
const AGAIN: usize = 5;
const SOON: Duration = Duration::from_secs(15);

/// Nothing is left of any run.
fn nothing_left(scene: &Scene) -> Result<(), String> {
    match scene.records().len() {
        0 => Ok(()),
        left => Err(format!("{left} records of runs are left")),
    }
}

pub(super) fn interrupted(scene: &Scene) -> Verdict {
    let try_it = || {
        for moment in MOMENTS {
            let mut command = scene.sandbox("shell", &scene.one(), &["sleep", "1000"]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            let mut begun = scene.start(&mut command)?;
            std::thread::sleep(Duration::from_millis(moment));
            begun.signal(Signal::SIGTERM);
            begun.end().map_err(|why| format!("ended after {moment} ms: {why}"))?;
        }
        scene.says("true")?;
        nothing_left(scene)
    };
    try_it().into()
}

pub(super) fn together(scene: &Scene) -> Verdict {
    let try_it = || {
        let mut first = scene.begun("sleep 1000")?;
        let words = ["sh", "-c", "cat ready of-the-other; ls"];
        let output = run(&mut scene.sandbox("shell", &scene.two(), &words), b"")?;
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        if first.is_over() {
            return Err("the first ended when the second one did".into());
        }
        first.signal(Signal::SIGTERM);
        first.end()?;
        if !seen.contains("secret\n") || seen.contains("ready") {
            return Err(format!("the second one saw '{seen}': {}", output.stderr_text()));
        }
        nothing_left(scene)
    };
    try_it().into()
}

pub(super) fn many(scene: &Scene) -> Verdict {
    let try_it = || {
        scene.says("true")?;
        let once = scene.kept();
        for _ in 0..AGAIN {
            scene.says("true")?;
        }
        let more: Vec<_> = scene.kept().into_iter().filter(|path| !once.contains(path)).collect();
        match more.first() {
            None => nothing_left(scene),
            Some(first) => Err(format!("{} more files are kept, such as '{}'", more.len(), first.display())),
        }
    };
    try_it().into()
}

pub(super) fn killed(scene: &Scene) -> Verdict {
    if let Some(verdict) = super::sight::open(scene) {
        return verdict;
    }
    let try_it = || {
        let mut begun = scene.begun(&format!("{} sleep 1000", Scene::beating()))?;
        begun.signal(Signal::SIGKILL);
        begun.end()?;
        scene.stops_beating()?;
        let text = said(&scene.script("echo again")?)?;
        if text != "again\n" {
            return Err(format!("the next command said '{text}'"));
        }
        until(SOON, "the record of the killed run did not go", || scene.records().is_empty())
    };
    try_it().into()
}

pub(super) fn released(scene: &Scene) -> Verdict {
    let try_it = || {
        let mut begun = scene.begun("sleep 1000")?;
        let record = scene.records().into_iter().next().ok_or("there is no record of the run")?;
        begun.signal(Signal::SIGKILL);
        begun.end()?;
        let instance: Instance = serde_json::from_value(record["instance"].clone()).map_err(|e| e.to_string())?;
        let run = record["run"].as_str().unwrap_or_default().to_owned();
        let settings = record["settings"].clone();
        let request = ReleaseRequest { settings, instance, run, ended: false };
        for time in ["first", "second"] {
            let request = request.clone();
            let done = scene.ask(async |backend, _settings| backend.release(request).await);
            done.map_err(|why| format!("the {time} time: {why}"))?;
        }
        scene.says("true")?;
        until(SOON, "the record of the killed run did not go", || scene.records().is_empty())
    };
    try_it().into()
}
