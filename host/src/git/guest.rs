//! The guest's side of the boundary, read as data from its private git dir. No git runs there, and nothing in it is
//! believed: names and object names are checked, counts and sizes bounded, links not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::error::clean;
use super::guest_files::{Beneath, Kind, stamp_of};
use super::index::Index;
use super::oid::{DEEPEST, ObjectFormat, Oid, is_plain_ref_name, is_ref_name};
use super::refs::{Head, Refs, parse_packed};
use super::side::{INDEX_LIMIT, MERGE_FILES, MERGE_LIMIT, Merge, Side, Stamped, travels};

const MOST_REFS: usize = 100_000;
/// Branches and tags that one run may bring to the host.
const MOST_NEW_REFS: usize = 5000;
const REF_LIMIT: u64 = 4096;
const PACKED_LIMIT: u64 = 64 << 20;
const STASH_LIMIT: u64 = 1 << 20;
const MOST_STASHES: usize = 64;

/// What a guest must not be in the middle of when its `HEAD` and index are taken, and how git calls it.
const UNFINISHED: &[(&str, &str)] = &[
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase"),
    ("sequencer", "cherry-pick or revert"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("BISECT_LOG", "bisect"),
];

/// All that a sync takes from a guest.
#[derive(Debug)]
pub(super) struct Guest {
    pub side: Side,
    /// Taken apart, where it was read at all.
    pub index: Option<Index>,
    pub index_state: Stamped,
    /// Submodules it added, which stay out of the host's index.
    pub new_gitlinks: Vec<String>,
    /// Branches and tags whose names the host does not take.
    pub odd_names: Refs,
    /// What is neither branch nor tag, by name: stashes, notes.
    pub other: BTreeMap<String, Oid>,
    /// The operation it is in the middle of.
    pub unfinished: Option<&'static str>,
    /// A git command is writing its index right now.
    pub busy: bool,
    /// Why `HEAD` and index cannot be taken, though the refs can.
    pub unusable: Option<String>,
}

/// What the reader must know of the host.
pub(super) struct Known<'a> {
    pub format: ObjectFormat,
    /// Names that exist on the host are good names, whatever they look like.
    pub refs: &'a Refs,
    pub gitlinks: &'a BTreeSet<Vec<u8>>,
    /// The index as the last sync read it.
    pub index: &'a Stamped,
    pub index_digest: &'a str,
}

impl Guest {
    /// Reads the private git dir `top`, whose checkout's own files are in `admin` (empty: the top itself).
    pub(super) fn read(top: &Path, admin: &str, known: &Known) -> io::Result<Self> {
        let top = Beneath::open_guest(top)?;
        let missing = |what: &str| io::Error::other(format!("the sandbox's git directory has no usable {what}"));
        let own = top.dir(admin)?.ok_or_else(|| missing("worktree directory"))?;
        let head = own.read("HEAD", REF_LIMIT)?.and_then(|text| Head::parse(&text, known.format));
        let head = head.ok_or_else(|| missing("HEAD"))?;
        // Checked before the refs are: without these directories every branch would look deleted.
        for dir in ["refs/heads", "objects"] {
            if top.dir(dir)?.is_none() {
                return Err(missing(dir));
            }
        }
        let refs = read_refs(&top, known.format)?;
        let mut unusable = None;
        let (index_state, index, new_gitlinks) = match read_index(&own, known) {
            Ok(read) => read,
            Err(why) => {
                unusable = Some(format!("its index cannot be used: {}", clean(&why.to_string())));
                (known.index.clone(), None, Vec::new())
            }
        };
        let merge = read_merge(&own, known.format).unwrap_or_else(|why| {
            unusable = Some(clean(&why.to_string()));
            None
        });
        let mut guest = Self {
            side: Side { refs: Refs::new(), head, index: index_state.digest.clone(), merge },
            index,
            index_state,
            new_gitlinks,
            odd_names: Refs::new(),
            other: BTreeMap::new(),
            unfinished: None,
            busy: own.stat("index.lock")?.is_some(),
            unusable,
        };
        for (file, operation) in UNFINISHED {
            if own.stat(file)?.is_some() {
                guest.unfinished = Some(operation);
            }
        }
        guest.sort(refs, known.refs);
        let new = guest.side.refs.keys().filter(|name| travels(name) && !known.refs.contains_key(*name)).count();
        if new + guest.odd_names.len() > MOST_NEW_REFS {
            return Err(io::Error::other(format!("the sandbox made more than {MOST_NEW_REFS} refs")));
        }
        guest.stashes(&top, known.format)?;
        if let Head::Branch(name) = &guest.side.head
            && !(name.starts_with("refs/heads/") && (known.refs.contains_key(name) || is_plain_ref_name(name)))
        {
            guest.unusable = Some(format!("its branch is called '{}'", clean(name)));
        }
        Ok(guest)
    }

    fn sort(&mut self, refs: Refs, known: &Refs) {
        for (name, oid) in refs {
            if name.starts_with("refs/remotes/") {
                self.side.refs.insert(name, oid);
            } else if !travels(&name) {
                let ours = ["refs/wm/", "refs/bisect/", "refs/worktree/", "refs/rewritten/"];
                if !ours.iter().any(|prefix| name.starts_with(prefix)) {
                    self.other.insert(name, oid);
                }
            } else if known.contains_key(&name) || is_plain_ref_name(&name) {
                self.side.refs.insert(name, oid);
            } else {
                self.odd_names.insert(name, oid);
            }
        }
    }

    /// Older stashes exist in the log of `refs/stash` only.
    fn stashes(&mut self, top: &Beneath, format: ObjectFormat) -> io::Result<()> {
        if !self.other.contains_key("refs/stash") {
            return Ok(());
        }
        let Ok(Some(log)) = top.read("logs/refs/stash", STASH_LIMIT) else { return Ok(()) };
        let newest_first = log.split(|&b| b == b'\n').rev().filter(|line| !line.is_empty());
        for (n, line) in newest_first.enumerate().skip(1).take(MOST_STASHES) {
            if let Some(oid) = line.split(|&b| b == b' ').nth(1).and_then(|oid| Oid::parse(oid, format)) {
                self.other.insert(format!("refs/stash-{n}"), oid);
            }
        }
        Ok(())
    }
}

fn read_refs(top: &Beneath, format: ObjectFormat) -> io::Result<Refs> {
    let (mut loose, mut symbolic, mut refs) = (Refs::new(), BTreeSet::new(), Refs::new());
    walk(top, "refs", format, &mut loose, &mut symbolic, 0)?;
    if let Some(packed) = top.read("packed-refs", PACKED_LIMIT)? {
        let odd = parse_packed(&packed, format, |name, oid| {
            if refs.len() <= MOST_REFS {
                refs.insert(name, oid);
            }
        });
        if odd {
            return Err(io::Error::other("the sandbox's 'packed-refs' holds a line that is not understood"));
        }
        if refs.len() > MOST_REFS {
            return Err(io::Error::other(format!("the sandbox has more than {MOST_REFS} refs")));
        }
    }
    refs.retain(|name, _| !symbolic.contains(name));
    refs.extend(loose);
    Ok(refs)
}

/// What is passed over here would look like a deletion, and be one in the end: so whatever git may take for a ref
/// and we do not is an error.
fn walk(
    at: &Beneath,
    name: &str,
    format: ObjectFormat,
    found: &mut Refs,
    symbolic: &mut BTreeSet<String>,
    depth: usize,
) -> io::Result<()> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let Some(dir) = at.dir(last)? else { return Ok(()) };
    for (file, kind) in dir.list_text(MOST_REFS)? {
        // Git passes over these as well: locks, and what other programs hide.
        if file.starts_with('.') || file.ends_with(".lock") {
            continue;
        }
        let name = format!("{name}/{file}");
        if found.len() >= MOST_REFS {
            return Err(io::Error::other(format!("the sandbox has more than {MOST_REFS} refs")));
        }
        let odd = |why: &str| Err(io::Error::other(format!("'{}' {why}", clean(&name))));
        match kind {
            Kind::Directory if depth < DEEPEST => walk(&dir, &name, format, found, symbolic, depth + 1)?,
            Kind::Directory => return odd("is a directory of refs deeper than any that is taken"),
            Kind::File if is_ref_name(&name) => {
                // Gone since it was listed: that counts.
                let Some(text) = dir.read(&file, REF_LIMIT)? else { continue };
                match Head::parse(&text, format) {
                    Some(Head::Detached(oid)) => _ = found.insert(name, oid),
                    Some(Head::Branch(_)) => _ = symbolic.insert(name),
                    None => return odd("names neither an object nor a ref"),
                }
            }
            _ => return odd("is no ref"),
        }
    }
    Ok(())
}

type ReadIndex = (Stamped, Option<Index>, Vec<String>);

fn read_index(own: &Beneath, known: &Known) -> io::Result<ReadIndex> {
    let stamp = own.stat("index")?.map(|stat| stamp_of(&stat)).unwrap_or_default();
    // Where it differs from what was agreed its entries are needed.
    if stamp == known.index.stamp && known.index.digest == known.index_digest {
        return Ok((known.index.clone(), None, Vec::new()));
    }
    let bytes = own.read("index", INDEX_LIMIT)?.unwrap_or_default();
    let mut index = Index::parse(&bytes, known.format).map_err(io::Error::other)?;
    let dropped = if crate::mutant::off("p14_gitlinks") { Vec::new() } else { index.drop_new_gitlinks(known.gitlinks) };
    let names = dropped.iter().map(|path| clean(&String::from_utf8_lossy(path))).collect();
    Ok((Stamped { stamp, digest: index.digest() }, Some(index), names))
}

fn read_merge(own: &Beneath, format: ObjectFormat) -> io::Result<Option<Merge>> {
    let mut texts = [None, None, None];
    for (text, name) in texts.iter_mut().zip(MERGE_FILES) {
        *text = own.read(name, MERGE_LIMIT)?;
    }
    Merge::parse(texts, format).map_err(io::Error::other)
}
