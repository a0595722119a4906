//! Gives the guest what happened on the host meanwhile, in a directory the guest may change at any moment.
//!
//! Git's own lock files serve: whoever makes `<file>.lock` first may replace the file. A lock that is taken, a link in
//! the way or a value that is no longer the expected one means "not now": the next sync decides anew.

use std::io;
use std::path::Path;

use super::guest_files::Beneath;
use super::oid::{ObjectFormat, Oid};
use super::plan::Change;
use super::refs::{Head, Refs, parse_packed, write_packed};
use super::side::{MERGE_FILES, Merge};

const REF_LIMIT: u64 = 4096;
const PACKED_LIMIT: u64 = 64 << 20;

/// The guest's private git dir, open for writing.
pub(super) struct Forward<'a> {
    top: Beneath,
    admin: &'a str,
    format: ObjectFormat,
}

impl<'a> Forward<'a> {
    pub(super) fn open(guest: &Path, admin: &'a str, format: ObjectFormat) -> io::Result<Self> {
        Ok(Self { top: Beneath::open_guest(guest)?, admin, format })
    }

    /// Moves one ref. Says whether it did.
    pub(super) fn change(&self, change: &Change) -> io::Result<bool> {
        let lock = format!("{}.lock", change.name);
        let (dirs, _) = change.name.rsplit_once('/').unwrap_or_default();
        self.top.make_dir(dirs)?;
        let text = change.to.as_ref().map(|oid| format!("{oid}\n")).unwrap_or_default();
        if !self.top.create(&lock, text.as_bytes())? {
            return Ok(false);
        }
        let done = self.replace(change, &lock);
        if !matches!(done, Ok(true)) || change.to.is_none() {
            self.top.remove(&lock)?;
        }
        done
    }

    fn replace(&self, change: &Change, lock: &str) -> io::Result<bool> {
        let loose = self.top.read(&change.name, REF_LIMIT)?;
        let now = match &loose {
            Some(text) => Oid::parse(text.trim_ascii_end(), self.format),
            None => self.packed()?.remove(&change.name),
        };
        if now != change.from {
            return Ok(false);
        }
        match change.to {
            Some(_) => self.top.rename(lock, &change.name)?,
            None => {
                // Packed first, or the old value would show again in between.
                if !self.unpack(&change.name)? {
                    return Ok(false);
                }
                self.top.remove(&change.name)?;
            }
        }
        Ok(true)
    }

    fn packed(&self) -> io::Result<Refs> {
        let mut refs = Refs::new();
        let _odd =
            parse_packed(&self.top.read("packed-refs", PACKED_LIMIT)?.unwrap_or_default(), self.format, |name, oid| {
                refs.insert(name, oid);
            });
        Ok(refs)
    }

    fn unpack(&self, name: &str) -> io::Result<bool> {
        if !self.packed()?.contains_key(name) {
            return Ok(true);
        }
        if !self.top.create("packed-refs.lock", b"")? {
            return Ok(false);
        }
        let replace = || {
            let mut refs = self.packed()?;
            refs.remove(name);
            // The lock's name is kept while the new text is written beside it.
            let fresh = "packed-refs.new";
            self.top.remove(fresh)?;
            self.top.create(fresh, write_packed(&refs).as_bytes())?;
            self.top.rename(fresh, "packed-refs")
        };
        let replaced = replace();
        self.top.remove("packed-refs.lock")?;
        replaced.map(|()| true)
    }

    /// Gives the checkout's index and `HEAD` the host's values. Says whether it did.
    pub(super) fn checkout(&self, index: &[u8], head: &Head, merge: Option<&Merge>) -> io::Result<bool> {
        let Some(own) = self.top.dir(self.admin)? else { return Ok(false) };
        let merge = merge.map(Merge::texts);
        locked(&own, "index", index, || {
            locked(&own, "HEAD", head.text().as_bytes(), || {
                for (n, name) in MERGE_FILES.iter().enumerate() {
                    own.remove(name)?;
                    if let Some(texts) = &merge {
                        own.create(name, texts[n].as_bytes())?;
                    }
                }
                Ok(true)
            })
        })
    }
}

/// Replaces `file` under git's lock for it, after `first` has been done. Leaves no lock where that fails.
fn locked(own: &Beneath, file: &str, content: &[u8], first: impl FnOnce() -> io::Result<bool>) -> io::Result<bool> {
    let lock = format!("{file}.lock");
    if !own.create(&lock, content)? {
        return Ok(false);
    }
    let done = first().and_then(|done| if done { own.rename(&lock, file).map(|()| true) } else { Ok(false) });
    if !matches!(done, Ok(true)) {
        own.remove(&lock)?;
    }
    done
}
