//! Notices that a guest has changed something a sync would look at, and that somebody has put another repository in
//! the place of the guest's. It only wakes: the sync, and whoever compares the record, look for themselves.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// Directories of refs beyond this are not watched; a commit changes `logs` and the index as well.
const MOST: usize = 256;
/// Reads per drain: a guest that never stops changing must not hold us.
const READS: usize = 64;

/// An inotify descriptor on the parts of a private git dir that matter.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    dirs: HashMap<WatchDescriptor, PathBuf>,
    refs: PathBuf,
    /// What a run stands on (P18), by the directories in which it could be exchanged.
    ground: HashMap<WatchDescriptor, Vec<OsString>>,
    moved: bool,
}

impl Watch {
    pub(super) fn new(guest: &Path, admin: &str, ground: &[PathBuf]) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let refs = guest.join("refs");
        let mut watch =
            Self { inotify, dirs: HashMap::new(), refs: refs.clone(), ground: HashMap::new(), moved: false };
        for place in ground {
            watch.stand_on(place)?;
        }
        let own = guest.join(admin);
        for dir in HashSet::from([guest.to_owned(), own.clone(), own.join("logs"), guest.join("logs")]) {
            watch.add(dir);
        }
        watch.add_refs(refs);
        match watch.dirs.is_empty() {
            true => Err(io::Error::other("no part of the sandbox's git directory can be watched")),
            false => Ok(watch),
        }
    }

    /// Takes all waiting events. Says whether a sync would find something.
    pub fn drain(&mut self) -> bool {
        let mut relevant = false;
        for _ in 0..READS {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => break,
                Err(_) => return true,
            };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    relevant = true;
                    continue;
                }
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.dirs.remove(&event.wd);
                    continue;
                }
                let Some(name) = event.name else { continue };
                self.moved |= self.ground.get(&event.wd).is_some_and(|names| names.contains(&name));
                let Some(dir) = self.dirs.get(&event.wd).cloned() else { continue };
                if event.mask.contains(AddWatchFlags::IN_ISDIR) {
                    if dir.starts_with(&self.refs) {
                        self.add_refs(dir.join(&name));
                        relevant = true;
                    } else if name == "logs" {
                        relevant |= self.add(dir.join(&name));
                    }
                    continue;
                }
                // A lock says that something is about to change; its rename says that it has.
                relevant |= !name.to_string_lossy().ends_with(".lock");
            }
        }
        relevant
    }

    /// Whether something the run stands on may be another one since this was asked last.
    pub fn ground_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    fn stand_on(&mut self, place: &Path) -> io::Result<()> {
        let (Some(dir), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
        let flags = AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_ONLYDIR
            | AddWatchFlags::IN_DONT_FOLLOW;
        let descriptor = self.inotify.add_watch(dir, flags)?;
        self.ground.entry(descriptor).or_default().push(name.to_owned());
        Ok(())
    }

    fn add(&mut self, dir: PathBuf) -> bool {
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_ONLYDIR
            | AddWatchFlags::IN_DONT_FOLLOW;
        if self.dirs.len() >= MOST {
            return false;
        }
        match self.inotify.add_watch(&dir, flags) {
            Ok(descriptor) => self.dirs.insert(descriptor, dir).is_none(),
            Err(_) => false,
        }
    }

    fn add_refs(&mut self, top: PathBuf) {
        let mut waiting = vec![top];
        while let Some(dir) = waiting.pop() {
            if !self.add(dir.clone()) {
                continue;
            }
            let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            waiting.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).take(MOST));
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
