//! A branch, and the checkout that has it, from one commit to another.
//!
//! Git does it where nobody else writes. Where a guest can, git writes the files into a private directory, and they are
//! put in their places one by one, beneath the checkout's root and through no link (P9, P11): git itself goes by path, and
//! a directory that becomes a link while it works would lead it out.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use color_eyre::eyre::{Report, Result, WrapErr as _};

use super::beneath::Root;
use super::changes::Work;
use super::{live, scratch};
use crate::error::hinted;
use crate::text;

/// Writing a big checkout.
const WRITING: Duration = Duration::from_secs(1800);
const FILES: &str = "files";

/// One branch's way.
#[derive(Debug)]
pub(crate) struct Move<'a> {
    /// The branch.
    pub branch: &'a str,
    /// The commit it is at.
    pub from: &'a str,
    /// The commit it goes to.
    pub to: &'a str,
    /// What the reflog says.
    pub reason: &'a str,
}

/// One path that differs.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    before: Kind,
    after: Kind,
    path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gone,
    File,
    Program,
    Link,
    Submodule,
}

impl Kind {
    fn has_content(self) -> bool {
        !matches!(self, Self::Gone | Self::Submodule)
    }
}

impl Work<'_> {
    /// Moves a branch that is checked out nowhere.
    pub(crate) fn move_branch(&self, step: &Move) -> Result<()> {
        let full = format!("refs/heads/{}", step.branch);
        let moved = self.committing("update-ref")?.args(["-m", step.reason, &full, step.to, step.from]).run();
        moved.map(drop).wrap_err_with(|| format!("'{}' could not be moved", text::line(step.branch)))
    }

    /// Whether this checkout can be moved: nothing stands where a file is to come and, where a guest can write, what is to
    /// be replaced is what was committed. Git's own look at it passes over what it was told to take for unchanged.
    pub(crate) fn can_move(&self, step: &Move, state: &Path) -> Result<()> {
        let branch = text::line(step.branch);
        let found = self.in_the_way(step.from, step.to).map_err(Report::new)?;
        if let Some(first) = found.first().filter(|_| !crate::mutant::off("p34_ignored")) {
            return Err(hinted(
                format!("'{first}' is in the way where '{branch}' is checked out: the merge would overwrite it"),
                "move it away or commit it there first",
            ));
        }
        if !live::overlaps(state, &self.repository.worktree) {
            return Ok(());
        }
        let there = Root::open_resolved(&self.repository.worktree).wrap_err("the checkout cannot be opened")?;
        match self.changed(&there, step, state)? {
            None => Ok(()),
            Some(path) => Err(hinted(
                format!("{} is changed where '{branch}' is checked out: the merge would overwrite it", shown(&path)),
                "commit it there first",
            )),
        }
    }

    /// A file that is not what was committed.
    fn changed(&self, there: &Root, step: &Move, state: &Path) -> Result<Option<PathBuf>> {
        let changes = self.differing(step.from, step.to)?;
        let committed = self.written(step.from, changes.iter().filter(|change| change.before.has_content()), state)?;
        for change in changes {
            let (path, made) = (change.path, committed.path().join(FILES));
            let same = match change.before {
                Kind::Gone | Kind::Submodule => true,
                Kind::Link => {
                    let above = there.directory(path.parent().unwrap_or(Path::new("")));
                    let leads_to = above.and_then(|above| above.link(path.file_name().unwrap_or_default()));
                    leads_to.is_ok_and(|leads_to| fs::read_link(made.join(&path)).is_ok_and(|link| link == leads_to))
                }
                Kind::File | Kind::Program => there.read(&path).is_ok_and(|file| {
                    let made = File::open(made.join(&path));
                    made.is_ok_and(|made| same(file, made).unwrap_or(false))
                }),
            };
            if !same {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Moves the branch of this checkout, which [can be moved](Self::can_move), and its files.
    pub(crate) fn move_checkout(&self, step: &Move, state: &Path) -> Result<()> {
        if live::overlaps(state, &self.repository.worktree) {
            return self.beside_guests(step, state);
        }
        let forward = self.git("merge-base")?.args(["--is-ancestor", step.from, step.to]).output()?.status.success();
        let command = match forward {
            true => self.committing("merge")?.args(["--ff-only", "--quiet"]),
            // What is not committed, or unknown, stays or stops it.
            false => self.committing("reset")?.args(["--keep", "--quiet"]),
        };
        // Ended half-way it would leave a checkout that is half of each.
        let output = command.env("GIT_REFLOG_ACTION", step.reason).arg(step.to).deadline(WRITING).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = text::block(&output.stderr_text());
        Err(Report::msg(said).wrap_err(format!("the checkout of '{}' could not be moved", text::line(step.branch))))
    }

    fn beside_guests(&self, step: &Move, state: &Path) -> Result<()> {
        if self.text("config", &["--type=bool", "core.sparseCheckout"]).is_ok_and(|sparse| sparse == "true") {
            return Err(hinted(
                format!(
                    "a sandbox works where '{}' is checked out, and that checkout is sparse",
                    text::line(step.branch)
                ),
                "end the sandbox first",
            ));
        }
        let there = Root::open_resolved(&self.repository.worktree).wrap_err("the checkout cannot be opened")?;
        let mut done = Vec::new();
        let carried = self.carry(&there, step.from, step.to, state, None, &mut done);
        let moved = carried.and_then(|()| self.index(step.from, step.to)).and_then(|()| self.move_branch(step));
        moved.or_else(|why| {
            let back = self.carry(&there, step.to, step.from, state, Some(&done), &mut Vec::new());
            back.wrap_err("what was written could not be taken back: git status shows it")?;
            // Where nothing was moved yet, there is nothing to move back.
            let _as_before = self.index(step.to, step.from);
            let branch = text::line(step.branch);
            Err(why.wrap_err(format!("the checkout of '{branch}' could not be moved, and is as before")))
        })
    }

    fn differing(&self, from: &str, to: &str) -> Result<Vec<Change>> {
        let words = ["-r", "-z", "--raw", "--no-renames", "--ignore-submodules=none", "--full-index", from, to];
        parse(&self.git("diff-tree")?.args(words).run()?)
    }

    /// Has git write these files as they are in a commit, into a private directory.
    fn written<'c>(
        &self,
        commit: &str,
        changes: impl Iterator<Item = &'c Change>,
        state: &Path,
    ) -> Result<tempfile::TempDir> {
        let private = scratch::directory(state)?;
        let files = private.path().join(FILES);
        fs::create_dir(&files).wrap_err("cannot make a private directory")?;
        let mut wanted = Vec::new();
        for change in changes {
            wanted.extend_from_slice(change.path.as_os_str().as_bytes());
            wanted.push(0);
        }
        if !wanted.is_empty() {
            let aside = |verb: &str| -> Result<_> {
                let git = self.git(verb)?.env("GIT_INDEX_FILE", private.path().join("index"));
                Ok(git.env("GIT_WORK_TREE", &files).deadline(WRITING))
            };
            aside("read-tree")?.arg(commit).run()?;
            aside("checkout-index")?.args(["--quiet", "-z", "--stdin"]).input(wanted).run()?;
        }
        Ok(private)
    }

    /// Puts the files that differ in their places, `only` these where there are some named; `done` are those it has put.
    fn carry(
        &self,
        there: &Root,
        from: &str,
        to: &str,
        state: &Path,
        only: Option<&[PathBuf]>,
        done: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let mut changes = self.differing(from, to)?;
        changes.retain(|change| only.is_none_or(|only| only.contains(&change.path)));
        let private = self.written(to, changes.iter().filter(|change| change.after.has_content()), state)?;
        // What goes first: a file may take a directory's place.
        for change in changes.iter().filter(|change| !change.after.has_content()) {
            let path = &change.path;
            let gone = match change.before {
                // As git does: what is in a submodule is not its own.
                Kind::Submodule => there.remove_empty(path),
                _ => there.remove(path),
            };
            gone.wrap_err_with(|| format!("cannot remove {}", shown(path)))?;
            done.push(path.clone());
        }
        for Change { after, path, .. } in changes {
            let made = private.path().join(FILES).join(&path);
            let put = |mode| there.put(&path, mode, &mut File::open(&made)?);
            match after {
                Kind::Gone => continue,
                Kind::File => put(0o666),
                Kind::Program => put(0o777),
                Kind::Link => fs::read_link(&made).and_then(|leads_to| there.put_link(&path, &leads_to)),
                Kind::Submodule => there.make_directory(&path).map(drop),
            }
            .wrap_err_with(|| format!("cannot write {}", shown(&path)))?;
            done.push(path);
        }
        Ok(())
    }

    /// The index as a checkout of the other commit would have left it.
    fn index(&self, from: &str, to: &str) -> Result<()> {
        self.git("read-tree")?.args(["-i", "-m", from, to]).run()?;
        // It says so where a file has been changed since.
        let _differs = self.git("update-index")?.args(["-q", "--refresh"]).output()?;
        Ok(())
    }
}

fn shown(path: &Path) -> String {
    text::quote(path.as_os_str())
}

/// Reads `diff-tree --raw -z`: `:MODE MODE OID OID STATUS`, then the path.
fn parse(said: &[u8]) -> Result<Vec<Change>> {
    let mut parts = said.split(|b| *b == 0).filter(|part| !part.is_empty());
    let mut changes = Vec::new();
    while let Some(about) = parts.next() {
        let mode = about.split(|b| *b == b' ').nth(1);
        let (Some(mode), Some(path)) = (mode, parts.next()) else {
            return Err(Report::msg("git says something unknown of what differs"));
        };
        let before = about.strip_prefix(b":").and_then(|about| about.split(|b| *b == b' ').next());
        let path = PathBuf::from(OsStr::from_bytes(path));
        changes.push(Change { before: kind(before.unwrap_or_default())?, after: kind(mode)?, path });
    }
    Ok(changes)
}

fn kind(mode: &[u8]) -> Result<Kind> {
    Ok(match mode {
        b"000000" => Kind::Gone,
        b"100644" => Kind::File,
        b"100755" => Kind::Program,
        b"120000" => Kind::Link,
        b"160000" => Kind::Submodule,
        other => return Err(Report::msg(format!("git knows a kind of file {}", String::from_utf8_lossy(other)))),
    })
}

/// Whether two files hold the same bytes.
fn same(one: File, other: File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (ours, theirs) = (one.fill_buf()?, other.fill_buf()?);
        let n = ours.len().min(theirs.len());
        if n == 0 || ours[..n] != theirs[..n] {
            return Ok(ours.is_empty() && theirs.is_empty());
        }
        one.consume(n);
        other.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_change_is_read() {
        let said = b":100644 000000 a 0 D\0gone\0:000000 100755 0 b A\0dir/new file\0:100644 120000 a b T\0l\0";
        let change = |before, after, path: &str| Change { before, after, path: path.into() };
        assert_eq!(
            parse(said).unwrap(),
            [
                change(Kind::File, Kind::Gone, "gone"),
                change(Kind::Gone, Kind::Program, "dir/new file"),
                change(Kind::File, Kind::Link, "l"),
            ]
        );
        assert!(parse(b":100644 100644 a b M\0").is_err());
        assert!(parse(b":100644 040000 a b M\0x\0").is_err());
        assert_eq!(parse(b"").unwrap(), []);
    }
}
