//! One round of a sync: both sides have been read; decide, fetch, apply, remember.
//!
//! Nothing is remembered before everything is done, and every step that is already done is recognised, so a sync
//! that was killed anywhere is completed by the next one. Where nothing changed no git process is started.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::base::Base;
use super::error::GitError;
use super::exchange::Exchange;
use super::guest::Guest;
use super::large_files;
use super::layout;
use super::oid::Oid;
use super::plan::{Checkout, History, Plan, Three};
use super::private::{Private, Synced};
use super::refs::Head;
use super::repository::Repository;
use super::side::{Host, travels};
use super::step;
use super::tracking;

/// Everything one round works with.
pub(super) struct Round<'a> {
    pub private: &'a Private,
    pub host: Host,
    pub guest: Guest,
    pub base: Base,
    /// As it lies on the disk.
    pub stored: Base,
    pub last: bool,
    pub synced: &'a mut Synced,
    pub exchange: Exchange<'a>,
}

/// Whether both sides have been looked at for good.
pub(super) enum Next {
    Done,
    Again,
}

impl Round<'_> {
    pub(super) fn run(mut self) -> Result<Next, GitError> {
        let hold = (self.guest.busy && !self.last) || self.guest.unfinished.is_some() || self.guest.unusable.is_some();
        let settled = self.fingerprint(hold);
        let clean_slate = self.base.pending.is_empty();
        if settled == self.base.settled && clean_slate && !self.last {
            self.remember(settled)?;
            return Ok(Next::Done);
        }
        if self.wants_objects() {
            let refused = self.exchange.take_objects(&self.private.layout.guest())?;
            self.synced.imported.notes.extend(refused);
            let (guest, common) = (self.private.layout.guest(), &self.private.repo.common_dir);
            let refused = large_files::take(&guest, common).map_err(GitError::io("copy large files from", &guest))?;
            self.synced.imported.notes.extend(refused);
        }
        let mut plan = self.plan(hold);
        let fetched = self.bring(&mut plan)?;
        let wanted = !plan.to_host.is_empty() || plan.checkout == Checkout::ToHost;
        let lock = if wanted { self.lock()? } else { None };
        if wanted && lock.is_none() {
            let place = self.private.repo.admin_dir.join("index.lock");
            self.synced.unfinished = Some(format!("another git command holds '{}'", place.display()));
            self.synced
                .imported
                .notes
                .push(format!("'{}' exists: the sandbox's work waits until it is gone", place.display()));
            return Ok(Next::Done);
        }
        if lock.is_some() && self.host_moved(&plan)? {
            return Ok(Next::Again);
        }
        let head_before = self.host.side.head.clone();
        if let Next::Again = self.move_refs(&mut plan, &fetched)? {
            return Ok(Next::Again);
        }
        step("refs-moved");
        if let Some(lock) = &lock
            && plan.checkout == Checkout::ToHost
        {
            self.move_checkout(lock)?;
        }
        drop(lock);
        step("unlocked");
        self.find_gitlinks(&plan, &fetched);
        self.forward(&mut plan)?;
        step("forwarded");
        let tracking = tracking::read(&self.private.layout);
        tracking::take(&self.private.repo, &self.host.side.refs, &self.base.tracking, &tracking)?;
        self.base.tracking = tracking;
        self.park(&plan, &fetched);
        self.report(&plan, hold);
        self.base.agree(&self.host.side, &self.guest.side);
        let settled = self.fingerprint(hold);
        self.remember(settled)?;
        Ok(if self.host.side.head == head_before { Next::Done } else { Next::Again })
    }

    /// All that a decision depends on, as one word.
    fn fingerprint(&self, hold: bool) -> String {
        let all = (
            &self.base.side,
            &self.host.side,
            &self.guest.side,
            &self.guest.odd_names,
            &self.host.refs.elsewhere,
            hold,
        );
        let text = serde_json::to_vec(&all).unwrap_or_default();
        Oid::from_raw(&Sha256::digest(text)).to_string()
    }

    /// Writes what was learned, if that is anything new.
    fn remember(&mut self, settled: String) -> Result<(), GitError> {
        let mut base = self.base.clone();
        base.settled = settled;
        base.host_index = self.host.index.clone();
        base.guest_index = self.guest.index_state.clone();
        base.pending.clear();
        step("before-base");
        if self.last {
            // Only saves a later sync work, and there is none.
            let stored = &self.stored;
            base.settled.clone_from(&stored.settled);
            base.host_index = stored.host_index.clone();
            base.guest_index = stored.guest_index.clone();
        }
        match base == self.stored {
            true => Ok(()),
            false => layout::save(&self.private.layout.base(), &base),
        }
    }

    pub(super) fn known_oids(&self) -> BTreeSet<&Oid> {
        self.host.refs.refs.values().chain(self.base.parked.values()).collect()
    }

    fn wants_objects(&self) -> bool {
        let known = self.known_oids();
        let guest = &self.guest;
        let detached = if let Head::Detached(oid) = &guest.side.head { Some(oid) } else { None };
        let mut tips = guest
            .side
            .refs
            .iter()
            .filter(|(name, _)| travels(name))
            .map(|(_, oid)| oid)
            .chain(guest.odd_names.values())
            .chain(guest.other.values())
            .chain(detached);
        tips.any(|oid| !known.contains(oid)) || guest.side.index != self.base.side.index || guest.side.merge.is_some()
    }

    fn plan(&self, hold: bool) -> Plan {
        let three = Three {
            base: &self.base.side,
            host: &self.host.side,
            guest: &self.guest.side,
            elsewhere: &self.host.refs.elsewhere,
            created: &self.base.created,
            hold,
        };
        let leaving = |name: &str| !self.guest.side.refs.contains_key(name) && self.base.side.refs.contains_key(name);
        Plan::make(&three, &mut Commits { repo: &self.private.repo, exchange: &self.exchange, leaving: &leaving })
    }
}

/// Answers questions about commits with git: in the exchange, which sees both sides' objects.
struct Commits<'a> {
    repo: &'a Repository,
    exchange: &'a Exchange<'a>,
    leaving: &'a dyn Fn(&str) -> bool,
}

impl History for Commits<'_> {
    fn contains(&mut self, descendant: &Oid, ancestor: &Oid) -> bool {
        let Ok(asked) = self.exchange.git("merge-base") else { return false };
        let asked = asked.args(["--is-ancestor", ancestor.as_str(), descendant.as_str()]);
        asked.output().is_ok_and(|answer| answer.status.success())
    }

    fn kept_without(&mut self, name: &str, oid: &Oid) -> bool {
        let Ok(asked) = self.repo.git("for-each-ref") else { return false };
        let asked = asked.arg(format!("--contains={oid}")).args([
            "--format=%(refname)",
            "refs/heads",
            "refs/tags",
            "refs/remotes",
        ]);
        let listed = asked.run().unwrap_or_default();
        String::from_utf8_lossy(&listed).lines().any(|other| other != name && !(self.leaving)(other))
    }
}
