//! What the tests share: a user's world with machines, its faults, and what `limactl` was asked.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use workmux_tests::{Finished, Process, Pty, Run, Sandbox, World, given, wait_until};

/// A world whose sandboxes are in machines. When it goes, `limactl` was never asked to start a machine that nobody made.
pub(crate) struct Scene(World);

impl Scene {
    /// With the configuration that chooses Lima, and no machine yet.
    pub(crate) fn new() -> Self {
        Self::with("", "")
    }

    /// The same with further keys of `sandbox` and of `sandbox.lima`.
    pub(crate) fn with(more: &str, table: &str) -> Self {
        let world = World::on(Sandbox::Lima);
        // The log of calls lies in it.
        world.folder(&world.lima_home());
        world.user_config(&Sandbox::Lima.configuration(more, table));
        Self(world)
    }

    /// With a machine that runs.
    pub(crate) fn warm() -> Self {
        let scene = Self::new();
        scene.shell(&["true"]).run().ok();
        scene
    }

    /// Has Lima's directory elsewhere from now on.
    pub(crate) fn set_lima_home(&mut self, dir: &Path) {
        self.0.set("LIMA_HOME", dir);
    }

    /// Other keys of `sandbox` and of `sandbox.lima`; nothing is started.
    pub(crate) fn reconfigure(&self, more: &str, table: &str) {
        self.user_config(&Sandbox::Lima.configuration(more, table));
    }

    /// The name of the machine; there is one.
    #[track_caller]
    pub(crate) fn machine(&self) -> String {
        let all = self.machines();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }

    /// Its directory.
    pub(crate) fn dir_of(&self, machine: &str) -> PathBuf {
        self.lima_home().join(machine)
    }

    /// What is remembered of it.
    pub(crate) fn remembered(&self, machine: &str) -> PathBuf {
        self.state().join("backends/lima/machines").join(machine)
    }

    /// Its status, as `limactl` says it.
    #[track_caller]
    pub(crate) fn status(&self, machine: &str) -> String {
        self.limactl(&["list", "--format", "{{.Status}}", machine]).ok().stdout.trim().to_owned()
    }

    /// What `limactl list` says of it.
    #[track_caller]
    pub(crate) fn look(&self, machine: &str) -> Value {
        let said = self.limactl(&["list", "--json", machine]).ok().stdout;
        serde_json::from_str(said.trim()).expect("one machine")
    }

    /// What a script prints in a machine itself, as its user, whom no sandbox sees.
    #[track_caller]
    pub(crate) fn outside(&self, machine: &str, script: &str) -> String {
        self.limactl(&["shell", "--workdir", "/", machine, "sh", "-c", script]).ok().stdout
    }

    /// Kills the process that a file of a machine names.
    #[track_caller]
    pub(crate) fn kill(&self, machine: &str, file: &str) {
        let text = self.read(self.dir_of(machine).join(file));
        let pid = Pid::from_raw(text.trim().parse().expect("a number"));
        let process = Process::find(pid).expect("it runs");
        kill(pid, Signal::SIGKILL).expect("it can be killed");
        wait_until("its end", || !process.lives());
    }

    /// With one whose driver died and whose host agent stayed: it is `Broken`.
    pub(crate) fn broken() -> Self {
        let scene = Self::new();
        scene.faults(r#"{"hostagent_outlives_driver": true}"#);
        scene.shell(&["true"]).run().ok();
        scene.mend();
        scene.kill(&scene.machine(), "qemu.pid");
        scene
    }

    /// What goes wrong with every machine.
    pub(crate) fn faults(&self, json: &str) {
        self.write(self.lima_home().join("_fake.json"), json);
    }

    /// Nothing does any more.
    pub(crate) fn mend(&self) {
        self.faults("{}");
    }

    /// The words of each call of `limactl` so far.
    pub(crate) fn calls(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.lima_home().join("_fake.log")).unwrap_or_default();
        let words = |line: &str| -> Vec<String> {
            let call: Value = serde_json::from_str(line).expect("an object on each line");
            serde_json::from_value(call["argv"].clone()).expect("words")
        };
        text.lines().map(words).collect()
    }

    /// How often it was called with this command.
    pub(crate) fn count(&self, command: &str) -> usize {
        self.calls().iter().filter(|words| words.first().is_some_and(|word| word == command)).count()
    }

    /// What followed this command in each of its calls.
    pub(crate) fn asked(&self, command: &str) -> Vec<String> {
        let all = self.calls().into_iter();
        all.filter(|words| words.first().is_some_and(|word| word == command))
            .map(|words| words[1..].join(" "))
            .collect()
    }

    /// A run that was refused: with one error, and nothing of it is left.
    #[track_caller]
    pub(crate) fn refused(&self, run: Finished) -> Finished {
        let run = run.code(125);
        assert_eq!(run.stderr.matches("Error: ").count(), 1, "{run}");
        self.wait_until_clean();
        run
    }

    /// The subject of the last commit in a checkout.
    #[track_caller]
    pub(crate) fn last_commit(&self, dir: &Path) -> String {
        self.git(dir, &["log", "-1", "--format=%s"]).ok().stdout.trim_end().to_owned()
    }

    /// Another repository of the user's, of one commit.
    pub(crate) fn repository(&self, below: &str) -> PathBuf {
        let dir = self.home().join(below);
        self.folder(&dir);
        self.git(&dir, &["init", "--quiet", "--initial-branch=main"]).ok();
        self.git(&dir, &["commit", "--quiet", "--allow-empty", "--message=first"]).ok();
        dir
    }

    /// A machine for another repository.
    #[track_caller]
    pub(crate) fn second(&self) -> String {
        self.another("second").1
    }

    /// Another repository with a machine that runs: its checkout, and the machine's name.
    #[track_caller]
    pub(crate) fn another(&self, below: &str) -> (PathBuf, String) {
        let before = self.machines();
        let dir = self.repository(below);
        self.shell(&["true"]).dir(&dir).run().ok();
        let name = self.machines().into_iter().find(|name| !before.contains(name)).expect("a machine of its own");
        (dir, name)
    }

    /// A machine that somebody made with `limactl`.
    #[track_caller]
    pub(crate) fn made_by_hand(&self, name: &str) {
        self.write(self.home().join("image"), "");
        let template = self.home().join("by-hand.yaml");
        self.write(&template, format!("images: [{{location: '{}'}}]\n", self.home().join("image").display()));
        self.limactl(&["create", "--tty=false", "--name", name, template.to_str().expect("UTF-8")]).ok();
    }

    /// `workmux sandbox COMMAND` for Lima's machines alone.
    pub(crate) fn on(&self, command: &str, words: &[&str]) -> Run {
        self.workmux(&["sandbox", command, "--backend", "lima"]).args(words)
    }

    /// The same to its end.
    pub(crate) fn stop(&self, words: &[&str]) -> Finished {
        self.on("stop", words).run()
    }

    /// The same for `prune`.
    pub(crate) fn prune(&self, words: &[&str]) -> Finished {
        self.on("prune", words).run()
    }

    /// The same on a terminal.
    pub(crate) fn on_pty(&self, command: &str, words: &[&str]) -> Pty {
        Pty::start(self.on(command, words))
    }

    /// The answer of a command with `--json`.
    #[track_caller]
    pub(crate) fn instances(&self, finished: &Finished) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}\n{finished}"));
        answer["instances"].as_array().unwrap_or_else(|| panic!("no instances\n{finished}")).clone()
    }

    /// A `limactl` of the test's own: a shell script, in which `$REAL` is the stand-in. The search path that has it first.
    pub(crate) fn instead(&self, script: &str) -> String {
        let folder = self.home().join("instead");
        let program = folder.join("limactl");
        let real = given().limactl.as_ref().expect("the engine was asked for");
        self.write(&program, format!("#!/bin/sh\nREAL='{}'\n{script}\n", real.display()));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        format!("{}:{}", folder.display(), Self::path_without())
    }

    /// A search path without `limactl`.
    pub(crate) fn path_without() -> &'static str {
        "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    }
}

impl Deref for Scene {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut made: Vec<String> = Vec::new();
        for words in self.calls() {
            let named = |at: usize| words.get(at).and_then(|word| word.strip_prefix("--name=")).map(str::to_owned);
            let named = (1..words.len()).find_map(named);
            let apart = words.iter().position(|word| word == "--name").and_then(|at| words.get(at + 1)).cloned();
            match words.first().map(String::as_str) {
                Some("create") => made.extend(named.or(apart)),
                Some("start") => {
                    let name = words.last().expect("a word");
                    assert!(made.contains(name), "'{name}' was never made, and started: {words:?}");
                }
                _ => {}
            }
        }
    }
}

/// Every file of a machine that says what it does.
pub(crate) fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().symlink_metadata().is_ok()
}
