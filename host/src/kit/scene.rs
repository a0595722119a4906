//! What rules try in: a repository with two worktrees, a configuration that chooses the backend, and the program itself.
//!
//! All of it lies in one directory that goes with the scene. The user's home stays the user's, because engines keep there what
//! they need; the program's own state, cache and configuration are the scene's. Of the user's configuration the backend's
//! table is taken over, and the image: without them many a backend has nothing to start.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use color_eyre::eyre::{Report, Result, WrapErr as _};
use serde_json::{Value, json};
use workmux_plugin_api::{Capability, InstanceInfo, InstanceRequest, InstancesRequest, Manifest, SettingsRequest};

use super::Subject;
use crate::config::{self, Sources};
use crate::launch;
use crate::plugins::{Backend, CallError, Environment, Registry, State};
use crate::routing;
use crate::surroundings::Surroundings;
use crate::tool::{self, Output, ToolError};

/// What one command may take: a first one may have to bring up a machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// What becomes of something may take until it shows.
const SOON: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);
/// In the first worktree: changes as long as something in its sandbox goes on.
const BEAT: &str = "beat";

/// See the module.
pub(super) struct Scene {
    /// What the backend says of itself.
    pub(super) manifest: Manifest,
    /// Its library.
    pub(super) library: PathBuf,
    /// Where everything lies.
    root: tempfile::TempDir,
    executable: PathBuf,
    path: OsString,
    table: Value,
    image: Option<String>,
    /// Instances that were there before, by name.
    before: OnceCell<Vec<String>>,
}

impl Scene {
    pub(super) fn new(subject: &Subject, surroundings: &Surroundings) -> Result<Self> {
        let cache = surroundings.cache.join("kit");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&cache)
            .wrap_err("cannot make a directory to try in")?;
        // What is mounted must be no link and behind none.
        let cache = cache.canonicalize().wrap_err("cannot make a directory to try in")?;
        let root =
            tempfile::Builder::new().prefix("try-").tempdir_in(cache).wrap_err("cannot make a directory to try in")?;
        let library = match subject {
            Subject::Library(path) => path.clone(),
            Subject::Name(name) => {
                let registry = launch::registry()?;
                // Also says why it cannot be used, if it cannot.
                registry.manifest(name).map_err(routing::report)?;
                let found = registry.all().into_iter().find(|one| one.name == *name && one.state == State::Winner);
                found.map(|one| one.path).ok_or_else(|| Report::msg(format!("backend '{name}' has just gone")))?
            }
        };
        let environment = environment(root.path(), &library)?;
        // Somebody who has it tried trusts it, here and as it is now.
        let manifest = Registry::new(environment).confirm(&library).map_err(routing::report)?;
        let (table, image) = theirs(&manifest.name, surroundings);
        let executable = surroundings.executable.clone();
        let scene = Self {
            manifest,
            library,
            root,
            executable,
            path: surroundings.path_variable(),
            table,
            image,
            before: OnceCell::new(),
        };
        scene.furnish()?;
        Ok(scene)
    }

    /// Takes away what of it outlives runs; answers what could not be.
    pub(super) fn clean(&self) -> Vec<String> {
        let all = self.instances().unwrap_or_else(|_| Vec::new());
        all.into_iter()
            .filter_map(|one| self.delete(&one.name, true).err().map(|why| format!("'{}' is left: {why}", one.name)))
            .collect()
    }

    fn furnish(&self) -> Result<()> {
        let main = self.main();
        fs::create_dir_all(main.join("a directory"))?;
        fs::write(main.join("a directory/file"), "committed\n")?;
        fs::write(self.secret(), "secret\n")?;
        self.git(&main, &["init", "--quiet", "--initial-branch=main"])?;
        for (key, value) in [("user.name", "Kit"), ("user.email", "kit@example.org"), ("commit.gpgsign", "false")] {
            self.git(&main, &["config", key, value])?;
        }
        self.git(&main, &["add", "-A"])?;
        self.git(&main, &["commit", "--quiet", "-m", "first"])?;
        for (name, dir) in [("one", self.one()), ("two", self.two())] {
            self.git(&main, &["worktree", "add", "--quiet", "-b", name, &dir.to_string_lossy()])?;
        }
        fs::write(self.two().join("of-the-other"), "secret\n")?;
        fs::create_dir_all(self.mounted())?;
        fs::write(self.mounted().join("file"), "mounted\n")?;
        self.refresh()?;
        // Ours are those that come from now on.
        let all = self.listed().map_err(Report::msg)?;
        let _first = self.before.set(all.into_iter().map(|one| one.name).collect());
        Ok(())
    }

    /// Before each rule: the configuration as it usually is.
    pub(super) fn refresh(&self) -> Result<()> {
        self.configure(json!({}))
    }

    /// With further keys of `sandbox`.
    pub(super) fn configure(&self, more: Value) -> Result<()> {
        let name = &self.manifest.name;
        let mut sandbox = json!({"enabled": true, "backend": name, (name): self.table, "env_passthrough": ["KIT_PASSED"],
            "extra_mounts": [self.mounted()]});
        if let Some(image) = &self.image {
            sandbox["image"] = json!(image);
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            match (&mut sandbox[key], value) {
                (Value::Object(there), Value::Object(more)) => there.extend(more.clone()),
                (there, value) => *there = value.clone(),
            }
        }
        let dir = self.root.path().join("config/workmux");
        fs::create_dir_all(&dir)?;
        // JSON is YAML.
        fs::write(dir.join("config.yaml"), json!({"sandbox": sandbox}).to_string())
            .wrap_err("cannot write a configuration")
    }

    pub(super) fn main(&self) -> PathBuf {
        self.root.path().join("repo")
    }

    /// The worktree that most happens in.
    pub(super) fn one(&self) -> PathBuf {
        self.root.path().join("repo__worktrees/one")
    }

    /// Another one.
    pub(super) fn two(&self) -> PathBuf {
        self.root.path().join("repo__worktrees/two")
    }

    /// A file of the host's that no sandbox is given.
    pub(super) fn secret(&self) -> PathBuf {
        self.root.path().join("secret")
    }

    /// A directory of the host's that every sandbox is given, read-only.
    pub(super) fn mounted(&self) -> PathBuf {
        self.root.path().join("mounted")
    }

    /// What the program keeps.
    pub(super) fn state(&self) -> PathBuf {
        self.root.path().join("state/workmux")
    }

    /// The program.
    pub(super) fn program(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.executable);
        let below = |name: &str| self.root.path().join(name);
        command
            .current_dir(dir)
            .env("PATH", &self.path)
            .env("XDG_CONFIG_HOME", below("config"))
            .env("XDG_STATE_HOME", below("state"))
            .env("XDG_CACHE_HOME", below("cache"))
            .env("WORKMUX_PLUGIN_PATH", self.library.parent().unwrap_or(Path::new("/")))
            .env("KIT_HIDDEN", "hidden")
            .env_remove("TMUX")
            .stdin(Stdio::null());
        command
    }

    /// `workmux sandbox COMMAND -- WORDS`.
    pub(super) fn sandbox(&self, command: &str, dir: &Path, words: &[impl AsRef<OsStr>]) -> Command {
        let mut program = self.program(dir);
        program.args(["sandbox", command, "--"]).args(words);
        program
    }

    /// A shell script in the first worktree, to its end.
    pub(super) fn script(&self, script: &str) -> Result<Output, String> {
        run(&mut self.sandbox("shell", &self.one(), &["sh", "-c", script]), b"")
    }

    /// What a script printed, which has to succeed.
    pub(super) fn says(&self, script: &str) -> Result<String, String> {
        said(&self.script(script)?)
    }

    /// A script that has begun, and said so.
    pub(super) fn begun(&self, script: &str) -> Result<Begun, String> {
        let ready = self.one().join("ready");
        let _none = fs::remove_file(&ready);
        let script = format!(": > ready; {script}");
        let mut command = self.sandbox("shell", &self.one(), &["sh", "-c", &script]);
        let mut begun = self.start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        until(PATIENCE, "a command in a sandbox did not begin", || ready.exists() || begun.is_over())?;
        if ready.exists() { Ok(begun) } else { Err(format!("the command did not begin: {}", begun.end()?)) }
    }

    /// Starts a command of the program's.
    pub(super) fn start(&self, command: &mut Command) -> Result<Begun, String> {
        command.spawn().map(Begun).map_err(|e| e.to_string())
    }

    /// Asks the backend something itself, in this process.
    pub(super) fn ask<A>(
        &self,
        question: impl AsyncFnOnce(&Backend, Value) -> Result<A, CallError>,
    ) -> Result<A, String> {
        let environment = environment(self.root.path(), &self.library).map_err(|e| format!("{e:#}"))?;
        let backend = Registry::new(environment).find(&self.manifest.name).map_err(|e| e.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let answer = runtime.block_on(async {
            let (user, merged) = (self.table.clone(), self.table.clone());
            let settings = backend.settings(SettingsRequest { user, project: json!({}), merged }).await?;
            question(&backend, settings.value).await
        });
        // What hangs in there is not waited for.
        runtime.shutdown_background();
        answer.map_err(|e| e.error.message)
    }

    fn listed(&self) -> Result<Vec<InstanceInfo>, String> {
        if !self.manifest.capabilities.contains(&Capability::Instances) {
            return Ok(Vec::new());
        }
        let all = self.ask(async |backend, settings| backend.list(InstancesRequest { settings }).await)?;
        Ok(all.into_iter().filter(|one| !one.unrecorded).collect())
    }

    /// Instances that came with this scene.
    pub(super) fn instances(&self) -> Result<Vec<InstanceInfo>, String> {
        let before = self.before.get().map_or(&[][..], Vec::as_slice);
        Ok(self.listed()?.into_iter().filter(|one| !before.contains(&one.name)).collect())
    }

    /// Stops one of them.
    pub(super) fn stop(&self, name: &str) -> Result<(), String> {
        let request = |settings| InstanceRequest { settings, name: name.to_owned(), ..InstanceRequest::default() };
        self.ask(async |backend, settings| backend.stop(request(settings)).await)
    }

    /// Deletes one of them.
    pub(super) fn delete(&self, name: &str, force: bool) -> Result<(), String> {
        let name = name.to_owned();
        let request = |settings| InstanceRequest { settings, name, force, unrecorded: false };
        self.ask(async |backend, settings| backend.delete(request(settings)).await)
    }

    /// A part of a script that goes on in the background, and can be seen to.
    pub(super) fn beating() -> String {
        format!("(trap '' HUP INT TERM; i=0; while :; do i=$((i+1)); echo $i > {BEAT}; sleep 0.05; done) & ")
    }

    /// It has stopped, or does so soon.
    pub(super) fn stops_beating(&self) -> Result<(), String> {
        let read = || fs::read(self.one().join(BEAT)).unwrap_or_default();
        let since = Instant::now();
        let (mut last, mut changed) = (read(), Instant::now());
        while changed.elapsed() < Duration::from_secs(1) {
            if since.elapsed() > SOON {
                return Err(format!("something of it still runs {} s later", SOON.as_secs()));
            }
            std::thread::sleep(LOOK);
            let now = read();
            if now != last {
                (last, changed) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// What lies in the program's state, but for logs.
    pub(super) fn kept(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = Vec::new();
        let mut open = vec![self.state().join("runs"), self.state().join("git"), self.state().join("backends")];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(entry.path()),
                    _ => all.push(entry.path()),
                }
            }
        }
        all.sort();
        all
    }

    /// Records of runs.
    pub(super) fn records(&self) -> Vec<Value> {
        let entries = fs::read_dir(self.state().join("runs")).into_iter().flatten().flatten();
        let texts = entries.filter_map(|entry| fs::read(entry.path().join("record.json")).ok());
        texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect()
    }

    /// Git on the host.
    pub(super) fn git(&self, dir: &Path, words: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        command.args(words).current_dir(dir).env("PATH", &self.path).env("GIT_CONFIG_GLOBAL", "/dev/null");
        let output = tool::run(&mut command, b"", tool::QUESTION)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(Report::msg(output.stderr_text()).wrap_err(format!("git {} failed", words.join(" ")))),
        }
    }
}

/// Where the program in this process finds plugins and keeps what it knows of them: as [`Scene::program`] does.
fn environment(root: &Path, library: &Path) -> Result<Environment> {
    let mut environment = Environment::current().wrap_err("cannot tell where plugins are")?;
    environment.state_dir = root.join("state/workmux");
    environment.cache_dir = root.join("cache/workmux");
    let dir = library.parent().unwrap_or(Path::new("/"));
    environment.variables.insert("WORKMUX_PLUGIN_PATH".into(), dir.into());
    Ok(environment)
}

/// A command that runs. Dropped, it is killed.
pub(super) struct Begun(Child);

impl Begun {
    pub(super) fn signal(&self, signal: nix::sys::signal::Signal) {
        let _ended = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id().cast_signed()), signal);
    }

    pub(super) fn is_over(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// Its end, which must come soon.
    pub(super) fn end(&mut self) -> Result<ExitStatus, String> {
        let mut ended = None;
        until(2 * SOON, "the command did not end", || {
            ended = self.0.try_wait().ok().flatten();
            ended.is_some()
        })?;
        ended.ok_or_else(|| "the command did not end".into())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Runs a command to its end.
pub(super) fn run(command: &mut Command, input: &[u8]) -> Result<Output, String> {
    tool::run(command, input, PATIENCE).map_err(|e: ToolError| e.to_string())
}

/// What it printed; it must have succeeded.
pub(super) fn said(output: &Output) -> Result<String, String> {
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("it ended with {}: {}", output.status, output.stderr_text())),
    }
}

/// Waits for something to become so.
pub(super) fn until(patience: Duration, what: &str, mut is: impl FnMut() -> bool) -> Result<(), String> {
    let since = Instant::now();
    while !is() {
        if since.elapsed() > patience {
            return Err(format!("{what} within {} s", patience.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What of the user's configuration a backend needs; nothing where that cannot be read.
fn theirs(backend: &str, surroundings: &Surroundings) -> (Value, Option<String>) {
    let sources = Sources {
        start: surroundings.home.clone(),
        home: surroundings.home.clone(),
        xdg_config_home: Some(surroundings.config_home.clone()),
        ..Sources::default()
    };
    let loaded = config::load(&sources).ok();
    let config = loaded.as_ref().and_then(|loaded| loaded.config(&["sandbox"]).ok());
    let table = config.and_then(|config| config.sandbox.tables.get(backend).cloned()).unwrap_or_else(|| json!({}));
    (table, config.and_then(|config| config.sandbox.image.clone()))
}
