//! A user whose agents do as they are told: an agent's prompt is its script. Here are also the looks at what is left.

#![expect(clippy::print_stderr, reason = "why a test failed is in what its agents printed")]

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;

use serde_json::Value;
use workmux_tests::{Finished, PATIENCE, Run, Sandbox, World, dial, wait_for, wait_until};

/// One test on bubblewrap, one on docker and one on Lima, for functions that take a kind of sandbox: what is decided on
/// the host is the same for every engine.
macro_rules! on_each {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            crate::spawn::scene::on!($name, bubblewrap Bubblewrap, docker Docker, lima Lima);
        }
    )+};
}
pub(crate) use on_each;

/// The same without Lima, whose sandboxes are never without a network.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            crate::spawn::scene::on!($name, bubblewrap Bubblewrap, docker Docker);
        }
    )+};
}
pub(crate) use on_both;

macro_rules! on {
    ($name:ident, $($test:ident $sandbox:ident),+) => {$(
        #[test]
        fn $test() {
            if workmux_tests::Sandbox::$sandbox.is_ready() {
                super::$name(workmux_tests::Sandbox::$sandbox);
            }
        }
    )+};
}
pub(crate) use on;

/// What follows the sandbox in the user's configuration: an agent that runs its prompt.
pub(crate) const OBEDIENT: &str = "agent: \"sh -c 'eval \\\"$2\\\"' run\"\n";

/// A world of obedient agents without a network.
pub(crate) fn scene(on: Sandbox) -> World {
    scene_with(on, "", OBEDIENT)
}

/// A world without a network, with further keys of `sandbox`, and with the rest of the user's configuration.
pub(crate) fn scene_with(on: Sandbox, sandbox: &str, rest: &str) -> World {
    let world = World::on(on);
    // Over TCP there is no conversation without a network.
    let policy = if on == Sandbox::DockerTcp { "allow" } else { "deny" };
    let comma = if sandbox.is_empty() { "" } else { ", " };
    world.user_config(&(on.configuration(&format!("network: {{ policy: {policy} }}{comma}{sandbox}"), "") + rest));
    // What puppets and tests put beside the work.
    world.write(world.main().join(".gitignore"), "/.ask\n/.said*\n*.ignored\n");
    world.git(&world.main(), &["add", ".gitignore"]).ok();
    world.git(&world.main(), &["commit", "--quiet", "--message=ignore"]).ok();
    world.warm_up();
    world
}

/// The script of a [`Puppet`].
pub(crate) const PUPPET: &str = "mkfifo .ask; while :; do . ./.ask > .said-so-far 2>&1; mv .said-so-far .said; done";

/// An agent that runs what the test tells it to, for as long as it lives.
pub(crate) struct Puppet(PathBuf);

impl Puppet {
    /// The user's own, in a worktree of this name.
    pub(crate) fn new(world: &World, name: &str) -> Self {
        Self::by(world, name, world.workmux(&[]))
    }

    /// The same, asked for by this run of the program.
    pub(crate) fn by(world: &World, name: &str, run: Run) -> Self {
        run.args(["add", name, "-S", "-b", "-p", PUPPET]).run().ok();
        Self::of(world, name)
    }

    /// Another one, whom somebody has asked for.
    pub(crate) fn of(world: &World, name: &str) -> Self {
        Self(tree(world, name))
    }

    /// Another one, whom this one asks for.
    pub(crate) fn add(&self, world: &World, name: &str) -> Self {
        let said = self.does(&format!("workmux add {name} -p '{PUPPET}'"));
        assert_eq!(said, format!("✓ Spawned agent: {name}\n"));
        Self::of(world, name)
    }

    /// What a script prints, errors as well.
    pub(crate) fn does(&self, script: &str) -> String {
        let (ask, said) = (self.0.join(".ask"), self.0.join(".said"));
        wait_until("a puppet to listen", || ask.exists());
        let (send, told) = mpsc::channel();
        let script = script.to_owned();
        // Waits for the other end, so not here.
        std::thread::spawn(move || _ = send.send(fs::write(ask, script)));
        told.recv_timeout(PATIENCE).expect("a puppet that listens in time").expect("it can be told");
        let text = wait_for("what a puppet says", || fs::read_to_string(&said).ok());
        fs::remove_file(said).expect("it was there");
        text
    }

    /// As [`Self::does`], again and again while it has asked for too much at once.
    pub(crate) fn does_in_time(&self, script: &str) -> String {
        wait_for("fewer requests", || Some(self.does(script)).filter(|said| !said.contains("slow down")))
    }

    /// What the host answers to these requests of its.
    pub(crate) fn asks(&self, requests: &[Value]) -> Vec<Value> {
        let lines: Vec<String> = requests.iter().map(Value::to_string).collect();
        let dial = dial(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let said = self.does(&format!("bash -c {}", workmux_tests::quoted(&dial)));
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}"))).collect()
    }
}

/// A script in a sandbox with RPC.
pub(crate) fn guest(world: &World, script: &str) -> Run {
    world.agent(&["bash", "-c", script])
}

/// What the host answers to these requests of a guest in `run`'s sandbox.
pub(crate) fn answers(run: Run) -> Vec<Value> {
    let finished = run.run().ok();
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{finished}"))).collect()
}

/// Raw requests, for [`answers`].
pub(crate) fn requests(world: &World, requests: &[Value]) -> Run {
    let lines: Vec<String> = requests.iter().map(Value::to_string).collect();
    guest(world, &dial(&lines.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// An answer's code, or its type.
pub(crate) fn code(answer: &Value) -> &str {
    answer["code"].as_str().or(answer["type"].as_str()).unwrap_or_default()
}

/// Where the worktree of this handle lies.
pub(crate) fn tree(world: &World, handle: &str) -> PathBuf {
    world.home().join("project__worktrees").join(handle)
}

/// The branches, sorted.
pub(crate) fn branches(world: &World) -> Vec<String> {
    lines(&world.git(&world.main(), &["branch", "--format=%(refname:short)"]).ok())
}

/// The subjects of a branch's commits, newest first, without those of merges.
pub(crate) fn subjects(world: &World, branch: &str) -> Vec<String> {
    lines(&world.git(&world.main(), &["log", "--no-merges", "--format=%s", branch, "--"]).ok())
}

fn lines(finished: &Finished) -> Vec<String> {
    finished.stdout.lines().map(str::to_owned).collect()
}

/// The directories of the worktrees' records.
pub(crate) fn records(world: &World) -> Vec<PathBuf> {
    let found = fs::read_dir(world.state().join("worktrees")).into_iter().flatten().flatten();
    found.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The directory of one worktree's record.
pub(crate) fn record(world: &World, handle: &str) -> PathBuf {
    let fits = |path: &PathBuf| json(world, path.join("record.json"))["handle"] == handle;
    records(world).into_iter().find(fits).unwrap_or_else(|| panic!("there is no record of '{handle}'"))
}

/// A file of JSON.
pub(crate) fn json(world: &World, path: PathBuf) -> Value {
    serde_json::from_str(&world.read(path)).expect("JSON")
}

/// Everything that a spawn makes: branches, worktrees, directories, records, settings.
pub(crate) fn traces(world: &World) -> Vec<String> {
    let listed = |folder: PathBuf| -> Vec<String> {
        let found = fs::read_dir(&folder).into_iter().flatten().flatten();
        found.map(|entry| entry.path().display().to_string()).collect()
    };
    let mut all = branches(world);
    all.extend(lines(&world.git(&world.main(), &["worktree", "list", "--porcelain"]).ok()));
    // What is kept about runs lies in hidden ones.
    all.extend(listed(world.home().to_owned()).into_iter().filter(|path| !path.contains("/.")));
    all.extend(listed(world.home().join("project__worktrees")));
    all.extend(records(world).iter().map(|path| path.display().to_string()));
    all.push(world.read(world.git_dir().join("config")));
    all.sort();
    all
}

/// The lines of the journal.
pub(crate) fn journal(world: &World) -> Vec<Value> {
    let text = fs::read_to_string(world.state().join("journal.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Tells what a world's agents printed and what the host noted of them, where the test that holds it fails.
pub(crate) struct Witness<'w>(pub(crate) &'w World);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let logs = records(self.0).into_iter().map(|record| record.join("terminal/log"));
        for file in logs.chain(["workmux.log", "journal.jsonl"].map(|name| self.0.state().join(name))) {
            let text = fs::read(&file).unwrap_or_default();
            eprintln!("--- {}\n{}", file.display(), String::from_utf8_lossy(&text));
        }
    }
}
