//! `sandbox install-dev`: builds the guest program of the checkout one stands in, and has every backend that can place
//! it where its guests find it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use color_eyre::eyre::{Report, Result};
use workmux_plugin_api::{Capability, InstallRequest};

use crate::error::{ERROR, Failure, failed, from_backend, hinted, render};
use crate::launch::survey::Survey;
use crate::plugins::Registry;
use crate::progress::{Out, Progress};
use crate::routing::{self, INSTALL_DEV};
use crate::surroundings::Surroundings;
use crate::tool;

/// The guest program's package and binary.
const PACKAGE: &str = "workmux-guest";

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct InstallDev {
    /// The release profile.
    pub(crate) release: bool,
    /// Install what is built already.
    pub(crate) skip_build: bool,
    /// `--backend`
    pub(crate) backend: Option<String>,
}

/// Builds and installs; the answer is the exit code.
pub(crate) fn install_dev(wish: InstallDev, surroundings: &Surroundings) -> Result<u8, Failure> {
    let registry = crate::launch::registry()?;
    let names = backends(&registry, wish.backend.as_deref())?;
    let machine = Machine::this(surroundings);
    let triple = machine.target()?;
    let root = workspace(surroundings)?;
    let profile = if wish.release { "release" } else { "debug" };
    let program = root.join("target").join(&triple).join(profile).join(PACKAGE);
    if !wish.skip_build {
        machine.ready(&triple)?;
        build(&root, &triple, wish.release)?;
    }
    if !program.is_file() {
        return Err(hinted(
            format!("there is no built program at {}", crate::text::quote(program.as_os_str())),
            "build it: type the same without --skip-build",
        )
        .into());
    }
    crate::task::interruptible("the installation", place(&registry, names, program, surroundings))
}

/// The backends to ask: all that can do it, or the named one.
fn backends(registry: &Registry, flag: Option<&str>) -> Result<Vec<String>> {
    let names = match flag {
        Some(name) => {
            let manifest = registry.manifest(name).map_err(routing::report)?;
            let can = manifest.capabilities.contains(&Capability::Install);
            if can { vec![name.to_owned()] } else { Vec::new() }
        }
        None => registry.offering(Capability::Install),
    };
    if names.is_empty() { Err(routing::not_provided(INSTALL_DEV, flag, registry)) } else { Ok(names) }
}

/// Has the backends place it.
async fn place(registry: &Registry, names: Vec<String>, program: PathBuf, surroundings: &Surroundings) -> Result<u8> {
    let survey = Survey::asking(surroundings)?;
    survey.valid_config()?;
    let (mut placed, mut failures) = (0, 0);
    for name in names {
        let asked = async {
            let progress = Arc::new(Progress::new(Out::Result));
            let backend = routing::load(registry, &name)?.with_events(Arc::clone(&progress) as _);
            let request = InstallRequest { image: survey.image_request(&backend).await?, program: program.clone() };
            let installed = backend.install(request).await.map_err(|e| from_backend(&e));
            progress.clear();
            installed
        };
        match asked.await {
            Ok(places) => {
                for one in places {
                    match one.outcome {
                        Ok(()) => {
                            placed += 1;
                            crate::ui::print(&format!("✓ {}", one.place));
                        }
                        Err(e) => {
                            failures += 1;
                            crate::ui::print(&format!("✗ {}", one.place));
                            crate::ui::raw_error(&render(&failed(&format!("{}: not installed", one.place), &e)));
                        }
                    }
                }
            }
            // A backend that is not in use here does not spoil the others'.
            Err(report) => {
                let causes: Vec<String> = report.chain().map(ToString::to_string).collect();
                crate::ui::warning(&causes.join(": "));
            }
        }
    }
    match (placed, failures) {
        (0, 0) => Err(hinted(
            "there is nothing to install it into",
            "get an image first: workmux sandbox pull (or build); or start an instance that stays",
        )),
        (_, 0) => Ok(0),
        _ => Ok(ERROR),
    }
}

/// The workspace one stands in, where it is this program's.
fn workspace(surroundings: &Surroundings) -> Result<PathBuf> {
    let ours = |folder: &&Path| folder.join("Cargo.toml").is_file() && folder.join("guest/Cargo.toml").is_file();
    surroundings.cwd.ancestors().find(ours).map(Path::to_owned).ok_or_else(|| {
        hinted(
            "this is not a checkout of workmux",
            "install-dev is for developing workmux itself: type it in its checkout",
        )
    })
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Builds the program, complete in itself: it runs in any image.
fn build(root: &Path, triple: &str, release: bool) -> Result<()> {
    crate::ui::print(&format!("Building the guest program for {triple}..."));
    let mut build = Command::new(cargo());
    build.args(["build", "--package", PACKAGE, "--bin", PACKAGE, "--target", triple]).current_dir(root);
    build.arg("--target-dir").arg(root.join("target"));
    if release {
        build.arg("--release");
    }
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_ascii_uppercase().replace('-', "_"));
    build.env(flags, "-Ctarget-feature=+crt-static").stdin(Stdio::null());
    // Seen by the user, who may interrupt both.
    let status = build.status().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            hinted("'cargo' is not installed or not on PATH", "install Rust (https://rustup.rs), or give --skip-build")
        }
        _ => Report::new(e).wrap_err("could not start 'cargo'"),
    })?;
    if status.success() {
        return Ok(());
    }
    Err(hinted("the guest program could not be built", "what is wrong stands above, in cargo's words"))
}

/// What decides how the program is built here.
struct Machine<'a> {
    os: &'a str,
    arch: &'a str,
    search_path: &'a [PathBuf],
    linker: &'a dyn Fn(&str) -> bool,
    targets: &'a dyn Fn() -> Option<String>,
}

impl<'a> Machine<'a> {
    fn this(surroundings: &'a Surroundings) -> Self {
        Self {
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            search_path: &surroundings.search_path,
            linker: &|name| std::env::var_os(name).is_some(),
            targets: &|| {
                let mut ask = Command::new("rustup");
                ask.args(["target", "list", "--installed"]);
                let answer = tool::run(&mut ask, b"", tool::QUESTION).ok()?;
                Some(String::from_utf8_lossy(&answer.stdout).into_owned())
            },
        }
    }

    /// What guests of this machine run.
    fn target(&self) -> Result<String> {
        match self.arch {
            "x86_64" | "aarch64" => Ok(format!("{}-unknown-linux-gnu", self.arch)),
            other => Err(hinted(
                format!("guests of this machine ('{other}') are not supported"),
                "sandboxes run on x86_64 and aarch64",
            )),
        }
    }

    /// What building needs beyond Rust itself: nothing on Linux; elsewhere each missing piece is named.
    fn ready(&self, triple: &str) -> Result<()> {
        if self.os == "linux" {
            return Ok(());
        }
        if !(self.targets)().is_some_and(|targets| targets.lines().any(|line| line.trim() == triple)) {
            return Err(hinted(
                format!("the Rust target '{triple}' is not installed"),
                format!("install it: rustup target add {triple}"),
            ));
        }
        let variable = format!("CARGO_TARGET_{}_LINKER", triple.to_ascii_uppercase().replace('-', "_"));
        let linker = format!("{triple}-gcc");
        if (self.linker)(&variable) || self.search_path.iter().any(|folder| folder.join(&linker).is_file()) {
            return Ok(());
        }
        Err(hinted(
            format!("the cross-linker '{linker}' is not on PATH"),
            format!("install it: brew install messense/macos-cross-toolchains/{triple} (or set {variable})"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine<'a>(
        os: &'a str,
        arch: &'a str,
        path: &'a [PathBuf],
        targets: &'a dyn Fn() -> Option<String>,
    ) -> Machine<'a> {
        Machine { os, arch, search_path: path, linker: &|_| false, targets }
    }

    #[test]
    fn each_missing_piece_is_named_with_its_command() {
        const TRIPLE: &str = "aarch64-unknown-linux-gnu";
        let none: &dyn Fn() -> Option<String> = &|| None;
        let there: &dyn Fn() -> Option<String> = &|| Some(format!("x86_64-apple-darwin\n{TRIPLE}\n"));
        machine("linux", "x86_64", &[], none).ready("x86_64-unknown-linux-gnu").unwrap();
        let mac = machine("macos", "aarch64", &[], none);
        assert_eq!(mac.target().unwrap(), TRIPLE);
        let error = render(&mac.ready(TRIPLE).unwrap_err());
        assert!(error.contains("rustup target add aarch64-unknown-linux-gnu"), "{error}");
        let error = render(&machine("macos", "aarch64", &[], there).ready(TRIPLE).unwrap_err());
        assert!(error.contains("brew install messense/macos-cross-toolchains/aarch64-unknown-linux-gnu"), "{error}");

        let temp = tempfile::tempdir().unwrap();
        let path = [temp.path().to_owned()];
        std::fs::write(temp.path().join("aarch64-unknown-linux-gnu-gcc"), "").unwrap();
        machine("macos", "aarch64", &path, there).ready(TRIPLE).unwrap();
        let mut told = machine("macos", "aarch64", &[], there);
        told.linker = &|name| name == "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER";
        told.ready(TRIPLE).unwrap();
        assert!(machine("macos", "riscv64", &[], there).target().is_err());
    }
}
