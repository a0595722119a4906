//! Where libraries may lie, in which order, and what their file names mean. Looks at names only; nothing is opened.
//!
//! The list is closed: never the project, the current directory or a relative path.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use workmux_plugin_api::manifest::valid_name;

use super::Environment;

/// Several plugin directories of the user's choice, separated like `PATH`.
pub(super) const PATH_VARIABLE: &str = "WORKMUX_PLUGIN_PATH";
/// A cargo target directory holds this file.
const CARGO_MARK: &str = ".cargo-lock";
/// Entries looked at in one directory; more are not plugins but something else.
const MAX_ENTRIES: usize = 10_000;

/// One directory of the search order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) kind: Kind,
}

/// What a directory is to us; decides how far its content is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Named by `WORKMUX_PLUGIN_PATH`.
    Chosen,
    /// The user's own plugin directory.
    User,
    /// Beside the executable, in a cargo build.
    Build,
    /// Below the prefix the executable is installed in.
    Prefix,
    /// The system's.
    System,
}

/// The user's own plugin directory, where there is a home.
pub(super) fn user_directory(environment: &Environment) -> Option<PathBuf> {
    let data = environment.var_path("XDG_DATA_HOME").map(Path::to_owned);
    let data = data.or_else(|| Some(environment.var_path("HOME")?.join(".local/share")));
    data.map(|data| data.join("workmux/plugins"))
}

/// The search order; the first directory that has a name wins it.
pub(super) fn places(environment: &Environment) -> Vec<Place> {
    let mut places = Vec::new();
    if let Some(list) = environment.var(PATH_VARIABLE) {
        places.extend(std::env::split_paths(list).map(|dir| Place { dir, kind: Kind::Chosen }));
    }
    places.extend(user_directory(environment).map(|dir| Place { dir, kind: Kind::User }));
    if let Some(beside) = environment.executable.parent() {
        if beside.join(CARGO_MARK).is_file() {
            places.push(Place { dir: beside.to_owned(), kind: Kind::Build });
            places.push(Place { dir: beside.join("deps"), kind: Kind::Build });
        }
        if let Some(prefix) = beside.parent() {
            places.push(Place { dir: prefix.join("lib/workmux/plugins"), kind: Kind::Prefix });
        }
    }
    places.extend(environment.system_dirs.iter().map(|dir| Place { dir: dir.clone(), kind: Kind::System }));
    places.retain(|place| place.dir.is_absolute());
    let mut seen = Vec::new();
    places.retain(|place| {
        let new = !seen.contains(&place.dir);
        seen.push(place.dir.clone());
        new
    });
    places
}

/// The file that holds a backend of this name.
pub(super) fn file_name(name: &str) -> String {
    format!("{DLL_PREFIX}workmux_backend_{}{DLL_SUFFIX}", name.replace('-', "_"))
}

/// The backend's name by its library's file name.
pub(super) fn backend_name(file: &OsStr) -> Option<String> {
    let name = file.to_str()?.strip_prefix(DLL_PREFIX)?.strip_suffix(DLL_SUFFIX)?.strip_prefix("workmux_backend_")?;
    // A dash in a file name would give one backend two possible files.
    let name = (!name.contains('-')).then(|| name.replace('_', "-"))?;
    valid_name(&name).then_some(name)
}

/// The candidates in a directory, by name: backend and path. A directory that is not there has none.
pub(super) fn candidates(dir: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .take(MAX_ENTRIES)
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((backend_name(&entry.file_name())?, entry.path()))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing;

    #[test]
    fn p72_the_search_order_is_fixed_and_has_no_relative_entries() {
        let temp = tempfile::tempdir().unwrap();
        let mut environment = testing::environment(temp.path());
        let build = temp.path().join("target/debug");
        std::fs::create_dir_all(&build).unwrap();
        environment.executable = build.join("workmux");
        environment.system_dirs = vec!["/usr/lib/workmux/plugins".into()];
        for (name, value) in [
            ("WORKMUX_PLUGIN_PATH", "/chosen/a:relative:.::../up:/chosen/b:/chosen/a"),
            ("XDG_DATA_HOME", "/data"),
            ("HOME", "/home/u"),
        ] {
            environment.variables.insert(name.into(), value.into());
        }
        let dirs = |environment: &Environment| -> Vec<String> {
            let text = |place: Place| place.dir.to_str().unwrap().replace(temp.path().to_str().unwrap(), "T");
            places(environment).into_iter().map(text).collect()
        };
        let around = |build: &[&str]| {
            let mut all = vec!["/chosen/a", "/chosen/b", "/data/workmux/plugins"];
            all.extend(build);
            all.extend(["T/target/lib/workmux/plugins", "/usr/lib/workmux/plugins"]);
            all.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(dirs(&environment), around(&[]), "not a cargo build: nothing beside the executable");
        std::fs::write(build.join(".cargo-lock"), "").unwrap();
        assert_eq!(dirs(&environment), around(&["T/target/debug", "T/target/debug/deps"]));

        environment.variables.insert("XDG_DATA_HOME".into(), "data".into());
        assert_eq!(dirs(&environment)[2], "/home/u/.local/share/workmux/plugins", "a relative one counts as absent");
    }

    #[test]
    fn file_names_and_backend_names_map_both_ways() {
        for name in ["acme", "my-cloud", "k8s"] {
            assert_eq!(backend_name(OsStr::new(&file_name(name))).as_deref(), Some(name));
        }
        let wrong = ["acme.so", "libworkmux_backend_.so", "libworkmux_backend_A.so", "libworkmux_backend_my-cloud.so"];
        for file in wrong.iter().chain(&["libworkmux_backend_x.so.bak", "libworkmux_backend_../x.so"]) {
            assert_eq!(backend_name(OsStr::new(file)), None, "{file}");
        }
    }
}
