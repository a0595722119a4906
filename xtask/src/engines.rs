//! The container engines that tests run on: a docker daemon of our own, podman as root and podman as the ordinary user,
//! each with the test image in its store. Everything lies below the scratch folder; nothing in `/etc` is written.
//!
//! Root starts what is missing. An ordinary user's tests use the engines that answer already, if they have the image.
//! An engine that cannot be had is named with the reason; its tests are then skipped, or fail in CI.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::account::{Account, own_uid};
use crate::scratch::Scratch;
use crate::{Result, process};

/// The image of all tests: a small Debian with git, made from the machine's own package sources. Another recipe needs
/// another tag: stores keep the image from one run to the next.
const IMAGE: &str = "workmux-test/base:2";
/// What is in it besides the essential packages.
const PACKAGES: &str = "git,procps,ca-certificates";
/// What an image says to its containers.
const SAYS: &str = "ENV IMAGE_SAYS=hello";
/// What images are built on, under the names it has in stores: the release that the recipes name, made from the
/// machine's own package sources, because a registry need not be reachable.
const SLIM: [(&str, &str); 2] = [("docker", "debian:trixie-slim"), ("podman", "docker.io/library/debian:trixie-slim")];
const SLIM_RELEASE: &str = "trixie";
/// The machine's list of authorities, which may know one that a fresh system does not.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The bridge of our docker daemon, which leaves another daemon's alone, and its address.
const BRIDGE: &str = "wmtest0";
const BRIDGE_ADDRESS: &str = "10.213.77.1/24";
/// Where podman keeps the helpers that make networks.
const NETAVARK: &str = "/usr/lib/podman/netavark";
/// What making the image may take on a slow machine.
const IMAGE_DEADLINE: Duration = Duration::from_secs(600);
const ENGINE_DEADLINE: Duration = Duration::from_secs(300);

/// Programs of the engines, and the Debian packages that bring them.
pub(crate) const PROGRAMS: crate::setup::Programs = &[
    ("/usr/sbin/dockerd", "docker.io"),
    ("podman", "podman"),
    ("runc", "runc"),
    ("newuidmap", "uidmap"),
    ("slirp4netns", "slirp4netns"),
    (NETAVARK, "netavark"),
    ("mmdebstrap", "mmdebstrap"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
];

/// The engines, for as long as this lives.
pub(crate) struct Engines {
    dockerd: Option<Child>,
    pause: Option<PathBuf>,
    /// What the tests are told.
    description: Value,
}

/// An engine that works.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) runtime: String,
    pub(crate) image: String,
    /// What finds it.
    pub(crate) env: Vec<(String, String)>,
}

impl Engines {
    /// Makes ready what can be made ready.
    pub(crate) fn prepare(scratch: &Scratch, account: &Account) -> Self {
        let mut engines = Self { dockerd: None, pause: None, description: json!({}) };
        if own_uid() != 0 {
            engines.find_ready_ones();
        } else if let Err(problem) = engines.set_up(&scratch.path("engines"), account) {
            let all =
                [("docker", "docker"), ("docker-tcp", "docker"), ("podman", "podman"), ("podman-rootless", "podman")];
            for (name, runtime) in all {
                engines.add(name, runtime, name == "podman", json!({}), Err(problem.clone()));
            }
        }
        engines
    }

    fn set_up(&mut self, folder: &Path, account: &Account) -> Result<()> {
        folder_of(folder, None)?;
        let images = std::thread::scope(|scope| {
            let slim = scope.spawn(|| slim(folder));
            let image = image(folder)?;
            Ok::<_, String>([image, slim.join().unwrap_or(Err("making an image panicked".into()))?])
        })?;
        let files = configure(folder, account)?;
        let socket = folder.join("docker.sock");
        let docker = json!({"DOCKER_HOST": format!("unix://{}", socket.display())});
        let root = json!({
            "CONTAINERS_CONF": files.conf, "CONTAINERS_STORAGE_CONF": files.root_storage,
            "CONTAINERS_REGISTRIES_CONF": files.registries,
        });
        let user = json!({
            "CONTAINERS_CONF": files.conf, "CONTAINERS_STORAGE_CONF": files.user_storage,
            "CONTAINERS_REGISTRIES_CONF": files.registries, "XDG_RUNTIME_DIR": files.user_runtime,
        });
        self.pause = Some(files.user_runtime.join("libpod/tmp/pause.pid"));
        let shared = process::succeeds(Command::new("docker").env_remove("DOCKER_HOST").arg("version"));
        let daemon = start_docker(folder, &socket, account, shared).map(|daemon| self.dockerd = Some(daemon));
        // Imports take the longest, and each engine has a store of its own.
        let load = |engine, env: &Value, who: Option<(&Account, &PathBuf)>| load(engine, env, who, &images);
        let loaded = std::thread::scope(|scope| {
            let docker = scope.spawn(|| daemon.and_then(|()| load("docker", &docker, None)));
            let root = scope.spawn(|| load("podman", &root, None));
            let user = scope.spawn(|| load("podman", &user, Some((account, &files.user_home))));
            [docker, root, user].map(|one| one.join().unwrap_or(Err("importing panicked".into())))
        });
        let [a, b, c] = loaded;
        // Guests find the host by the address of the daemon's usual bridge.
        let usual =
            if shared { Err("another docker daemon runs here and has the usual bridge".into()) } else { a.clone() };
        self.add("docker-tcp", "docker", false, docker.clone(), usual);
        self.add("docker", "docker", false, docker, a);
        self.add("podman", "podman", true, root, b);
        self.add("podman-rootless", "podman", false, user, c);
        Ok(())
    }

    /// What is there already, for an ordinary user.
    fn find_ready_ones(&mut self) {
        for (name, runtime) in [("docker", "docker"), ("docker-tcp", "docker"), ("podman-rootless", "podman")] {
            let found = process::output(Command::new(runtime).args(["image", "inspect", "--format", "{{.Id}}", IMAGE]));
            self.add(name, runtime, false, json!({}), found.map(drop));
        }
        self.add("podman", "podman", true, json!({}), Err("only root's tests use root's podman".into()));
    }

    fn add(&mut self, name: &str, runtime: &str, root: bool, env: Value, ready: Result<()>) {
        let problem = ready.err();
        if let Some(problem) = &problem {
            eprintln!("the engine '{name}' is not ready: {problem}");
        }
        self.description[name] =
            json!({"runtime": runtime, "root": root, "env": env, "image": image_name(runtime), "problem": problem});
    }

    /// An engine that works, by its name here.
    pub(crate) fn ready(&self, name: &str) -> Option<Ready> {
        let one = self.description.get(name).filter(|one| one["problem"].is_null())?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let env =
            one["env"].as_object()?.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect();
        Some(Ready { runtime: text(&one["runtime"])?, image: text(&one["image"])?, env })
    }

    /// As JSON.
    pub(crate) fn describe(&self) -> String {
        self.description.to_string()
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        if let Some(mut dockerd) = self.dockerd.take() {
            // Asked, it ends its containers and its helper.
            let pid = dockerd.id().to_string();
            let _asked = process::succeeds(Command::new("kill").arg(pid));
            let until = Instant::now() + Duration::from_secs(20);
            while Instant::now() < until && dockerd.try_wait().is_ok_and(|status| status.is_none()) {
                std::thread::sleep(Duration::from_millis(50));
            }
            process::end(&mut dockerd);
            let _gone = process::succeeds(Command::new("ip").args(["link", "delete", BRIDGE]));
        }
        // The process that holds the ordinary user's namespace for all its containers.
        if let Some(pid) = self.pause.take().and_then(|file| fs::read_to_string(file).ok()) {
            let _gone = process::succeeds(Command::new("kill").arg(pid.trim()));
        }
    }
}

/// How an engine calls the image.
fn image_name(runtime: &str) -> String {
    if runtime == "podman" { format!("localhost/{IMAGE}") } else { IMAGE.to_owned() }
}

/// The image as a file; made once.
fn image(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("base.tar");
    if path.exists() {
        return Ok(path);
    }
    eprintln!("making the test image ...");
    let options = ["--variant=essential", &format!("--include={PACKAGES}")];
    let codename = codename();
    debootstrap(&path, &codename, &options, sources(&codename))?;
    Ok(path)
}

/// What stands for the image that recipes build on; made once.
fn slim(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("slim.tar");
    if path.exists() {
        return Ok(path);
    }
    eprintln!("making the image that others are built on ...");
    let codename = codename();
    // Elsewhere than on Debian, the machine's own release has to do.
    let debian = fs::read_to_string("/etc/os-release").unwrap_or_default().lines().any(|line| line == "ID=debian");
    let release = if debian { SLIM_RELEASE } else { &codename };
    let found = sources(&codename).and_then(|path| fs::read_to_string(path).ok());
    let sources = found.map(|text| {
        let renamed = folder.join("slim.sources");
        let kept = if text.contains("Types:") { renamed } else { folder.join("slim.list") };
        fs::write(&kept, text.replace(&codename, release)).map(|()| kept)
    });
    let sources = sources.transpose().map_err(|e| format!("'{}': {e}", folder.display()))?;
    let bundle = format!("--customize-hook=copy-in {AUTHORITIES} /etc/ssl/certs");
    let mut options = vec!["--variant=minbase", "--include=ca-certificates"];
    if Path::new(AUTHORITIES).exists() {
        options.push(&bundle);
    }
    debootstrap(&path, release, &options, sources)?;
    Ok(path)
}

fn codename() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let found = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    found.unwrap_or("stable").to_owned()
}

fn debootstrap(path: &Path, release: &str, options: &[&str], sources: Option<PathBuf>) -> Result<()> {
    let new = path.with_extension("new.tar");
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--format=tar"]).args(options);
    // What nobody reads in a test would be copied into three stores.
    make.arg("--customize-hook=rm -rf \"$1\"/usr/share/doc \"$1\"/usr/share/man \"$1\"/usr/share/locale \"$1\"/var/lib/apt/lists");
    make.arg(release).arg(&new).args(sources);
    let done = process::finish(&mut make, IMAGE_DEADLINE)?;
    if !done.status.success() {
        return Err(format!("{} failed: {}", process::shown(&make), done.stderr.trim()));
    }
    let fail = |e: std::io::Error| format!("'{}': {e}", path.display());
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).map_err(fail)?;
    fs::rename(&new, path).map_err(fail)
}

/// The machine's own package sources of its release.
fn sources(codename: &str) -> Option<PathBuf> {
    let listed = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let all =
        listed.filter(|path| path.extension().is_some_and(|e| e == "sources")).chain(["/etc/apt/sources.list".into()]);
    all.into_iter().find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(codename)))
}

/// Files that say how podman works here.
struct Files {
    conf: PathBuf,
    registries: PathBuf,
    root_storage: PathBuf,
    user_storage: PathBuf,
    user_runtime: PathBuf,
    user_home: PathBuf,
}

fn configure(folder: &Path, account: &Account) -> Result<Files> {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| format!("'{}': {e}", path.display())).map(|()| path)
    };
    let owner = Some((account.uid, account.gid));
    // Podman refuses such paths beyond 50 characters, where only its clean-up notices.
    let own = |name: &str| folder_of(&folder.join(name), owner).map(|()| folder.join(name));
    let (user_store, user_runtime, user_home) = (own("user-store")?, own("user")?, own("user-home")?);
    let open_files = hard_limit("nofile").min(16_384);
    let processes = hard_limit("nproc").min(32_768);
    Ok(Files {
        // Podman asks for more than a machine in a container may give; this machine's control groups are of both
        // versions, which only this runtime takes.
        conf: write(
            "containers.conf",
            format!(
                "[containers]\ndefault_ulimits = [\"nofile={open_files}:{open_files}\", \"nproc={processes}:{processes}\"]\n\
                 [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
                 [network]\nnetwork_backend = \"netavark\"\n"
            ),
        )?,
        registries: write("registries.conf", String::new())?,
        root_storage: write(
            "storage-root.conf",
            storage(&folder.join("podman-root"), &folder.join("podman-root-run")),
        )?,
        user_storage: write("storage-user.conf", storage(&user_store, &user_runtime.join("run")))?,
        user_runtime,
        user_home,
    })
}

fn storage(store: &Path, run: &Path) -> String {
    let (store, run) = (store.display(), run.display());
    // An ordinary user's podman would keep the second one in each test's home.
    format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{store}\"\nrootless_storage_path = \"{store}\"\nrunroot = \"{run}\"\n"
    )
}

/// A limit of this process that it cannot raise.
fn hard_limit(name: &str) -> u64 {
    let label = if name == "nofile" { "Max open files" } else { "Max processes" };
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|hard| hard.parse().ok()).unwrap_or(u64::MAX)
}

/// A folder that stays from one task to the next, of this user alone where one is given.
fn folder_of(path: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let fail = |e: std::io::Error| format!("could not make '{}': {e}", path.display());
    let mode = if owner.is_some() { 0o700 } else { 0o711 };
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(fail(e)),
        _ => {}
    }
    match owner {
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)).map_err(fail),
        None => Ok(()),
    }
}

/// A docker daemon of our own, which the ordinary user may use. `shared`: another daemon runs here and is left alone.
fn start_docker(folder: &Path, socket: &Path, account: &Account, shared: bool) -> Result<Child> {
    let _left = fs::remove_file(folder.join("docker.pid"));
    let _left = process::succeeds(Command::new("ip").args(["link", "delete", BRIDGE]));
    if shared {
        process::output(Command::new("ip").args(["link", "add", BRIDGE, "type", "bridge"]))?;
        process::output(Command::new("ip").args(["address", "add", BRIDGE_ADDRESS, "dev", BRIDGE]))?;
        process::output(Command::new("ip").args(["link", "set", BRIDGE, "up"]))?;
    }
    let log = folder.join("dockerd.log");
    let out = fs::File::create(&log).map_err(|e| format!("'{}': {e}", log.display()))?;
    let mut command = Command::new("/usr/sbin/dockerd");
    command.arg("--host").arg(format!("unix://{}", socket.display())).args(["--group", &account.gid.to_string()]);
    command.arg("--data-root").arg(folder.join("docker")).arg("--exec-root").arg(folder.join("docker-run"));
    command.arg("--pidfile").arg(folder.join("docker.pid"));
    if shared {
        command.args(["--bridge", BRIDGE]);
    }
    command.arg("--default-ulimit").arg(format!("nofile=1024:{}", hard_limit("nofile").min(16_384)));
    let errors = out.try_clone().map_err(|e| format!("'{}': {e}", log.display()))?;
    command.stdin(Stdio::null()).stdout(out).stderr(errors);
    let mut child = command.spawn().map_err(|e| format!("could not start dockerd: {e}"))?;
    let until = Instant::now() + Duration::from_secs(60);
    let env = ("DOCKER_HOST", format!("unix://{}", socket.display()));
    while !process::succeeds(Command::new("docker").env(env.0, &env.1).arg("version")) {
        if child.try_wait().is_ok_and(|status| status.is_some()) || Instant::now() > until {
            process::end(&mut child);
            let text = fs::read_to_string(&log).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(3).collect();
            return Err(format!("dockerd does not come up: {}", last.join(" | ")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(child)
}

/// Puts the images into an engine's store, unless they are there, and runs one container of the first.
fn load(engine: &str, env: &Value, who: Option<(&Account, &PathBuf)>, [image, slim]: &[PathBuf; 2]) -> Result<()> {
    let name = image_name(engine);
    let command = |words: &[&str]| {
        let mut command = match who {
            Some((account, home)) => account.command(engine, home),
            None => Command::new(engine),
        };
        for (name, value) in env.as_object().into_iter().flatten() {
            command.env(name, value.as_str().unwrap_or_default());
        }
        command.args(words).current_dir("/");
        command
    };
    let finish = |words: &[&str]| {
        let mut command = command(words);
        let done = process::finish(&mut command, ENGINE_DEADLINE)?;
        if done.status.success() {
            Ok(())
        } else {
            Err(format!("{}: {}", process::shown(&command), done.stderr.trim()))
        }
    };
    let there = |name: &str| finish(&["image", "inspect", "--format", "{{.Id}}", name]).is_ok();
    if !there(&name) {
        finish(&["import", "--change", SAYS, &image.to_string_lossy(), &name])?;
    }
    let slim_name = SLIM.iter().find(|(of, _)| *of == engine).map_or("", |(_, name)| name);
    // No test builds as an ordinary user; that differs from root in nothing that a build sees.
    if who.is_none() && !there(slim_name) {
        finish(&["import", &slim.to_string_lossy(), slim_name])?;
    }
    // Copies what an ordinary user's containers share, and shows that containers run.
    let user = who.map(|(account, _)| format!("{}:{}", account.uid, account.gid));
    let mut words = vec!["run", "--rm", "--pull", "never", "--network", "none"];
    if let Some(user) = &user {
        words.extend(["--userns", "keep-id", "--user", user]);
    }
    words.extend([name.as_str(), "true"]);
    finish(&words)
}
