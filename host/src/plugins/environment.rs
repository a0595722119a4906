//! What plugin handling depends on from outside, as plain data: the program's place, variables, directories, who we
//! are. Tests make their own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::backend::Deadlines;
use super::trust::Identity;

/// See the module.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The running program, links resolved.
    pub executable: PathBuf,
    /// Environment variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// Where this program keeps state: `$XDG_STATE_HOME/workmux`.
    pub state_dir: PathBuf,
    /// Where it keeps what can be made again: `$XDG_CACHE_HOME/workmux`.
    pub cache_dir: PathBuf,
    /// Last in the search order.
    pub system_dirs: Vec<PathBuf>,
    /// Whose files are ours.
    pub identity: Identity,
    /// What tries a library first, with the library's path as its last argument: this program's hidden subcommand.
    pub trial: Vec<OsString>,
    /// How long a backend may take.
    pub deadlines: Deadlines,
}

impl Environment {
    /// The real one.
    pub fn current() -> io::Result<Self> {
        let variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let dir = |name: &str, below_home: &str| {
            absolute(variables.get(OsStr::new(name)))
                .map(Path::to_owned)
                .or_else(|| Some(home.as_ref()?.join(below_home)))
                .map(|base| base.join("workmux"))
                .ok_or_else(|| io::Error::other(format!("neither {name} nor HOME is an absolute path")))
        };
        Ok(Self {
            executable: std::env::current_exe()?.canonicalize()?,
            state_dir: dir("XDG_STATE_HOME", ".local/state")?,
            cache_dir: dir("XDG_CACHE_HOME", ".cache")?,
            system_dirs: ["/usr/local/lib/workmux/plugins", "/usr/lib/workmux/plugins"].map(PathBuf::from).to_vec(),
            identity: Identity::current(),
            // Not the path found above: the file there may have been replaced since we started.
            trial: ["/proc/self/exe", "__load-plugin"].map(OsString::from).to_vec(),
            deadlines: Deadlines::default(),
            variables,
        })
    }

    /// A variable.
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// A variable that holds an absolute path.
    pub fn var_path(&self, name: &str) -> Option<&Path> {
        absolute(self.var(name))
    }
}

fn absolute<S: AsRef<OsStr> + ?Sized>(value: Option<&S>) -> Option<&Path> {
    value.map(|value| Path::new(value.as_ref())).filter(|path| path.is_absolute())
}
