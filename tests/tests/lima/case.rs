//! What the tests share: machines in every state, what the stand-in was asked to do, and what goes wrong with it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use serde_json::{Value, json};
use workmux_tests::{Finished, Process, Run, Sandbox, World, wait_until};

/// A world whose user chose Lima. There is no machine yet.
pub(crate) fn cold() -> World {
    let world = World::on(Sandbox::Lima);
    world.user_config(&Sandbox::Lima.configuration("", ""));
    world.folder(&world.lima_home());
    world
}

/// The same, and the machine of its repository runs.
pub(crate) fn warm() -> (World, String) {
    let world = cold();
    world.shell(&["true"]).run().ok();
    let name = only_machine(&world);
    (world, name)
}

/// The one machine that there is.
#[track_caller]
pub(crate) fn only_machine(world: &World) -> String {
    let mut all = world.machines();
    assert_eq!(all.len(), 1, "{all:?}");
    all.pop().unwrap()
}

/// Another repository of the user's, with a machine that runs: its checkout and the machine's name.
pub(crate) fn another(world: &World, project: &str) -> (PathBuf, String) {
    let before = world.machines();
    let main = world.home().join(project);
    world.folder(&main);
    world.git(&main, &["init", "--quiet"]).ok();
    world.git(&main, &["commit", "--quiet", "--allow-empty", "--message=first"]).ok();
    world.shell(&["true"]).dir(&main).run().ok();
    let name = world.machines().into_iter().find(|name| !before.contains(name)).expect("a new machine");
    assert!(name.starts_with(&format!("wm-{project}-")), "{name}");
    (main, name)
}

/// A machine that somebody made by hand. It does not run.
pub(crate) fn by_hand(world: &World, name: &str) {
    let template = world.home().join("by-hand.yaml");
    world.write(&template, "images: [{location: 'https://images.invalid/x'}]\n");
    world.limactl(&["create", "--tty=false", "--name", name, template.to_str().unwrap()]).ok();
}

/// What the stand-in tells of a machine.
#[track_caller]
pub(crate) fn look(world: &World, name: &str) -> Value {
    let said = world.limactl(&["list", "--json", name]).ok().stdout;
    serde_json::from_str(said.lines().last().unwrap()).expect("one machine")
}

#[track_caller]
pub(crate) fn status(world: &World, name: &str) -> String {
    look(world, name)["status"].as_str().expect("a status").to_owned()
}

pub(crate) fn wait_for_status(world: &World, name: &str, wanted: &str) {
    wait_until(&format!("'{name}' to be '{wanted}'"), || status(world, name) == wanted);
}

/// The process that a file of a machine names: `ha.pid` or `qemu.pid`.
#[track_caller]
pub(crate) fn process(world: &World, name: &str, file: &str) -> Process {
    let text = world.read(world.lima_home().join(name).join(file));
    Process::find(Pid::from_raw(text.trim().parse().expect("a number"))).expect("the process runs")
}

/// Leaves a machine without its host agent: it is broken.
pub(crate) fn break_it(world: &World, name: &str) {
    kill(&process(world, name, "ha.pid"));
    wait_for_status(world, name, "Broken");
}

pub(crate) fn kill(process: &Process) {
    nix::sys::signal::kill(process.pid, nix::sys::signal::Signal::SIGKILL).expect("it is there");
    wait_until("a killed process to be gone", || !process.lives());
}

/// Has things go wrong with one machine.
pub(crate) fn fault(world: &World, name: &str, faults: &Value) {
    world.write(world.lima_home().join(name).join("fake.json"), faults.to_string());
}

/// Has things go wrong with all machines, also those that are not there yet.
pub(crate) fn faults(world: &World, faults: &Value) {
    world.write(world.lima_home().join("_fake.json"), faults.to_string());
}

/// Nothing goes wrong any more.
pub(crate) fn mended(world: &World) {
    faults(world, &json!({}));
}

/// The words of each call of this command of `limactl`, in their order.
pub(crate) fn calls(world: &World, command: &str) -> Vec<Vec<String>> {
    let log = fs::read_to_string(world.lima_home().join("_fake.log")).unwrap_or_default();
    let words = |line: &str| -> Vec<String> {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        line["argv"].as_array().expect("words").iter().map(|word| word.as_str().expect("text").to_owned()).collect()
    };
    log.lines().map(words).filter(|words| words.first().is_some_and(|first| first == command)).collect()
}

/// Each `limactl start` was of a machine that had been made before: of an unknown name it would make one of its own.
#[track_caller]
pub(crate) fn assert_no_unknown_start(world: &World) {
    let log = fs::read_to_string(world.lima_home().join("_fake.log")).unwrap_or_default();
    let mut made: Vec<String> = Vec::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let words: Vec<&str> = line["argv"].as_array().expect("words").iter().filter_map(Value::as_str).collect();
        match words.first() {
            Some(&"create") => {
                made.extend(words.iter().filter_map(|word| Some(word.strip_prefix("--name=")?.to_owned())))
            }
            Some(&"start") => {
                let name = words.last().expect("a name");
                assert!(made.iter().any(|one| one == name), "'{name}' was started, and only these were made: {made:?}");
            }
            _ => {}
        }
    }
}

/// `workmux sandbox COMMAND WORDS`, of Lima's backend alone.
pub(crate) fn lima(world: &World, command: &str, words: &[&str]) -> Run {
    world.workmux(&["sandbox", command, "--backend", "lima"]).args(words)
}

/// What the two commands about machines say that they would act on.
#[track_caller]
pub(crate) fn listed(world: &World, command: &str, words: &[&str]) -> Vec<Value> {
    let run = lima(world, command, &[&["--dry-run", "--json"], words].concat()).run().ok();
    let answer: Value = serde_json::from_str(&run.stdout).expect("JSON");
    answer["instances"].as_array().expect("a list").clone()
}

/// What the backend keeps of a machine.
pub(crate) fn kept(world: &World, name: &str) -> PathBuf {
    world.state().join("backends/lima/machines").join(name)
}

/// A `limactl` of the test's own before the stand-in: `script` is shell text, in which `real` is the stand-in.
pub(crate) fn wrapped(world: &mut World, script: &str) {
    let real = world.given().limactl.clone().expect("the engine was asked for");
    let script = format!(
        "#!/bin/sh\nreal={}\n{script}\nexec \"$real\" \"$@\"\n",
        workmux_tests::quoted(&real.display().to_string())
    );
    world.put_program("limactl", &script);
}

/// A search path on which there is no `limactl`: only what git and shells need.
pub(crate) fn without_limactl(world: &World) -> String {
    let folder = world.home().join("few");
    if folder.exists() {
        return folder.display().to_string();
    }
    for program in ["git", "sh", "env", "ssh", "cat"] {
        world.link_program(&folder, program);
    }
    folder.display().to_string()
}

/// What this program said itself, without the progress of a start.
pub(crate) fn remarks(finished: &Finished) -> Vec<&str> {
    let progress = ["workmux: making machine", "workmux: starting machine", "workmux: new machine"];
    finished.stderr.lines().filter(|line| !progress.iter().any(|start| line.starts_with(start))).collect()
}

/// An error of ours: code 125, one message, and nothing left of the run.
#[track_caller]
pub(crate) fn refused(world: &World, finished: Finished) -> Finished {
    let finished = finished.code(125);
    let errors = finished.stderr.lines().filter(|line| line.starts_with("Error: ")).count();
    assert_eq!(errors, 1, "{finished}");
    assert!(finished.stderr.lines().count() <= 24, "{finished}");
    world.wait_until_clean();
    finished
}

/// The subject of a branch's last commit.
pub(crate) fn last_commit(world: &World, dir: &Path) -> String {
    world.git(dir, &["log", "-1", "--format=%s"]).ok().stdout.trim_end().to_owned()
}
