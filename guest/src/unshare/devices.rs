//! A `/dev` of its own: the devices that every program may expect, and none through which a machine's processes, or a
//! machine and its host, could meet.
//!
//! The devices are those that are there, seen from another place: an ordinary user cannot make any. Whoever is outside
//! finds nothing new in theirs.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::layout::Source;
use super::options::Absolute;

const DEV: &str = "/dev";
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Mounted on later, where anything is.
const DIRECTORIES: [&str; 3] = ["pts", "shm", "mqueue"];
/// The terminal that this program was given, if it was given one, has the name that programs look for.
const CONSOLE: &str = "console";
const FLAGS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);

/// What is to be seen there, found before anything is covered.
pub(super) struct Devices(Vec<(&'static str, Source)>);

impl Devices {
    pub(super) fn find() -> Result<Self, String> {
        let source = |path: OsString| {
            let path = Absolute::parse(&path)?;
            Source::open(&path).map_err(|why| format!("could not open '{path}': {why}"))
        };
        let mut found = Vec::new();
        for name in DEVICES {
            found.push((name, source(Path::new(DEV).join(name).into())?));
        }
        // By its name: the descriptor is of the outer namespace, from which nothing can be bound any more.
        let given = fs::read_link("/proc/self/fd/0").unwrap_or_default();
        if given.parent() == Some(Path::new("/dev/pts"))
            && let Ok(terminal) = source(given.into())
        {
            found.push((CONSOLE, terminal));
        }
        Ok(Self(found))
    }

    /// Covers what is there. Nothing can be added to it afterwards.
    pub(super) fn lay_out(&self) -> Result<(), String> {
        let failed = |why: &dyn std::fmt::Display| format!("could not make '{DEV}': {why}");
        mount(Some("tmpfs"), DEV, Some("tmpfs"), FLAGS, Some("mode=0755,size=64k,nr_inodes=64"))
            .map_err(|e| failed(&e.desc()))?;
        let at = Path::new(DEV);
        let furnish = || {
            DIRECTORIES.iter().try_for_each(|name| fs::create_dir(at.join(name)))?;
            LINKS.iter().try_for_each(|(name, to)| symlink(to, at.join(name)))?;
            self.0.iter().try_for_each(|(name, _)| File::create_new(at.join(name)).map(drop))
        };
        furnish().map_err(|e: std::io::Error| failed(&e))?;
        for (name, device) in &self.0 {
            device.bind(&Absolute::parse(at.join(name).as_os_str())?, false)?;
        }
        let flags = FLAGS | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, DEV, None::<&str>, flags, None::<&str>).map_err(|e| failed(&e.desc()))
    }
}
