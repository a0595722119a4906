//! The machines of a world whose sandboxes are Lima's: where they are, what drives them, and their end with the world.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::given::given;
use crate::run::{Finished, Run};
use crate::sandbox::Sandbox;
use crate::world::World;

/// Lima's directory in a world. Sockets lie in it, so its name is short.
const LIMA_HOME: &str = "l";

/// Ends the machines of a world when it is dropped.
#[derive(Debug)]
pub(crate) struct Machines(PathBuf);

impl Machines {
    pub(crate) fn of(home: &Path) -> Self {
        Self(home.join(LIMA_HOME))
    }

    /// The search path with the stand-in in front.
    pub(crate) fn search_path(base: &OsStr) -> OsString {
        let mut path = OsString::new();
        if let Some(folder) = folder() {
            path.push(folder);
            path.push(":");
        }
        path.push(base);
        path
    }
}

/// Where the stand-in lies.
fn folder() -> Option<&'static Path> {
    given().limactl.as_deref()?.parent()
}

fn names(lima_home: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(lima_home).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| !name.starts_with('_')).collect()
}

impl Drop for Machines {
    fn drop(&mut self) {
        let Some(limactl) = &given().limactl else { return };
        for name in names(&self.0) {
            let home = self.0.parent().unwrap_or(&self.0);
            let stop = Run::new(limactl).args(["stop", "--force", &name]).env("HOME", home).env("LIMA_HOME", &self.0);
            let _ended = stop.dir("/").run();
        }
    }
}

impl World {
    /// The folder of the stand-in for `limactl`, in worlds that have machines.
    pub(crate) fn stand_in_for_limactl(&self) -> Option<&'static Path> {
        folder().filter(|_| self.sandbox() == Sandbox::Lima)
    }

    /// Lima's directory.
    pub fn lima_home(&self) -> PathBuf {
        self.home().join(LIMA_HOME)
    }

    /// The names of the machines that are there.
    pub fn machines(&self) -> Vec<String> {
        // Not one of [`Machines`], with which they would end.
        let mut names = names(&self.lima_home());
        names.sort();
        names
    }

    /// Stops all machines, so that the next start brings what a changed configuration asks for; elsewhere nothing.
    pub fn stop_machines(&self) {
        for name in self.machines() {
            self.limactl(&["stop", "--force", &name]).ok();
        }
    }

    /// The stand-in for `limactl`, as a user types it.
    pub fn limactl(&self, words: &[&str]) -> Finished {
        self.program("limactl").args(words).dir("/").run()
    }
}
