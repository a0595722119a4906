//! Loads a library in a child of ourselves before it is loaded here: damaged code and wild constructors end the child.
//!
//! A success is remembered for the file as it is, so the price (about 2 ms) is paid once.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Rejection;
use super::loader;
use super::pins::hex;
use super::trust::Opened;
use crate::tool::{self, ToolError};

/// A trial takes milliseconds; this is for a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(5);
/// What the child prints last: the library's own output may come before.
const GOOD: &str = "workmux-trial: good";
const BAD: &str = "workmux-trial: ";

/// The trial program and the memory of what passed.
#[derive(Debug)]
pub(super) struct Trial {
    program: Vec<OsString>,
    memory: PathBuf,
    deadline: Duration,
}

impl Trial {
    /// `patience` = what loading may take in all.
    pub(super) fn new(program: &[OsString], cache_dir: &Path, patience: Duration) -> Self {
        let memory = cache_dir.join("plugins/tried");
        Self { program: program.to_vec(), memory, deadline: DEADLINE.min(patience) }
    }

    /// Whether this very file was loaded by a child before, when its manifest named this hash.
    pub(super) fn passed(&self, library: &Opened, sha256: Option<&str>) -> bool {
        let remembered = fs::read_to_string(self.memory.join(key(&library.path)));
        remembered.is_ok_and(|remembered| remembered == stamp(&library.metadata, sha256))
    }

    /// Succeeds where it was, or now is.
    pub(super) fn pass(&self, library: &Opened, sha256: Option<&str>) -> Result<(), Rejection> {
        if self.passed(library, sha256) {
            return Ok(());
        }
        self.run(library)?;
        let (memory, stamp) = (self.memory.join(key(&library.path)), stamp(&library.metadata, sha256));
        // Without a memory the next start only takes a little longer.
        let _unremembered = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.memory)
            .and_then(|()| replace(&self.memory, &memory, &stamp));
        Ok(())
    }

    fn run(&self, library: &Opened) -> Result<(), Rejection> {
        let Some((program, arguments)) = self.program.split_first() else { return Ok(()) };
        let mut command = Command::new(program);
        // By our descriptor: the same file, whatever its name means meanwhile.
        let path = format!("/proc/{}/fd/{}", std::process::id(), library.file.as_raw_fd());
        command.args(arguments).arg(path).current_dir("/");
        let output = tool::run(&mut command, b"", self.deadline).map_err(|e| match e {
            ToolError::Deadline { after, .. } => {
                Rejection::new(format!("loading it does not come to an end ({} s)", after.as_secs())).fix("remove it")
            }
            ToolError::Flood { .. } => Rejection::new("loading it prints without end").fix("remove it"),
            other => Rejection::new(format!("it could not be tried: {other}")),
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let answer = text.lines().rev().find_map(|line| line.strip_prefix(BAD));
        match (answer, output.status.signal(), output.status.code()) {
            (_, Some(signal), _) => {
                Err(Rejection::new(format!("loading it crashes (signal {signal})")).fix("copy or build it again"))
            }
            (Some(answer), None, Some(0)) if GOOD.ends_with(answer) => Ok(()),
            (Some(answer), None, Some(1)) => Err(Rejection::new(answer).fix(loader::FIX)),
            (_, None, code) => Err(Rejection::new(format!(
                "loading it ends the program (exit code {})",
                code.map_or_else(|| "unknown".into(), |code| code.to_string())
            ))
            .fix("copy or build it again")),
        }
    }
}

/// The hidden subcommand `__load-plugin PATH`: loads the library, says whether that went well, and ends.
#[expect(clippy::print_stdout, reason = "the answer to the parent")]
pub fn main(library: &Path) -> ExitCode {
    // The crash that this process is for must not leave a core file in somebody's directory.
    let _unlimited = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    match loader::load(library) {
        Ok(_) => {
            println!("\n{GOOD}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            println!("\n{BAD}{e}");
            ExitCode::FAILURE
        }
    }
}

fn key(library: &Path) -> String {
    hex(&Sha256::digest(library.as_os_str().as_encoded_bytes())[..16])
}

/// The file as it is: nobody can write to it without another time of change.
fn stamp(file: &Metadata, sha256: Option<&str>) -> String {
    // The version: another loader may find fault with what this one did not.
    format!(
        "{} {} {} {} {}.{} {}.{} {}\n",
        env!("CARGO_PKG_VERSION"),
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec(),
        sha256.unwrap_or("-")
    )
}

fn replace(dir: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    let mut temporary = tempfile::NamedTempFile::new_in(dir)?;
    std::io::Write::write_all(&mut temporary, text.as_bytes())?;
    temporary.persist(file).map(drop).map_err(|e| e.error)
}
