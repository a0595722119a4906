//! Git's index file, read and written as data, so that a guest's index never reaches a git that would act on it.
//!
//! A guest's index is taken apart, checked, and written anew: entries only, no extensions, no new gitlinks.

use std::collections::BTreeSet;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::oid::{ObjectFormat, Oid};

/// Entries of one index.
#[derive(Debug)]
pub(super) struct Index {
    format: ObjectFormat,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Times, device, inode, mode, owner, size: as git keeps them, 40 bytes.
    stat: [u8; 40],
    oid: Vec<u8>,
    flags: u16,
    more_flags: u16,
    path: Vec<u8>,
}

/// Entries more than this are not a source tree.
const MOST_ENTRIES: u32 = 5_000_000;
const LONGEST_PATH: usize = 4096;

const GITLINK: u32 = 0o160_000;
const ASSUME_VALID: u16 = 0x8000;
const EXTENDED: u16 = 0x4000;
const STAGE: u16 = 0x3000;
const NAME_LENGTH: u16 = 0x0fff;
const SKIP_WORKTREE: u16 = 0x4000;
const INTENT_TO_ADD: u16 = 0x2000;

impl Entry {
    fn mode(&self) -> u32 {
        u32::from_be_bytes([self.stat[24], self.stat[25], self.stat[26], self.stat[27]])
    }

    fn key(&self) -> (&[u8], u16) {
        (&self.path, self.flags & STAGE)
    }
}

impl Index {
    /// An index of nothing: what git takes a missing file for.
    pub(super) fn empty(format: ObjectFormat) -> Self {
        Self { format, entries: Vec::new() }
    }

    /// Takes a file apart; the reason where it is not one git may have.
    pub(super) fn parse(bytes: &[u8], format: ObjectFormat) -> Result<Self, &'static str> {
        if bytes.is_empty() {
            return Ok(Self::empty(format));
        }
        let end = bytes.len().checked_sub(format.bytes()).ok_or("it is too short")?;
        let mut rest = Rest(&bytes[..end]);
        if rest.take(4)? != b"DIRC" {
            return Err("it is no index");
        }
        let (version, count) = (rest.number()?, rest.number()?);
        if !(2..=4).contains(&version) || count > MOST_ENTRIES {
            return Err("its version or size is unknown");
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(count.min(1 << 16) as usize);
        for _ in 0..count {
            let before = entries.last().map_or(&[][..], |e| &e.path[..]);
            let entry = rest.entry(version, format, before)?;
            if entries.last().is_some_and(|last| last.key() >= entry.key()) {
                return Err("its entries are out of order");
            }
            check(&entry)?;
            entries.push(entry);
        }
        while !rest.0.is_empty() {
            let name = rest.take(4)?;
            // Lower case: git must not ignore it. Split and sparse indexes hold their entries elsewhere.
            if name[0].is_ascii_lowercase() {
                return Err("it is split or sparse");
            }
            let length = rest.number()? as usize;
            rest.take(length)?;
        }
        Ok(Self { format, entries })
    }

    /// From `ls-files -v --stage -z`, for files whose entries lie elsewhere. File times are unknown here.
    pub(super) fn from_listing(listed: &[u8], format: ObjectFormat) -> Result<Self, &'static str> {
        let mut entries = Vec::new();
        for line in listed.split(|&b| b == 0).filter(|line| !line.is_empty()) {
            let tab = line.iter().position(|&b| b == b'\t').ok_or("git lists it oddly")?;
            let head = std::str::from_utf8(&line[..tab]).map_err(|_| "git lists it oddly")?;
            let fields: Vec<_> = head.split(' ').collect();
            let [tag, mode, oid, stage] = fields[..] else { return Err("git lists it oddly") };
            let mode = u32::from_str_radix(mode, 8).map_err(|_| "git lists it oddly")?;
            let stage: u16 = stage.parse().map_err(|_| "git lists it oddly")?;
            let mut stat = [0; 40];
            stat[24..28].copy_from_slice(&mode.to_be_bytes());
            entries.push(Entry {
                stat,
                oid: Oid::parse(oid.as_bytes(), format)
                    .map(|oid| oid.to_raw())
                    .unwrap_or_else(|| vec![0; format.bytes()]),
                flags: (stage & 3) << 12 | if tag == tag.to_lowercase() { ASSUME_VALID } else { 0 },
                more_flags: if tag.eq_ignore_ascii_case("s") { SKIP_WORKTREE } else { 0 },
                path: line[tab + 1..].to_vec(),
            });
        }
        Ok(Self { format, entries })
    }

    /// Paths of submodules.
    pub(super) fn gitlinks(&self) -> BTreeSet<Vec<u8>> {
        self.entries.iter().filter(|e| e.mode() == GITLINK).map(|e| e.path.clone()).collect()
    }

    /// Drops submodules that are not among `known`, and names them.
    pub(super) fn drop_new_gitlinks(&mut self, known: &BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut dropped = BTreeSet::new();
        self.entries.retain(|e| {
            let new = e.mode() == GITLINK && !known.contains(&e.path);
            if new {
                dropped.insert(e.path.clone());
            }
            !new
        });
        dropped.into_iter().collect()
    }

    /// Objects whose content a commit of this index would need.
    pub(super) fn objects(&self) -> BTreeSet<Oid> {
        let blobs = self.entries.iter().filter(|e| e.mode() != GITLINK && e.more_flags & INTENT_TO_ADD == 0);
        blobs.filter(|e| e.oid.iter().any(|&b| b != 0)).map(|e| Oid::from_raw(&e.oid)).collect()
    }

    /// What it says, without what git merely remembers of the files' times.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for e in &self.entries {
            hash.update(e.mode().to_be_bytes());
            hash.update((e.flags & (STAGE | ASSUME_VALID)).to_be_bytes());
            hash.update(e.more_flags.to_be_bytes());
            hash.update(&e.oid);
            hash.update(&e.path);
            hash.update([0]);
        }
        Oid::from_raw(&hash.finalize()).to_string()
    }

    /// The file: version 2, or 3 where an entry needs it.
    pub(super) fn write(&self) -> Vec<u8> {
        let extended = self.entries.iter().any(|e| e.more_flags != 0);
        let mut out = b"DIRC".to_vec();
        out.extend(if extended { 3u32 } else { 2 }.to_be_bytes());
        out.extend((self.entries.len() as u32).to_be_bytes());
        for e in &self.entries {
            let start = out.len();
            out.extend(e.stat);
            out.extend(&e.oid);
            let length = (e.path.len() as u16).min(NAME_LENGTH);
            let more = if e.more_flags == 0 { 0 } else { EXTENDED };
            out.extend((e.flags & (ASSUME_VALID | STAGE) | more | length).to_be_bytes());
            if e.more_flags != 0 {
                out.extend(e.more_flags.to_be_bytes());
            }
            out.extend(&e.path);
            // One to eight zeros, up to a multiple of eight.
            out.resize(start + (out.len() - start + 8) / 8 * 8, 0);
        }
        match self.format {
            ObjectFormat::Sha1 => out.extend(Sha1::digest(&out)),
            ObjectFormat::Sha256 => out.extend(Sha256::digest(&out)),
        }
        out
    }
}

fn check(entry: &Entry) -> Result<(), &'static str> {
    if !matches!(entry.mode(), 0o100_644 | 0o100_755 | 0o120_000 | GITLINK) {
        return Err("an entry has an odd mode");
    }
    if entry.path.len() > LONGEST_PATH {
        return Err("a path is too long");
    }
    let bad = |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.eq_ignore_ascii_case(b".git");
    if entry.path.split(|&b| b == b'/').any(bad) {
        return Err("a path leads out of the work tree");
    }
    Ok(())
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, &'static str> {
        let b = self.take(4)?;
        Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn short(&mut self) -> Result<u16, &'static str> {
        let b = self.take(2)?;
        Ok(u16::from_be_bytes([b[0], b[1]]))
    }

    /// Git's offset encoding: seven bits a byte, each continuation adds one.
    fn offset(&mut self) -> Result<usize, &'static str> {
        let mut byte = self.take(1)?[0];
        let mut value = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            if value > LONGEST_PATH {
                return Err("a path is too long");
            }
            byte = self.take(1)?[0];
            value = ((value + 1) << 7) | usize::from(byte & 0x7f);
        }
        Ok(value)
    }

    fn entry(&mut self, version: u32, format: ObjectFormat, before: &[u8]) -> Result<Entry, &'static str> {
        let start = self.0.len();
        let mut stat = [0; 40];
        stat.copy_from_slice(self.take(40)?);
        let oid = self.take(format.bytes())?.to_vec();
        let flags = self.short()?;
        let more_flags = match flags & EXTENDED {
            0 => 0,
            _ if version < 3 => return Err("an entry has odd flags"),
            _ => self.short()?,
        };
        if more_flags & !(SKIP_WORKTREE | INTENT_TO_ADD) != 0 {
            return Err("an entry has odd flags");
        }
        let mut path = Vec::new();
        if version == 4 {
            let keep = before.len().checked_sub(self.offset()?).ok_or("a path is broken")?;
            path.extend_from_slice(&before[..keep]);
        }
        let length = self.0.iter().take(LONGEST_PATH + 1).position(|&b| b == 0).ok_or("a path is too long")?;
        path.extend_from_slice(self.take(length)?);
        let padding = if version == 4 { 1 } else { 8 - (start - self.0.len()) % 8 };
        self.take(padding)?;
        Ok(Entry { stat, oid, flags: flags & (ASSUME_VALID | STAGE), more_flags, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, mode: u32) -> Entry {
        let mut stat = [7; 40];
        stat[24..28].copy_from_slice(&mode.to_be_bytes());
        Entry { stat, oid: vec![9; 20], flags: 0, more_flags: 0, path: path.into() }
    }

    fn index(entries: Vec<Entry>) -> Index {
        Index { format: ObjectFormat::Sha1, entries }
    }

    #[test]
    fn what_is_written_reads_back_whatever_the_length() {
        let mut entries: Vec<_> = (1..40).map(|n| entry(&"x".repeat(n), 0o100_644)).collect();
        entries[3].more_flags = SKIP_WORKTREE;
        entries.push(entry(&"y".repeat(4095), 0o120_000));
        let written = index(entries).write();
        let read = Index::parse(&written, ObjectFormat::Sha1).unwrap();
        assert_eq!(read.entries.len(), 40);
        assert_eq!(read.write(), written);
    }

    #[test]
    fn p14_hostile_paths_and_modes_are_refused() {
        let bad = ["", "/etc/passwd", "../x", "a/../b", "a//b", ".git/config", "a/.GIT/hooks/x", "a/", "./a"];
        for path in bad {
            assert!(Index::parse(&index(vec![entry(path, 0o100_644)]).write(), ObjectFormat::Sha1).is_err(), "{path}");
        }
        assert!(Index::parse(&index(vec![entry("a", 0o040_000)]).write(), ObjectFormat::Sha1).is_err());
        let unsorted = index(vec![entry("b", 0o100_644), entry("a", 0o100_644)]);
        assert!(Index::parse(&unsorted.write(), ObjectFormat::Sha1).is_err());
    }

    #[test]
    fn p14_every_cut_of_a_file_is_refused_without_a_panic() {
        let whole = index(vec![entry("a", 0o100_644), entry("b/c", 0o100_755)]).write();
        for length in 1..whole.len() {
            assert!(Index::parse(&whole[..length], ObjectFormat::Sha1).is_err(), "{length}");
        }
        let mut many = whole.clone();
        many[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(Index::parse(&many, ObjectFormat::Sha1).is_err());
    }

    #[test]
    fn p14_gitlinks_new_submodules_are_dropped_and_named() {
        let mut index = index(vec![entry("known", GITLINK), entry("nest", GITLINK), entry("z", 0o100_644)]);
        let known = BTreeSet::from([b"known".to_vec()]);
        assert_eq!(index.drop_new_gitlinks(&known), [b"nest".to_vec()]);
        assert_eq!(index.gitlinks(), known);
        assert_eq!(index.entries.len(), 2);
    }
}
