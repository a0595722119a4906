//! `cargo xtask build`: the program, its backends and the static guest program, each by cargo, in parallel.
//!
//! The test build lies in a target directory of its own: it carries the feature `mutants`, and neither build may
//! ever be taken for the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::workspace::{Workspace, cargo};
use crate::{Result, elf, install, process};

/// The guest program is mounted into every sandbox and copied into images: it stays small.
const GUEST_LIMIT: u64 = 1_600_000;
/// What the guards that tests switch off may add; nobody gets them.
const GUARDS: u64 = 50_000;
/// Static, and at a fixed address, which saves the relocations; a panic ends it, so nothing needs an index for
/// unwinding. Between two flags stands a unit separator.
const GUEST_FLAGS: &str =
    "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static\u{1f}-Clink-arg=-Wl,--no-eh-frame-hdr";

/// How the host and the backends are built. The guest program has one profile only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
    /// Dev, with guards that tests switch off one by one.
    Test,
}

/// What a build left.
pub(crate) struct Product {
    /// The program.
    pub(crate) host: PathBuf,
    /// The static guest program.
    pub(crate) guest: PathBuf,
    /// The backends of the product.
    pub(crate) plugins: Vec<PathBuf>,
    /// Other backends: examples, and those that are wrong on purpose.
    pub(crate) others: Vec<PathBuf>,
    /// The stand-in for `limactl`, in the test build.
    pub(crate) limactl: Option<PathBuf>,
}

/// The task.
pub(crate) fn run(workspace: &Workspace, profile: Profile) -> Result<()> {
    let product = make(workspace, profile)?;
    for file in [&product.host, &product.guest].into_iter().chain(&product.plugins).chain(&product.others) {
        println!("{}", file.display());
    }
    Ok(())
}

/// Builds everything that `profile` asks for.
pub(crate) fn make(workspace: &Workspace, profile: Profile) -> Result<Product> {
    let started = Instant::now();
    eprintln!("building ...");
    // Two cargos at once: each would make the other's directory by putting its own in that place.
    let guests = guest_target(workspace, profile);
    fs::create_dir_all(&guests).map_err(|e| format!("could not make '{}': {e}", guests.display()))?;
    let (built, guest) = std::thread::scope(|scope| {
        let guest = scope.spawn(|| build_guest(workspace, profile));
        let built = build_host(workspace, profile);
        (built, guest.join().unwrap_or(Err("building the guest program panicked".into())))
    });
    let (mut product, guest) = (built?, guest?);
    // The host looks for it beside itself. A new file under the name: cargo may have linked the old one elsewhere.
    product.guest = product.host.with_file_name("workmux-guest");
    install::put(&guest, &product.guest, 0o755)?;
    eprintln!("built in {:.1} s", started.elapsed().as_secs_f32());
    Ok(product)
}

fn build_host(workspace: &Workspace, profile: Profile) -> Result<Product> {
    let mut command = cargo();
    command.args(["build", "--message-format=json-render-diagnostics"]);
    match profile {
        Profile::Test => {
            // Everything at once, tests too: one resolution of features, so that nothing is compiled twice.
            command.args(["--workspace", "--all-targets"]).args(test_features(workspace));
            command.arg("--target-dir").arg(test_target(workspace));
        }
        Profile::Dev | Profile::Release => {
            command.args(["-p", "workmux"]);
            for package in workspace.below("plugins").chain(workspace.below("examples")) {
                command.args(["-p", &package.name]);
            }
            if profile == Profile::Release {
                command.arg("--release");
            }
        }
    }
    let mut product =
        Product { host: PathBuf::new(), guest: PathBuf::new(), plugins: vec![], others: vec![], limactl: None };
    for artifact in artifacts(&mut command)? {
        if artifact.test {
            continue;
        }
        let ours = workspace.packages.iter().find(|p| workspace.root.join(&p.folder) == artifact.folder);
        match (&artifact.executable, ours) {
            (Some(executable), Some(package)) if package.name == "workmux" => product.host = executable.clone(),
            (Some(executable), Some(package)) if package.name == "fake-limactl" => {
                product.limactl = Some(executable.clone());
            }
            (None, Some(package)) if artifact.library.is_some() => {
                let list =
                    if package.folder.starts_with("plugins") { &mut product.plugins } else { &mut product.others };
                list.extend(artifact.library);
            }
            _ => {}
        }
    }
    if product.host.as_os_str().is_empty() { Err("cargo built no program 'workmux'".into()) } else { Ok(product) }
}

fn build_guest(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--message-format=json-render-diagnostics"]);
    command.args(["-p", "workmux-guest", "--bin", "workmux-guest", "--profile", "guest"]);
    command.args(["--target", &workspace.triple]);
    // Its flags differ, so it has a directory of its own; with a target given they do not reach build scripts.
    command.arg("--target-dir").arg(guest_target(workspace, profile));
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", GUEST_FLAGS);
    if profile == Profile::Test && workspace.has_feature("workmux-guest", "mutants") {
        command.args(["--features", "mutants"]);
    }
    let guest = artifacts(&mut command)?.into_iter().find_map(|a| a.executable);
    let guest = guest.ok_or("cargo built no program 'workmux-guest'")?;
    check_guest(&guest, if profile == Profile::Test { GUEST_LIMIT + GUARDS } else { GUEST_LIMIT })?;
    Ok(guest)
}

/// Refuses a guest program that grew, or that needs libraries of the system it runs on.
fn check_guest(guest: &Path, limit: u64) -> Result<()> {
    let bytes = fs::read(guest).map_err(|e| format!("could not read '{}': {e}", guest.display()))?;
    if bytes.len() as u64 > limit {
        return Err(format!("the guest program has {} bytes, more than the limit of {limit}", bytes.len()));
    }
    match elf::needs_interpreter(&bytes) {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!("'{}' is not static: a sandbox may hold nothing it could load", guest.display())),
        Err(why) => Err(format!("'{}': {why}", guest.display())),
    }
}

/// Where the guest program's build goes.
fn guest_target(workspace: &Workspace, profile: Profile) -> PathBuf {
    match profile {
        Profile::Test => test_target(workspace).join("guest"),
        Profile::Dev | Profile::Release => workspace.target.join("guest"),
    }
}

/// Where the test build lies.
pub(crate) fn test_target(workspace: &Workspace) -> PathBuf {
    workspace.target.join("test")
}

/// The features of the test build.
pub(crate) fn test_features(workspace: &Workspace) -> Vec<String> {
    let with_mutants = workspace.packages.iter().filter(|p| p.features.iter().any(|f| f == "mutants"));
    let list: Vec<_> = with_mutants.map(|p| format!("{}/mutants", p.name)).collect();
    if list.is_empty() { vec![] } else { vec!["--features".into(), list.join(",")] }
}

/// One thing that cargo built.
struct Artifact {
    folder: PathBuf,
    executable: Option<PathBuf>,
    library: Option<PathBuf>,
    test: bool,
}

fn artifacts(command: &mut Command) -> Result<Vec<Artifact>> {
    let output = command.stderr(Stdio::inherit()).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("could not start {}: {e}", process::shown(command)))?;
    if !output.status.success() {
        return Err("the build failed; see above".into());
    }
    let messages = output.stdout.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice::<Value>(l).ok());
    Ok(messages.filter(|m| m["reason"] == "compiler-artifact").filter_map(|m| artifact(&m)).collect())
}

fn artifact(message: &Value) -> Option<Artifact> {
    let files = message["filenames"].as_array()?;
    let dynamic = message["target"]["crate_types"].as_array()?.iter().any(|kind| kind == "cdylib");
    let library = files.iter().filter_map(Value::as_str).find(|f| f.ends_with(std::env::consts::DLL_SUFFIX));
    Some(Artifact {
        folder: Path::new(message["manifest_path"].as_str()?).parent()?.to_owned(),
        executable: message["executable"].as_str().map(PathBuf::from),
        library: if dynamic { library.map(PathBuf::from) } else { None },
        test: message["profile"]["test"] == true,
    })
}
