//! A repository and one checkout of it, found by reading files: no git process, nothing followed that could mislead.
//!
//! The three shapes are a main checkout (`.git` is a directory), a linked worktree (`.git` leads to an admin dir,
//! which leads back), and a separate git dir (`.git` leads to a directory that claims no other checkout).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::command::{self, GitCommand};
use super::config::Effective;
use super::config_file::{self, Setting};
use super::error::GitError;
use super::oid::ObjectFormat;
use super::pointer::{self, must_agree, odd};
use super::record::Record;

/// Where a repository keeps its refs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefFormat {
    /// Loose files and `packed-refs`.
    Files,
    /// Tables that only git reads.
    Reftable,
}

/// Who commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `user.name`.
    pub name: Option<String>,
    /// `user.email`.
    pub email: Option<String>,
}

/// One checkout and the repository it belongs to. All paths are canonical, absolute and UTF-8.
#[derive(Debug, Clone)]
pub struct Repository {
    /// The root of the checkout.
    pub worktree: PathBuf,
    /// What all checkouts share: objects, refs, configuration.
    pub common_dir: PathBuf,
    /// What belongs to this checkout alone: `HEAD`, `index`. In a main checkout the same as `common_dir`.
    pub admin_dir: PathBuf,
    /// The root of the main checkout, where the repository has one.
    pub main_checkout: Option<PathBuf>,
    /// How objects are named.
    pub object_format: ObjectFormat,
    /// How refs are kept.
    pub ref_format: RefFormat,
    /// The settings of the repository's own file that decide its format, and nothing else.
    pub(super) format: Format,
    pub(super) record: Record,
    pub(super) program: PathBuf,
    effective: Arc<OnceLock<Result<Effective, GitError>>>,
}

/// What git takes from a repository's own configuration file alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Format {
    pub bare: bool,
    pub worktree_config: bool,
    pub partial_clone: Option<String>,
    core_worktree: Option<String>,
    object_format: Option<String>,
    ref_storage: Option<String>,
    version: u32,
}

impl Repository {
    /// The checkout that `cwd` lies in.
    pub fn discover(cwd: &Path) -> Result<Self, GitError> {
        Self::discover_with(cwd, command::program()?)
    }

    /// [`Self::discover`] for a given git.
    pub(super) fn discover_with(cwd: &Path, program: PathBuf) -> Result<Self, GitError> {
        let cwd = cwd.canonicalize().map_err(GitError::io("find", cwd))?;
        for worktree in cwd.ancestors() {
            let dot_git = worktree.join(".git");
            let Ok(meta) = fs::symlink_metadata(&dot_git) else { continue };
            let (common_dir, admin_dir) =
                if meta.is_dir() { (dot_git.clone(), dot_git) } else { through_pointer(worktree, &dot_git)? };
            if cwd.starts_with(&common_dir) {
                return Err(GitError::NotAWorktree(cwd));
            }
            return Self::at(worktree.to_owned(), common_dir, admin_dir, program);
        }
        Err(GitError::NotAWorktree(cwd))
    }

    /// Checks one checkout whose directories are known.
    fn at(worktree: PathBuf, common_dir: PathBuf, admin_dir: PathBuf, program: PathBuf) -> Result<Self, GitError> {
        for path in [&worktree, &common_dir, &admin_dir] {
            if path.to_str().is_none_or(|p| p.contains('\n')) {
                return Err(GitError::refused(
                    format!("the path '{}' holds a newline or is not UTF-8", path.display()),
                    "move the repository to a plainer path",
                ));
            }
        }
        let linked = admin_dir != common_dir;
        // Two directories whose place git lets files redirect.
        for dir in ["objects", "refs"] {
            let path = common_dir.join(dir);
            if !fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
                return Err(odd(&path, "is not a directory"));
            }
        }
        if !linked && fs::symlink_metadata(common_dir.join("commondir")).is_ok() {
            return Err(odd(&common_dir.join("commondir"), "has no place in a main checkout"));
        }
        must_be_ours(&common_dir)?;
        let format = Format::read(&common_dir)?;
        format.check_worktree(&common_dir, &worktree, linked)?;
        if format.worktree_config {
            let own = Format::of(&settings_in(&admin_dir.join("config.worktree"))?);
            own.check_worktree(&admin_dir, &worktree, false)?;
        }
        let object_format = format.object_format()?;
        let ref_format = format.ref_format()?;
        let main_checkout = match linked {
            false => Some(worktree.clone()),
            true => common_dir.parent().filter(|_| !format.bare && common_dir.ends_with(".git")).map(Path::to_owned),
        };
        let objects = common_dir.join("objects");
        let mut pointers = vec![admin_dir.join("commondir"), admin_dir.join("gitdir")];
        if worktree.join(".git") != common_dir {
            pointers.push(worktree.join(".git"));
        }
        let record = Record::take(&[&worktree, &common_dir, &admin_dir, &objects], &pointers)?;
        Ok(Self {
            worktree,
            common_dir,
            admin_dir,
            main_checkout,
            object_format,
            ref_format,
            format,
            record,
            program,
            effective: Arc::default(),
        })
    }

    /// The same checkout as an earlier process recorded it.
    pub(super) fn recorded(worktree: &Path, program: PathBuf, record: &Record) -> Result<Self, GitError> {
        record.verify()?;
        let found = Self::discover_with(worktree, program)?;
        if found.worktree != worktree {
            return Err(GitError::Changed(worktree.to_owned()));
        }
        Ok(Self { record: record.clone(), ..found })
    }

    /// Fails if the repository is no longer the one that was discovered (P18).
    pub fn verify(&self) -> Result<(), GitError> {
        self.record.verify()
    }

    /// Whether this is a linked worktree.
    pub fn is_linked(&self) -> bool {
        self.admin_dir != self.common_dir
    }

    /// `git verb` on this checkout, after [`Self::verify`].
    pub fn git(&self, verb: &str) -> Result<GitCommand, GitError> {
        self.verify()?;
        Ok(GitCommand::new(&self.program, &self.admin_dir, Some(&self.worktree), verb))
    }

    /// Who commits here: `GIT_AUTHOR_*` of the environment, else the user's and the repository's configuration.
    pub fn identity(&self) -> Identity {
        let variable = |name| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
        let mut identity = Identity { name: variable("GIT_AUTHOR_NAME"), email: variable("GIT_AUTHOR_EMAIL") };
        if identity.name.is_none() || identity.email.is_none() {
            // An unreadable configuration is reported where it matters: when the boundary is made.
            if let Ok(effective) = self.effective() {
                identity.name = identity.name.or_else(|| effective.last("user", "name"));
                identity.email = identity.email.or_else(|| effective.last("user", "email"));
            }
        }
        identity
    }

    /// The settings of the repository's own file, without includes.
    pub(super) fn own_settings(&self) -> Result<Vec<Setting>, GitError> {
        self.verify()?;
        settings_in(&self.common_dir.join("config"))
    }

    /// Starts to read the configuration in force here, beside whatever the caller does next. Clones share it.
    pub fn read_ahead(&self) {
        let repository = self.clone();
        // Without a thread it is read when it is needed.
        let _thread = std::thread::Builder::new().name("git config".into()).spawn(move || drop(repository.effective()));
    }

    /// The configuration in force here, from one git process per `Repository` and its clones.
    pub(super) fn effective(&self) -> Result<&Effective, GitError> {
        self.read_effective().as_ref().map_err(GitError::again)
    }

    fn read_effective(&self) -> &Result<Effective, GitError> {
        self.effective.get_or_init(|| Effective::read(self))
    }
}

/// Resolves a `.git` that is no directory: (common dir, admin dir).
fn through_pointer(worktree: &Path, dot_git: &Path) -> Result<(PathBuf, PathBuf), GitError> {
    let admin = pointer::follow(dot_git, "gitdir: ")?;
    let commondir = admin.join("commondir");
    if fs::symlink_metadata(&commondir).is_ok() {
        let common = pointer::follow(&commondir, "")?;
        must_agree(&commondir, &common.join("worktrees"), admin.parent().unwrap_or(&admin))?;
        let back = admin.join("gitdir");
        let line = pointer::read(&back)?;
        // The file it names is `dot_git`, which must not be resolved: that would follow a link in its place.
        let named = admin.join(line);
        let parent = named.parent().map(Path::canonicalize).transpose().ok().flatten().unwrap_or_default();
        must_agree(&back, &parent.join(named.file_name().unwrap_or_default()), dot_git)?;
        return Ok((common, admin));
    }
    if fs::symlink_metadata(admin.join("gitdir")).is_ok() {
        return Err(odd(&commondir, "is missing beside 'gitdir'"));
    }
    // A separate git dir names nobody, so the least it must do is not to be another checkout's own.
    if admin.ends_with(".git") && admin.parent() != Some(worktree) && !Format::read(&admin)?.names_worktree() {
        return Err(odd(dot_git, &format!("leads to '{}', the git dir of another checkout", admin.display())));
    }
    Ok((admin.clone(), admin))
}

/// Git's own rule against configuration that somebody else wrote; naming `GIT_DIR` would switch git's check off.
fn must_be_ours(common_dir: &Path) -> Result<(), GitError> {
    let owner = fs::metadata(common_dir).map_err(GitError::io("look at", common_dir))?.uid();
    let me = nix::unistd::geteuid();
    if owner != me.as_raw() && !me.is_root() {
        return Err(GitError::refused(
            format!("'{}' belongs to another user (uid {owner})", common_dir.display()),
            "work in a clone of your own, or let its owner run this",
        ));
    }
    Ok(())
}

/// The settings of one file, without includes. A missing one has none.
fn settings_in(path: &Path) -> Result<Vec<Setting>, GitError> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(GitError::io("read", path)(e)),
    };
    config_file::parse(&text).ok_or_else(|| {
        GitError::refused(format!("'{}' cannot be read as git configuration", path.display()), "mend the file")
    })
}

impl Format {
    fn read(common_dir: &Path) -> Result<Self, GitError> {
        Ok(Self::of(&settings_in(&common_dir.join("config"))?))
    }

    fn of(settings: &[Setting]) -> Self {
        let mut format = Self::default();
        settings.iter().for_each(|setting| format.apply(setting));
        format
    }

    fn apply(&mut self, setting: &Setting) {
        if setting.subsection.is_some() {
            return;
        }
        let value = || Some(setting.value.clone().unwrap_or_default());
        match (setting.section.as_str(), setting.name.as_str()) {
            ("core", "repositoryformatversion") => self.version = value().and_then(|v| v.parse().ok()).unwrap_or(0),
            ("core", "bare") => self.bare = setting.truth(),
            ("core", "worktree") => self.core_worktree = value(),
            ("extensions", "worktreeconfig") => self.worktree_config = setting.truth(),
            ("extensions", "objectformat") => self.object_format = value(),
            ("extensions", "refstorage") => self.ref_storage = value(),
            ("extensions", "partialclone") => self.partial_clone = value(),
            _ => {}
        }
    }

    fn names_worktree(&self) -> bool {
        self.core_worktree.is_some()
    }

    /// `core.worktree` may say what is true anyway, and nothing else.
    fn check_worktree(&self, common_dir: &Path, worktree: &Path, linked: bool) -> Result<(), GitError> {
        let Some(named) = self.core_worktree.as_deref().filter(|_| !linked) else {
            return match self.bare && !linked {
                true => Err(odd(&common_dir.join("config"), "says 'core.bare', so this is no checkout")),
                false => Ok(()),
            };
        };
        let leads_to = common_dir.join(named).canonicalize().unwrap_or_default();
        must_agree(&common_dir.join("config"), &leads_to, worktree)
    }

    fn object_format(&self) -> Result<ObjectFormat, GitError> {
        if self.version > 1 {
            return Err(self.unknown("core.repositoryFormatVersion", &self.version.to_string()));
        }
        match self.object_format.as_deref() {
            None | Some("sha1") => Ok(ObjectFormat::Sha1),
            Some("sha256") => Ok(ObjectFormat::Sha256),
            Some(other) => Err(self.unknown("extensions.objectFormat", other)),
        }
    }

    fn ref_format(&self) -> Result<RefFormat, GitError> {
        match self.ref_storage.as_deref() {
            None | Some("files") => Ok(RefFormat::Files),
            Some("reftable") => Ok(RefFormat::Reftable),
            Some(other) => Err(self.unknown("extensions.refStorage", other)),
        }
    }

    fn unknown(&self, key: &str, value: &str) -> GitError {
        GitError::refused(
            format!("the repository says {key} = '{}', which workmux does not know", super::error::clean(value)),
            "update workmux",
        )
    }
}
