//! Puts a library into the user's plugin directory: whole or not at all, with its manifest beside it, and confirmed as
//! it is now. None of its code runs. What may be put there is [`super::source`]'s business.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use workmux_plugin_api::Manifest;

use super::pins::{Candidate, Standing};
use super::registry::Registry;
use super::source::Source;
use super::trust::quoted;
use super::{Rejection, image, manifest, pins, search};

/// What half-made files are called, so that the next one can take away what a killed one left.
const HALF: &str = ".half-installed-";
/// Everybody may read it, its owner alone may write it.
const MODE: u32 = 0o644;

/// An installed library.
#[derive(Debug)]
pub struct Installed {
    /// What it says of itself. Foreign text.
    pub manifest: Manifest,
    /// Where it lies now.
    pub path: PathBuf,
    /// Everything was there already.
    pub unchanged: bool,
    /// What would be used if it were not there.
    pub hides: Option<PathBuf>,
    /// What is used in its place: found earlier.
    pub hidden_by: Option<PathBuf>,
}

/// What has the place already.
enum There {
    Nothing,
    /// The same bytes, safe where they are.
    Same,
    /// Anything else: what to call it.
    Other(String),
}

impl Registry {
    /// Installs the library that `given` names. One of its name that is another file is replaced with `force` only.
    /// The refusal goes on from what was given.
    pub fn install(&self, given: &Path, force: bool) -> Result<Installed, Rejection> {
        let source = Source::find(&self.trust, given)?;
        let name = source.manifest.name.clone();
        let (wanted, dir) = self.own_directory()?;
        let _alone = alone(&dir)?;
        sweep(&dir);
        let path = dir.join(search::file_name(&name));
        let beside = dir.join(manifest::file_name(&name));
        let there = self.there(&path, &source)?;
        if let (There::Other(what), false) = (&there, force) {
            let again = crate::text::quote(given.as_os_str());
            return Err(Rejection::new(format!("{what} is there already: {}", quoted(&path)))
                .fix(format!("replace it: workmux plugin install --force {again}")));
        }
        not_a_directory(&beside)?;
        let candidate = Candidate { path: &path, sha256: &source.sha256, manifest: &source.manifest };
        let same = matches!(there, There::Same);
        let unchanged = same
            && self.says(&beside, &source.beside)
            && matches!(self.pins.standing(&self.trust, &candidate), Ok(Standing::Confirmed { .. }));
        if !unchanged {
            // What can fail for want of space or rights comes first; then what is there changes, step by step to
            // something that is refused rather than believed.
            let library = if same { None } else { Some(copy(&source, &dir)?) };
            let text = half(&dir).and_then(|mut file| {
                file.write_all(source.beside.as_bytes())?;
                file.as_file().sync_all()?;
                Ok(file)
            });
            let text = text.map_err(|e| cannot_write(&dir, &e))?;
            self.pins.put(&self.trust, &candidate)?;
            if let Some(library) = library {
                // The old manifest would call the new library damaged.
                gone(fs::remove_file(&beside)).map_err(|e| cannot_write(&beside, &e))?;
                library.persist(&path).map_err(|e| cannot_write(&path, &e.error))?;
            }
            text.persist(&beside).map_err(|e| cannot_write(&beside, &e.error))?;
        }
        let place = self.places.iter().find(|place| place.dir == wanted);
        Ok(Installed {
            hides: place.and_then(|place| self.hidden(place, &name)),
            hidden_by: self.winner(&name).ok().filter(|(place, _)| place.dir != wanted).map(|(_, path)| path),
            manifest: source.manifest,
            path,
            unchanged,
        })
    }

    /// The user's plugin directory as it is looked for, and where it really is. Made where it is not there.
    fn own_directory(&self) -> Result<(PathBuf, PathBuf), Rejection> {
        let wanted = search::user_directory(&self.environment).ok_or_else(|| {
            Rejection::new("neither XDG_DATA_HOME nor HOME is an absolute path").fix("set it: export HOME=/home/you")
        })?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&wanted);
        made.map_err(|e| Rejection::new(format!("the directory {} cannot be made: {e}", quoted(&wanted))))?;
        let real = self.trust.directory(&wanted)?;
        Ok((wanted, real))
    }

    fn there(&self, path: &Path, source: &Source) -> Result<There, Rejection> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
            Err(e) => return Err(Rejection::new(format!("{} cannot be read: {e}", quoted(path)))),
        };
        not_a_directory(path)?;
        if found.is_symlink() {
            return Ok(There::Other("a link".into()));
        }
        let Ok(opened) = self.trust.open(path) else { return Ok(There::Other("a file of another's".into())) };
        if pins::sha256(&opened.file)? == source.sha256 {
            return Ok(There::Same);
        }
        let version = manifest::embedded(&opened.file).map(|inside| crate::text::line(&inside.version));
        Ok(There::Other(version.map_or_else(
            |_| "another file".into(),
            |version| format!("another '{}', version {version},", source.manifest.name),
        )))
    }

    /// Whether a file of ours holds this text.
    fn says(&self, path: &Path, text: &str) -> bool {
        let read = self.trust.open(path).ok().filter(|opened| opened.metadata.len() == text.len() as u64);
        let mut found = String::new();
        read.is_some_and(|opened| opened.file.take(text.len() as u64).read_to_string(&mut found).is_ok())
            && found == text
    }
}

/// A copy beside its later place, of the bytes that were checked.
fn copy(source: &Source, dir: &Path) -> Result<NamedTempFile, Rejection> {
    let failed = |e: io::Error| cannot_write(dir, &e);
    let mut file = half(dir).map_err(failed)?;
    io::copy(&mut (&source.opened.file).take(image::MAX_SIZE), &mut file).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    if pins::sha256(file.as_file())? != source.sha256 {
        return Err(Rejection::new("it was changed while it was copied").fix("try again"));
    }
    Ok(file)
}

fn half(dir: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(HALF).permissions(Permissions::from_mode(MODE)).tempfile_in(dir)
}

/// Nobody else installs or removes here until this is dropped.
pub(super) fn alone(dir: &Path) -> Result<File, Rejection> {
    let failed = |e: io::Error| Rejection::new(format!("{} cannot be locked: {e}", quoted(dir)));
    let lock = File::open(dir).map_err(failed)?;
    lock.lock().map_err(failed)?;
    Ok(lock)
}

/// Takes away what one that was killed left. Only with the lock.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(HALF.as_bytes()) {
            // What stays costs space and nothing else.
            let _stays = fs::remove_file(entry.path());
        }
    }
}

/// A link to one counts as the link it is.
pub(super) fn not_a_directory(path: &Path) -> Result<(), Rejection> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(Rejection::new(format!("a directory has its place: {}", quoted(path))).fix("move that away"))
        }
        _ => Ok(()),
    }
}

/// That it was not there is as good.
pub(super) fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

fn cannot_write(path: &Path, error: &io::Error) -> Rejection {
    Rejection::new(format!("{} cannot be written: {error}", quoted(path)))
}
