//! The part of a sync that changes things, in this order: the host's refs, its index, its `HEAD`, then the guest's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use super::boundary::RefUpdate;
use super::error::{GitError, clean};
use super::forward::Forward;
use super::host_lock::HostLock;
use super::index::Index;
use super::layout;
use super::plan::{Change, Checkout, Plan, Refusal};
use super::refs::{Head, Refs};
use super::round::{Next, Round};
use super::side::{Host, MERGE_FILES, Stamped, file_stamp, parse_host_index};
use super::step;

/// How long a sync waits for another git command that holds the host's index.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for the last one.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// For the host's reflogs.
const REASON: &str = "workmux: from the sandbox";

impl Round<'_> {
    pub(super) fn lock(&self) -> Result<Option<HostLock>, GitError> {
        let patience = if self.last { LAST_PATIENCE } else { PATIENCE };
        HostLock::take(&self.private.layout, &self.private.repo.admin_dir, patience)
    }

    /// Whether the host is no longer what was decided about, in the parts that the decision is about.
    pub(super) fn host_moved(&self, plan: &Plan) -> Result<bool, GitError> {
        let (now, then) = (Host::read(&self.private.repo, &self.host.index)?.side, &self.host.side);
        let checkout = now.head != then.head || now.index != then.index || now.merge != then.merge;
        Ok(checkout || plan.to_host.iter().any(|change| now.refs.get(&change.name) != change.from.as_ref()))
    }

    /// Moves the host's refs in one transaction, and removes our own copies of what is taken.
    pub(super) fn move_refs(&mut self, plan: &mut Plan, fetched: &Refs) -> Result<Next, GitError> {
        // Our own copies of what is being taken, and of what an interrupted sync left.
        let waiting = self.waiting(plan);
        let own = self.base.pending.iter().chain(self.base.parked.keys()).chain(fetched.keys());
        let mut done: BTreeSet<String> = own.filter(|name| !waiting.contains_key(*name)).cloned().collect();
        if plan.to_host.is_empty() && done.is_empty() {
            return Ok(Next::Done);
        }
        let run = self.base.run.clone();
        let own = done
            .iter()
            .map(|name| format!("delete refs/wm/{run}/{}\n", name.trim_start_matches("refs/")))
            .collect::<String>();
        let all: String = plan.to_host.iter().map(line).collect();
        if let Err(whole @ GitError::Failed { .. }) = self.update_refs(&format!("{all}{own}")) {
            if self.host_moved(plan)? {
                return Ok(Next::Again);
            }
            // One name that cannot be must not keep the others away. What is deleted makes room first.
            let mut changes = std::mem::take(&mut plan.to_host);
            changes.sort_by_key(|c| c.to.is_some());
            for change in changes {
                let one = if all.lines().count() > 1 || !own.is_empty() {
                    self.update_refs(&line(&change))
                } else {
                    Err(whole.again())
                };
                match one {
                    Ok(()) => plan.to_host.push(change),
                    Err(GitError::Failed { detail, .. }) => self.not_moved(plan, change, &detail),
                    Err(e) => return Err(e),
                }
            }
            done.retain(|name| !plan.refused.iter().any(|r| r.name == *name));
            let own = done
                .iter()
                .map(|name| format!("delete refs/wm/{run}/{}\n", name.trim_start_matches("refs/")))
                .collect::<String>();
            self.update_refs(&own)?;
        }
        for Change { name, from, to } in &plan.to_host {
            match to {
                Some(oid) => _ = self.host.side.refs.insert(name.clone(), oid.clone()),
                None => _ = self.host.side.refs.remove(name),
            }
            if from.is_none() {
                self.base.created.insert(name.clone());
            }
            self.synced.imported.updated.push(RefUpdate { name: name.clone(), old: from.clone(), new: to.clone() });
        }
        // Empty directories are not refs, but they are ours.
        let wm = self.private.repo.common_dir.join("refs/wm");
        for dir in ["run/staged", "run", ""] {
            let _not_empty = fs::remove_dir(wm.join(&run).join(dir));
        }
        let _not_empty = fs::remove_dir(wm);
        Ok(Next::Done)
    }

    fn not_moved(&mut self, plan: &mut Plan, change: Change, why: &str) {
        if Some(change.name.as_str()) == self.base.side.head.branch()
            || self.guest.side.head == Head::Branch(change.name.clone())
        {
            plan.checkout = Checkout::Conflict;
        }
        plan.refused.push(Refusal { name: change.name, host: change.from, guest: change.to, reason: why.to_owned() });
    }

    fn update_refs(&self, lines: &str) -> Result<(), GitError> {
        if lines.is_empty() {
            return Ok(());
        }
        let identity = self.private.repo.identity();
        let name = identity.name.unwrap_or_else(|| "workmux".into());
        let email = identity.email.unwrap_or_else(|| "workmux@localhost".into());
        let command =
            self.private.repo.git("update-ref")?.env("GIT_COMMITTER_NAME", name).env("GIT_COMMITTER_EMAIL", email);
        let command = command.setting("core.filesRefLockTimeout=2000").setting("core.packedRefsTimeout=10000");
        command.args(["--stdin", "-m", REASON]).input(format!("start\n{lines}prepare\ncommit\n")).run().map(drop)
    }

    pub(super) fn move_checkout(&mut self, lock: &HostLock) -> Result<(), GitError> {
        let repo = &self.private.repo;
        if self.guest.side.index != self.host.side.index
            && let Some(index) = &self.guest.index
        {
            lock.write_index(&index.write())?;
            let stamp = file_stamp(&repo.admin_dir.join("index"))?;
            self.host.index = Stamped { stamp, digest: self.guest.side.index.clone() };
            self.host.side.index = self.guest.side.index.clone();
            step("index-moved");
        }
        if self.guest.side.merge != self.host.side.merge {
            self.move_merge()?;
            step("merge-moved");
        }
        if self.guest.side.head != self.host.side.head {
            match &self.guest.side.head {
                Head::Branch(name) => repo.git("symbolic-ref")?.args(["-m", REASON, "HEAD", name]).run()?,
                Head::Detached(oid) => {
                    repo.git("update-ref")?.args(["-m", REASON, "--no-deref", "HEAD", oid.as_str()]).run()?
                }
            };
            self.host.side.head = self.guest.side.head.clone();
            step("head-moved");
        }
        Ok(())
    }

    fn move_merge(&mut self) -> Result<(), GitError> {
        let admin = &self.private.repo.admin_dir;
        let files = MERGE_FILES.map(|name| admin.join(name));
        match &self.guest.side.merge {
            // The file that makes it a merge comes last, and goes first.
            Some(merge) => {
                for (path, text) in files.iter().zip(merge.texts()).rev() {
                    layout::write_whole(path, text.as_bytes())?;
                }
            }
            None => {
                for path in &files {
                    match fs::remove_file(path) {
                        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(GitError::io("remove", path)(e)),
                        _ => {}
                    }
                }
            }
        }
        self.host.side.merge = self.guest.side.merge.clone();
        Ok(())
    }

    pub(super) fn forward(&mut self, plan: &mut Plan) -> Result<(), GitError> {
        let refs = std::mem::take(&mut plan.to_guest);
        if refs.is_empty() && plan.checkout != Checkout::ToGuest {
            return Ok(());
        }
        let path = self.private.layout.guest();
        let format = self.private.repo.object_format;
        let forward = Forward::open(&path, &self.private.admin, format).map_err(GitError::io("open", &path))?;
        for change in refs {
            // A guest that stands in the way keeps its own value, and the next sync sees both.
            if forward.change(&change).unwrap_or(false) {
                match &change.to {
                    Some(oid) => _ = self.guest.side.refs.insert(change.name, oid.clone()),
                    None => _ = self.guest.side.refs.remove(&change.name),
                }
            }
        }
        if plan.checkout == Checkout::ToGuest {
            let index: Index = parse_host_index(&self.private.repo)?;
            let host = self.host.side.clone();
            if index.digest() == host.index
                && forward.checkout(&index.write(), &host.head, host.merge.as_ref()).unwrap_or(false)
            {
                self.new_submodules(&index);
                self.guest.side.index = host.index.clone();
                self.guest.side.head = host.head.clone();
                self.guest.side.merge = host.merge.clone();
                // Its stamp is unknown: the guest may have written again already.
                self.guest.index_state = Stamped::default();
            }
        }
        Ok(())
    }

    /// The host got submodules the sandbox has no mounts for.
    fn new_submodules(&mut self, index: &Index) {
        let now = index.gitlinks();
        for path in now.difference(&self.base.gitlinks) {
            let path = clean(&String::from_utf8_lossy(path));
            self.synced.imported.notes.push(format!(
                "the submodule '{path}' is new since the sandbox was started and is not protected from it: run no git here \
                 until it has ended"
            ));
        }
        self.base.gitlinks = now;
    }

    pub(super) fn park(&mut self, plan: &Plan, fetched: &Refs) {
        let waiting = self.waiting(plan);
        let here = |name: &String| fetched.contains_key(name) || self.base.parked.contains_key(name);
        self.base.parked = waiting.into_iter().filter(|(name, _)| here(name)).collect();
    }
}

/// One line of a transaction.
fn line(change: &Change) -> String {
    let Change { name, from, to } = change;
    match (from, to) {
        (Some(from), Some(to)) => format!("update {name} {to} {from}\n"),
        (None, Some(to)) => format!("create {name} {to}\n"),
        (Some(from), None) => format!("delete {name} {from}\n"),
        (None, None) => String::new(),
    }
}
