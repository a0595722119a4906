//! What the host puts into a machine's read-only export: the guest program, the keys of each run, copies of single files.
//!
//! Nothing in it is ever written by a guest. Names are decided without writing, so that a dry run can tell them.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use workmux_plugin_api::{Error, ErrorKind, Result};

/// A single file that is copied; larger ones belong into a directory that is exported.
const LARGEST: u64 = 16 << 20;
/// What the machine looks for, to know that the export is mounted.
const MARK: &str = "machine";

/// The directory on the host.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    root: PathBuf,
}

/// Something to be put there, and where, relative to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copied {
    source: PathBuf,
    pub(crate) name: PathBuf,
    kind: Kind,
}

impl Copied {
    /// Where the host keeps its runs, where this belongs to one.
    pub(crate) fn runs(&self) -> Option<&Path> {
        self.source.parent()?.parent().filter(|_| self.kind == Kind::Run)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Program,
    Run,
    File,
}

impl Files {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where each run has its own directory.
    pub(crate) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Whether a run has something here: it works, or was killed and nobody has taken that away yet.
    pub(crate) fn has_runs(&self) -> bool {
        fs::read_dir(self.runs()).is_ok_and(|mut runs| runs.next().is_some())
    }

    /// Takes away what belonged to runs that the host has no record of any more: killed before they were prepared. `known` is
    /// where it keeps those it has.
    pub(crate) fn sweep(&self, known: &Path) {
        for entry in fs::read_dir(self.runs()).into_iter().flatten().flatten() {
            if !known.join(entry.file_name()).exists() {
                let _next_time = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Makes the directory, with its mark.
    pub(crate) fn make(&self, machine: &str) -> Result<()> {
        let made = || {
            for name in ["programs", "runs", "files"] {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(self.root.join(name))?;
            }
            let mark = self.root.join(MARK);
            if mark.exists() { Ok(()) } else { fs::write(mark, machine) }
        };
        made().map_err(|e| self.failed(&e))
    }

    /// A program, under a name that changes with its content.
    pub(crate) fn program(source: &Path) -> Result<Copied> {
        let meta = fs::metadata(source).map_err(|e| unreadable(source, &e))?;
        let stamp = format!("{:x}-{:x}-{:x}", meta.size(), meta.mtime(), meta.mtime_nsec());
        let file = source.file_name().unwrap_or_default();
        Ok(Copied {
            source: source.to_owned(),
            name: Path::new("programs").join(stamp).join(file),
            kind: Kind::Program,
        })
    }

    /// A directory of small files that belongs to one run.
    pub(crate) fn of_run(run: &str, source: &Path) -> Copied {
        let name = Path::new("runs").join(run).join(source.file_name().unwrap_or_default());
        Copied { source: source.to_owned(), name, kind: Kind::Run }
    }

    /// A single file.
    pub(crate) fn file(source: &Path) -> Copied {
        let hash = Sha256::digest(source.as_os_str().as_bytes());
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let name = Path::new("files").join(hash).join(source.file_name().unwrap_or_default());
        Copied { source: source.to_owned(), name, kind: Kind::File }
    }

    /// Puts it there, as far as it is not.
    pub(crate) fn put(&self, copied: &Copied) -> Result<()> {
        let target = self.root.join(&copied.name);
        match copied.kind {
            Kind::Program if target.exists() => Ok(()),
            Kind::Program => self.put_file(&copied.source, &target, 0o755),
            Kind::File => self.put_file(&copied.source, &target, 0o600),
            Kind::Run => {
                let entries = fs::read_dir(&copied.source).map_err(|e| unreadable(&copied.source, &e))?;
                self.directory(&target)?;
                for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
                    self.put_file(&entry.path(), &target.join(entry.file_name()), 0o600)?;
                }
                Ok(())
            }
        }
    }

    /// Takes away what belonged to runs of which none can be alive: their machine does not run.
    pub(crate) fn end_all(&self) {
        for entry in fs::read_dir(self.runs()).into_iter().flatten().flatten() {
            let _next_time = fs::remove_dir_all(entry.path());
        }
    }

    /// Takes away what belonged to one run.
    pub(crate) fn end(&self, run: &str) -> Result<()> {
        let plain = !run.is_empty() && run.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain {
            return Err(Error::internal("the run has no usable name"));
        }
        match fs::remove_dir_all(self.runs().join(run)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.failed(&e)),
            _ => Ok(()),
        }
    }

    fn directory(&self, path: &Path) -> Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| self.failed(&e))
    }

    /// As one step: a machine sees the old file or the new one.
    fn put_file(&self, source: &Path, target: &Path, mode: u32) -> Result<()> {
        let meta = fs::metadata(source).map_err(|e| unreadable(source, &e))?;
        if meta.len() > LARGEST && mode != 0o755 {
            return Err(Error::refused(format!(
                "'{}' is too large to be copied to a machine for each change",
                source.display()
            ))
            .hint("mount the directory that it lies in"));
        }
        let folder = target.parent().unwrap_or(&self.root);
        self.directory(folder)?;
        let copied = || {
            let mut new = tempfile::NamedTempFile::new_in(folder)?;
            io::copy(&mut fs::File::open(source)?, &mut new)?;
            new.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
            new.persist(target).map(drop).map_err(|e| e.error)
        };
        copied().map_err(|e| self.failed(&e))
    }

    fn failed(&self, e: &io::Error) -> Error {
        let full = matches!(e.raw_os_error(), Some(nix::libc::ENOSPC | nix::libc::EDQUOT));
        let kind = if full { ErrorKind::LimitHit } else { ErrorKind::Internal };
        Error::new(kind, format!("could not write to '{}'", self.root.display())).cause(e.to_string())
    }
}

fn unreadable(path: &Path, e: &io::Error) -> Error {
    Error::refused(format!("'{}' cannot be read", path.display())).cause(e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_was_given_goes_with_it_and_programs_stay() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().join("host"));
        files.make("wm-x").unwrap();
        let (sock, program) = (dir.path().join("sock"), dir.path().join("workmux"));
        fs::create_dir_all(sock.join("sub")).unwrap();
        fs::write(sock.join("control.keys"), "k").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", sock.join("link")).unwrap();
        fs::write(&program, "p").unwrap();
        let run = Files::of_run("0a-1", &sock);
        let program = Files::program(&program).unwrap();
        for copied in [&run, &program] {
            files.put(copied).unwrap();
            files.put(copied).unwrap();
        }
        let names = |path: &Path| fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
        assert_eq!(names(&files.root().join("runs/0a-1/sock")), ["control.keys"]);
        let mode = fs::metadata(files.root().join("runs/0a-1/sock/control.keys")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let known = dir.path().join("runs");
        fs::create_dir_all(known.join("0a-1")).unwrap();
        files.sweep(&known);
        assert!(files.root().join("runs/0a-1").exists());
        fs::remove_dir(known.join("0a-1")).unwrap();
        files.sweep(&known);
        assert!(!files.root().join("runs/0a-1").exists());
        files.put(&run).unwrap();
        files.end("0a-1").unwrap();
        files.end("0a-1").unwrap();
        assert!(!files.root().join("runs/0a-1").exists() && files.root().join(&program.name).exists());
        for odd in ["", "..", "a/b"] {
            assert!(files.end(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_changed_program_gets_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("workmux");
        fs::write(&path, "one").unwrap();
        let one = Files::program(&path).unwrap();
        fs::write(&path, "other").unwrap();
        assert_ne!(one.name, Files::program(&path).unwrap().name);
        assert_eq!(Files::file(&path), Files::file(&path));
    }
}
