//! Takes a library out of the user's plugin directory, with its manifest and what the user confirmed of it. Whether
//! somebody still uses it is for the caller to know.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use workmux_plugin_api::Manifest;
use workmux_plugin_api::manifest::valid_name;

use super::install::{alone, gone, not_a_directory};
use super::registry::{Registry, exists};
use super::search::{self, Kind};
use super::trust::quoted;
use super::{Rejection, manifest};

/// What is to be removed.
#[derive(Debug)]
pub struct Removal {
    /// The backend's name.
    pub name: String,
    /// What is there of it, the library first.
    pub files: Vec<PathBuf>,
    /// What it says of itself, where that can be read. Foreign text.
    pub manifest: Option<Manifest>,
    /// What will be used then.
    pub instead: Option<PathBuf>,
    /// The path that was confirmed.
    pinned: PathBuf,
}

impl Registry {
    /// Looks for what is to be removed. Works for libraries that cannot be used too.
    pub fn removal(&self, name: &str) -> Result<Removal, Rejection> {
        let dir = search::user_directory(&self.environment).filter(|_| valid_name(name));
        let paths =
            dir.iter().flat_map(|dir| [search::file_name(name), manifest::file_name(name)].map(|f| dir.join(f)));
        let files: Vec<PathBuf> = paths.filter(|path| path.symlink_metadata().is_ok()).collect();
        let (Some(dir), false) = (dir, files.is_empty()) else { return Err(self.not_there(name)) };
        files.iter().try_for_each(|path| not_a_directory(path))?;
        let path = dir.join(search::file_name(name));
        let place = self.places.iter().find(|place| place.dir == dir);
        Ok(Removal {
            name: name.to_owned(),
            manifest: place.and_then(|place| Some(self.examine(place, &path, name).ok()?.found.manifest)),
            instead: place.and_then(|place| self.hidden(place, name)),
            // A confirmation is kept by where the library really lies.
            pinned: path.canonicalize().or_else(|_| real(&dir, name)).unwrap_or(path),
            files,
        })
    }

    /// Takes back what the user confirmed of a library, which need not be there any more; whether there was anything.
    pub fn distrust(&self, path: &Path) -> Result<bool, Rejection> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().ok_or_else(|| Rejection::new("it is no file"))?;
        let real = path.canonicalize().or_else(|_| dir.canonicalize().map(|dir| dir.join(name)));
        self.pins.forget(&real.map_err(|e| Rejection::new(format!("its directory cannot be read: {e}")))?)
    }

    /// Removes it. What was confirmed goes first: a library that is left over is one that must be confirmed.
    pub fn remove(&self, removal: &Removal) -> Result<(), Rejection> {
        let dir = removal.files.first().and_then(|file| file.parent());
        let _alone = dir.map(alone).transpose()?;
        self.pins.forget(&removal.pinned)?;
        for file in &removal.files {
            gone(fs::remove_file(file))
                .map_err(|e| Rejection::new(format!("{} cannot be removed: {e}", quoted(file))))?;
        }
        Ok(())
    }

    /// The backends that could be removed, by name.
    pub fn removable(&self) -> Vec<String> {
        let dir = search::user_directory(&self.environment);
        dir.map(|dir| search::candidates(&dir).into_iter().map(|(name, _)| name).collect()).unwrap_or_default()
    }

    /// Why there is nothing to remove: it lies elsewhere, or nowhere.
    fn not_there(&self, name: &str) -> Rejection {
        let elsewhere =
            self.places.iter().filter(|_| valid_name(name)).find_map(|place| Some((place, exists(place, name)?)));
        match elsewhere {
            Some((place, path)) if place.kind == Kind::Chosen => {
                Rejection::new(format!("you did not install it: it is {}, in WORKMUX_PLUGIN_PATH", quoted(&path)))
                    .fix("take that directory out of WORKMUX_PLUGIN_PATH, or remove the file")
            }
            Some((_, path)) => Rejection::new(format!("it came with the program: {}", quoted(&path)))
                .fix("choose another one instead: sandbox.backend in your configuration, or --backend NAME"),
            None => Rejection::new("there is no such backend").fix(match self.removable().as_slice() {
                [] => "you installed none; what there is: workmux plugin list".to_owned(),
                names => format!("you installed: {}", names.join(", ")),
            }),
        }
    }
}

/// Where the library of this name would really lie.
fn real(dir: &Path, name: &str) -> io::Result<PathBuf> {
    Ok(dir.canonicalize()?.join(search::file_name(name)))
}
