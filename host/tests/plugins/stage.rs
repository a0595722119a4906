//! A temporary prefix with libraries in it, and an environment that looks there and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use workmux::plugins::{Deadlines, Environment, Identity};

/// `bin/workmux` and `lib/workmux/plugins/` below a temporary directory.
pub(crate) struct Stage {
    root: PathBuf,
    _temp: Option<tempfile::TempDir>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let stage = Self { root: temp.path().to_owned(), _temp: Some(temp) };
        for dir in ["bin", "lib/workmux/plugins", "data/workmux/plugins", "tools"] {
            make_dir(&stage.at(dir));
        }
        fs::write(stage.at("bin/workmux"), "").unwrap();
        stage
    }

    /// One that another process made and removes.
    pub(crate) fn there(root: PathBuf) -> Self {
        Self { root, _temp: None }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Copies a built library into the prefix.
    pub(crate) fn install(&self, name: &str) -> PathBuf {
        self.install_as(name, "lib/workmux/plugins", name)
    }

    /// Copies a built library into a directory, under another name.
    pub(crate) fn install_as(&self, name: &str, dir: &str, as_name: &str) -> PathBuf {
        let path = self.at(dir).join(file_name(as_name));
        write(&path, &library(name));
        path
    }

    pub(crate) fn environment(&self) -> Environment {
        let set = |name: &str, value: PathBuf| (name.into(), value.into());
        Environment {
            executable: self.at("bin/workmux"),
            variables: BTreeMap::from([
                set("XDG_DATA_HOME", self.at("data")),
                set("HOME", self.at("home")),
                set("PATH", "/usr/bin".into()),
            ]),
            state_dir: self.at("state"),
            cache_dir: self.at("cache"),
            system_dirs: Vec::new(),
            identity: Identity::current(),
            // This very test program; libtest takes the library's path for one more name of a test.
            trial: [
                std::env::current_exe().unwrap().as_os_str(),
                "--exact".as_ref(),
                "--nocapture".as_ref(),
                "--test-threads=1".as_ref(),
                "plugins::trial_child".as_ref(),
            ]
            .map(ToOwned::to_owned)
            .to_vec(),
            deadlines: Deadlines::default(),
        }
    }
}

/// The other half of [`Environment::trial`] above; does nothing in an ordinary test run.
pub(crate) fn be_the_trial_child() {
    let library = std::env::args_os().next_back().map(PathBuf::from).unwrap();
    if library.starts_with("/proc") {
        let code = workmux::plugins::trial_main(&library);
        std::process::exit(i32::from(format!("{code:?}") != format!("{:?}", std::process::ExitCode::SUCCESS)));
    }
}

pub(crate) fn file_name(name: &str) -> String {
    format!("libworkmux_backend_{}.so", name.replace('-', "_"))
}

/// A library that cargo built as a dev-dependency: it lies beside this test program.
pub(crate) fn library(name: &str) -> Vec<u8> {
    fs::read(std::env::current_exe().unwrap().with_file_name(file_name(name))).unwrap()
}

pub(crate) fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    mode(path, 0o644);
}

pub(crate) fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn make_dir(path: &Path) {
    fs::create_dir_all(path).unwrap();
    mode(path, 0o755);
}
