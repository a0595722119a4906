//! The exchange: a bare repository of the host's own, where a guest's objects arrive as bytes and leave as checked ones.
//!
//! Only loose objects and packs are copied; indexes, alternates and everything else git would believe are made here
//! anew. The real repository then fetches from here, with every object checked and every link followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Whence, lseek};

use super::command::GitCommand;
use super::config_file::{self, Setting};
use super::error::{GitError, clean};
use super::guest_files::{Beneath, Kind};
use super::layout::{Layout, private_dir, write_whole};
use super::oid::{ObjectFormat, Oid};
use super::refs::{Refs, write_packed};
use super::repository::Repository;
use super::step;

/// Limits of one object file, of one pack, and of their numbers: room for big trees, not for filling a disk at once.
const LOOSE_LIMIT: u64 = 4 << 30;
const PACK_LIMIT: u64 = 64 << 30;
/// Smaller files are not asked how much of them is there.
const SPARSE: u64 = 16 << 20;
const MOST_LOOSE: usize = 1_000_000;
const MOST_PACKS: usize = 1000;
/// Indexing and fetching big packs is slow work.
const TRANSFER: Duration = Duration::from_secs(600);

/// The exchange repository of one boundary.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    repo: &'a Repository,
    dir: PathBuf,
}

impl<'a> Exchange<'a> {
    pub(super) fn at(layout: &Layout, repo: &'a Repository) -> Self {
        Self { repo, dir: layout.exchange() }
    }

    /// Writes the empty repository where it is not there yet: most runs bring nothing that needs it. No git process.
    fn make(&self) -> Result<(), GitError> {
        // Written last: without it an earlier attempt was interrupted.
        let head = self.dir.join("HEAD");
        if head.exists() {
            return Ok(());
        }
        for dir in ["objects/info", "objects/pack", "refs/heads", "incoming"] {
            private_dir(&self.dir.join(dir))?;
        }
        let mut settings = vec![
            Setting::new("core", None, "repositoryformatversion", "1"),
            Setting::new("core", None, "bare", "true"),
            Setting::new("extensions", None, "objectformat", self.repo.object_format.name()),
        ];
        if let Some(remote) = &self.repo.format.partial_clone {
            settings.push(Setting::new("extensions", None, "partialclone", remote));
            settings.push(Setting::new("remote", Some(remote), "promisor", "true"));
        }
        write_whole(&self.dir.join("config"), config_file::write(&settings).as_bytes())?;
        let objects = self.repo.common_dir.join("objects");
        write_whole(&self.dir.join("objects/info/alternates"), quoted(&objects).as_bytes())?;
        if let Ok(shallow) = fs::read(self.repo.common_dir.join("shallow")) {
            write_whole(&self.dir.join("shallow"), &shallow)?;
        }
        step("exchange-filled");
        write_whole(&head, b"ref: refs/heads/none\n")
    }

    /// A command in the exchange.
    pub(super) fn git(&self, verb: &str) -> Result<GitCommand, GitError> {
        self.make()?;
        Ok(GitCommand::new(&self.repo.program, &self.dir, None, verb))
    }

    /// Copies what is new among the guest's objects. Says which packs were no packs.
    pub(super) fn take_objects(&self, guest: &Path) -> Result<Vec<String>, GitError> {
        self.make()?;
        let top = Beneath::open_guest(guest).map_err(GitError::io("open", guest))?;
        let name = guest.join("objects");
        let Some(objects) = top.dir("objects").map_err(GitError::io("open", &name))? else { return Ok(Vec::new()) };
        // Loose before packs: what is packed in between is then in one of the two.
        self.take_loose(&objects).map_err(GitError::io("copy objects of", &name))?;
        step("objects-copied");
        self.take_packs(&objects, &name)
    }

    fn take_loose(&self, objects: &Beneath) -> io::Result<()> {
        let mut seen = 0;
        for (fan, kind) in objects.list(4096)? {
            if kind != Kind::Directory || !is_hex(&fan, 2) {
                continue;
            }
            let Some(dir) = objects.dir(&fan)? else { continue };
            for (file, kind) in dir.list(MOST_LOOSE)? {
                if kind != Kind::File || !is_hex(&file, self.repo.object_format.bytes() * 2 - 2) {
                    continue;
                }
                seen += 1;
                if seen > MOST_LOOSE {
                    return Err(io::Error::other(format!("the sandbox has more than {MOST_LOOSE} loose objects")));
                }
                let name = format!("{fan}/{file}");
                // What the host has, it has: nobody offers it a second version.
                if self.dir.join("objects").join(&name).exists()
                    || self.repo.common_dir.join("objects").join(&name).exists()
                {
                    continue;
                }
                private(&self.dir.join("objects").join(&fan))?;
                // What is not taken is missed, and said to be missing, where something needs it.
                let _not_taken = self.copy(&dir, &file, LOOSE_LIMIT, &self.dir.join("objects").join(&name))?;
            }
        }
        Ok(())
    }

    fn take_packs(&self, objects: &Beneath, name: &Path) -> Result<Vec<String>, GitError> {
        let mut refused = Vec::new();
        let io = |e| GitError::io("copy packs of", name)(e);
        let Some(dir) = objects.dir("pack").map_err(io)? else { return Ok(refused) };
        for (file, _) in dir.list(MOST_PACKS * 8).map_err(io)? {
            let hex = file.strip_prefix("pack-").and_then(|f| f.strip_suffix(".pack"));
            let Some(hex) = hex.filter(|hex| is_hex(hex, 40) || is_hex(hex, 64)) else { continue };
            let here = |dir: &str, end: &str| self.dir.join(dir).join(format!("pack-{hex}.{end}"));
            if here("objects/pack", "idx").exists() || here("incoming", "refused").exists() {
                continue;
            }
            let pack = here("incoming", "pack");
            if let Err(why) = self.copy(&dir, &file, PACK_LIMIT, &pack).map_err(io)? {
                refused.push(format!("a pack of the sandbox's was not taken: {}", clean(&why)));
                continue;
            }
            let indexed =
                self.git("index-pack")?.arg("-o").arg(here("incoming", "idx")).arg(&pack).deadline(TRANSFER).run();
            if let Err(e) = indexed {
                write_whole(&here("incoming", "refused"), b"")?;
                refused.push(format!("a pack of the sandbox's was not taken: {}", clean(&e.to_string())));
                continue;
            }
            // Git looks for packs by their index, so it comes last.
            for end in ["pack", "idx"] {
                fs::rename(here("incoming", end), here("objects/pack", end)).map_err(io)?;
            }
            step("pack-copied");
        }
        Ok(refused)
    }

    /// Copies one file. The outer error is ours, the inner one the guest's: a link, a FIFO, too big, gone.
    fn copy(&self, dir: &Beneath, file: &str, limit: u64, to: &Path) -> io::Result<Result<(), String>> {
        let mut from = match dir.open_file(file, limit) {
            Ok(Some(from)) => from,
            Ok(None) => return Ok(Err(format!("'{file}' is gone"))),
            Err(e) => return Ok(Err(e.to_string())),
        };
        if sparse(&from).unwrap_or(true) {
            return Ok(Err(format!("'{file}' is mostly holes")));
        }
        let mut begin = Vec::new();
        let begun = (&from).take(4).read_to_end(&mut begin).and_then(|_| from.rewind());
        // A pack, or the first byte of compressed data as git knows it.
        let right =
            if file.ends_with(".pack") { begin == b"PACK" } else { begin.first().is_some_and(|b| b & 0x8f == 8) };
        if begun.is_err() || !right {
            return Ok(Err(format!("'{file}' does not begin as it must")));
        }
        let new = self.dir.join("incoming/new");
        let copied = io::copy(&mut from.take(limit + 1), &mut fs::File::create(&new)?)?;
        if copied > limit {
            return Ok(Err(format!("'{file}' is larger than {limit} bytes")));
        }
        fs::rename(new, to).map(Ok)
    }

    /// Which of `oids` exist here (or in the real repository), and what they are.
    pub(super) fn kinds(&self, oids: &BTreeSet<Oid>) -> Result<BTreeMap<Oid, String>, GitError> {
        kinds(|| self.git("cat-file"), oids, self.repo.object_format)
    }

    /// Brings `tips` and all they need into the real repository, as `refs/wm/<run>/<name without refs/>`. Answers
    /// which arrived, and for the others the reason.
    pub(super) fn fetch(&self, run: &str, tips: &Refs) -> Result<BTreeMap<String, String>, GitError> {
        if tips.is_empty() {
            return Ok(BTreeMap::new());
        }
        let whole = match self.fetch_once(run, tips) {
            Ok(()) => return Ok(BTreeMap::new()),
            Err(e @ GitError::Failed { .. }) => e,
            Err(e) => return Err(e),
        };
        // One that is broken must not keep the others away.
        let mut failed = BTreeMap::new();
        for (name, oid) in tips {
            let one = Refs::from([(name.clone(), oid.clone())]);
            match if tips.len() > 1 { self.fetch_once(run, &one) } else { Err(whole.again()) } {
                Ok(()) => {}
                Err(e @ GitError::Failed { .. }) => _ = failed.insert(name.clone(), e.to_string()),
                Err(e) => return Err(e),
            }
        }
        Ok(failed)
    }

    fn fetch_once(&self, run: &str, tips: &Refs) -> Result<(), GitError> {
        self.make()?;
        write_whole(&self.dir.join("packed-refs"), write_packed(tips).as_bytes())?;
        step("tips-written");
        let fsck = if crate::mutant::off("p14_fsck") { "false" } else { "true" };
        self.repo
            .git("fetch")?
            .setting("protocol.file.allow=always")
            .setting(format!("fetch.fsckObjects={fsck}"))
            .setting("core.logAllRefUpdates=false")
            .setting("fetch.prune=false")
            .setting("core.filesRefLockTimeout=2000")
            .setting("core.packedRefsTimeout=10000")
            .args(["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance"])
            .args(["--no-prune", "--no-show-forced-updates", "--refmap="])
            .arg(&self.dir)
            .arg(format!("+refs/*:refs/wm/{run}/*"))
            .deadline(TRANSFER)
            .run()?;
        step("fetched");
        Ok(())
    }
}

/// Asked about at once: their answers stay well below what is kept of a tool's output.
const AT_ONCE: usize = 50_000;

/// Which of `oids` exist for `git`, and what they are.
pub(super) fn kinds(
    git: impl Fn() -> Result<GitCommand, GitError>,
    oids: &BTreeSet<Oid>,
    format: ObjectFormat,
) -> Result<BTreeMap<Oid, String>, GitError> {
    let mut kinds = BTreeMap::new();
    for oids in oids.iter().collect::<Vec<_>>().chunks(AT_ONCE) {
        let input: String = oids.iter().map(|oid| format!("{oid}\n")).collect();
        let listed = git()?.args(["--batch-check=%(objectname) %(objecttype)", "--buffer"]).input(input).run()?;
        let lines = String::from_utf8_lossy(&listed);
        kinds.extend(lines.lines().filter_map(|line| {
            let (oid, kind) = line.split_once(' ').filter(|(_, kind)| *kind != "missing")?;
            Some((Oid::parse(oid.as_bytes(), format)?, kind.to_owned()))
        }));
    }
    Ok(kinds)
}

/// Whether a big file has next to no content: no honest file of git's does, and copying gives it its full size.
fn sparse(mut file: &fs::File) -> io::Result<bool> {
    let meta = file.metadata()?;
    let (size, most) = (meta.len(), meta.blocks().saturating_mul(512).saturating_add(1 << 20));
    if size <= SPARSE || most >= size {
        return Ok(false);
    }
    // Some file systems count blocks late, but know their holes.
    let hole = lseek(file, 0, Whence::SeekHole)?;
    file.rewind()?;
    Ok(u64::try_from(hole).is_ok_and(|hole| hole < size))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn private(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// A line of an `alternates` file, in git's quotes where the path needs them.
pub(super) fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let special = path.starts_with(['"', '#']) || path.contains(|c: char| c.is_control());
    match special {
        true => format!("\"{}\"\n", path.replace('\\', "\\\\").replace('"', "\\\"").replace('\t', "\\t")),
        false => format!("{path}\n"),
    }
}
