//! The part of a sync that moves objects: which tips the real repository must get, and what becomes of those that
//! cannot arrive.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::error::{GitError, clean};
use super::exchange;
use super::layout;
use super::oid::{Oid, is_plain_ref_name};
use super::plan::{Change, Checkout, Plan, Refusal};
use super::refs::{Head, Refs};
use super::round::Round;
use super::side::parse_host_index;

impl Round<'_> {
    /// What the real repository must get: names as in the exchange.
    fn tips(&self, plan: &Plan) -> Refs {
        let known = self.known_oids();
        let (mut tips, guest) = (Refs::new(), &self.guest);
        for change in &plan.to_host {
            if let Some(oid) = change.to.as_ref().filter(|oid| !known.contains(oid)) {
                tips.insert(change.name.clone(), oid.clone());
            }
        }
        let detached = if let Head::Detached(oid) = &guest.side.head { Some(oid) } else { None };
        if let Some(oid) = detached
            && (plan.checkout == Checkout::ToHost || (self.last && plan.checkout != Checkout::Equal))
        {
            tips.insert("refs/run/HEAD".into(), oid.clone());
        }
        if plan.checkout == Checkout::ToHost {
            for (n, oid) in guest.side.merge.iter().flat_map(|merge| &merge.heads).enumerate() {
                tips.insert(format!("refs/run/MERGE_HEAD-{n}"), oid.clone());
            }
        }
        tips.extend(self.waiting(plan));
        tips.retain(|name, oid| self.base.parked.get(name) != Some(oid));
        tips
    }

    /// What stays at `refs/wm/<run>/` because the host does not take it.
    pub(super) fn waiting(&self, plan: &Plan) -> Refs {
        let mut waiting = Refs::new();
        for Refusal { name, guest, .. } in &plan.refused {
            if let Some(oid) = guest {
                waiting.insert(if name == "HEAD" { "refs/run/HEAD".into() } else { name.clone() }, oid.clone());
            }
        }
        if self.last
            && plan.checkout == Checkout::Held
            && let Head::Detached(oid) = &self.guest.side.head
        {
            waiting.insert("refs/run/HEAD".into(), oid.clone());
        }
        for (name, oid) in &self.guest.odd_names {
            waiting.insert(format!("refs/renamed/{}", plain_name(name)), oid.clone());
        }
        if self.last {
            let new = |name: &String, oid: &Oid| self.base.other.get(name) != Some(oid);
            for (name, oid) in self.guest.other.iter().filter(|(name, oid)| new(name, oid)) {
                waiting.insert(own_place(name), oid.clone());
            }
        }
        waiting
    }

    /// Brings all objects the plan needs into the real repository, and takes out of the plan what did not arrive.
    /// Answers what was fetched, by the names below `refs/wm/<run>/`.
    pub(super) fn bring(&mut self, plan: &mut Plan) -> Result<Refs, GitError> {
        let mut tips = self.tips(plan);
        self.announce(tips.keys())?;
        let mut failed = self.exchange.fetch(&self.base.run, &tips)?;
        let staged = if plan.checkout == Checkout::ToHost { self.staged()? } else { BTreeSet::new() };
        let (repo, wanted) = (&self.private.repo, staged.iter().chain(tips.values()).cloned().collect());
        let here = exchange::kinds(|| repo.git("cat-file"), &wanted, repo.object_format)?;
        for (name, oid) in &tips {
            let must_be_commit = name.starts_with("refs/heads/") || name.starts_with("refs/run/");
            match here.get(oid).map(String::as_str) {
                None => _ = failed.entry(name.clone()).or_insert_with(|| "its objects are incomplete".into()),
                Some(kind) if kind != "commit" && must_be_commit => {
                    _ = failed.insert(name.clone(), "it is no commit".into())
                }
                Some(_) => {}
            }
        }
        tips.retain(|name, _| !failed.contains_key(name));
        self.drop_failed(plan, &failed);
        let missing: BTreeSet<Oid> = staged.into_iter().filter(|oid| !here.contains_key(oid)).collect();
        if plan.checkout == Checkout::ToHost
            && let Err(why) = self.fetch_staged(missing)?
        {
            self.hold_checkout(plan, &why);
        }
        if let Some(name) = self.nowhere(plan) {
            self.hold_checkout(plan, &format!("the sandbox is on '{}', which does not exist here", clean(&name)));
        }
        Ok(tips)
    }

    /// The branch that `HEAD` would get, where it will not exist. A host that stands on none anyway may follow.
    fn nowhere(&self, plan: &Plan) -> Option<String> {
        let (host, Head::Branch(name)) = (&self.host, &self.guest.side.head) else { return None };
        let is = |name: &str| host.side.refs.contains_key(name) || host.refs.symbolic.contains_key(name);
        let unborn = host.side.head.branch().is_some_and(|own| !is(own));
        if plan.checkout != Checkout::ToHost || host.side.head == self.guest.side.head || unborn {
            return None;
        }
        let changed = plan.to_host.iter().find(|change| change.name == *name);
        (!changed.map_or_else(|| is(name), |change| change.to.is_some())).then(|| name.clone())
    }

    /// Notes names below `refs/wm/<run>/` before they exist, so that nobody forgets them.
    fn announce<'n>(&mut self, names: impl Iterator<Item = &'n String>) -> Result<(), GitError> {
        let before = self.base.pending.len();
        self.base.pending.extend(names.cloned());
        if self.base.pending.len() > before {
            self.stored.pending.clone_from(&self.base.pending);
            layout::save(&self.private.layout.base(), &self.stored)?;
        }
        Ok(())
    }

    /// Objects that the guest's index names and the host's does not.
    fn staged(&self) -> Result<BTreeSet<Oid>, GitError> {
        match &self.guest.index {
            Some(index) if self.guest.side.index != self.host.side.index => {
                let theirs = parse_host_index(&self.private.repo)?.objects();
                Ok(index.objects().difference(&theirs).cloned().collect())
            }
            _ => Ok(BTreeSet::new()),
        }
    }

    /// Fetches objects that only the index names: staged, not committed. The outer error is ours, the inner the guest's.
    fn fetch_staged(&mut self, missing: BTreeSet<Oid>) -> Result<Result<(), String>, GitError> {
        if missing.is_empty() {
            return Ok(Ok(()));
        }
        let there = self.exchange.kinds(&missing)?;
        if missing.iter().any(|oid| there.get(oid).is_none_or(|kind| kind != "blob")) {
            return Ok(Err("content it has staged is missing".into()));
        }
        let tips: Refs = missing.into_iter().map(|oid| (format!("refs/run/staged/{oid}"), oid)).collect();
        self.announce(tips.keys())?;
        let failed = self.exchange.fetch(&self.base.run, &tips)?;
        Ok(failed.into_values().next().map_or(Ok(()), Err))
    }

    fn drop_failed(&mut self, plan: &mut Plan, failed: &BTreeMap<String, String>) {
        let current = self.base.side.head.branch().map(str::to_owned);
        for (name, why) in failed {
            let of_checkout = name.starts_with("refs/run/") || Some(name) == current.as_ref();
            if of_checkout && plan.checkout == Checkout::ToHost {
                self.hold_checkout(plan, why);
            }
            if let Some(at) = plan.to_host.iter().position(|c| c.name == *name) {
                let Change { name, from, to } = plan.to_host.remove(at);
                plan.refused.push(Refusal { name, host: from, guest: to, reason: why.clone() });
            }
            if !plan.refused.iter().any(|r| r.name == *name) {
                let note = format!("'{}' could not be taken from the sandbox: {why}", clean(name));
                self.synced.imported.notes.push(note);
                self.synced.unfinished.get_or_insert_with(|| "not everything could be taken".into());
            }
        }
        // A branch that did not arrive cannot be checked out.
        if let (Checkout::ToHost, Head::Branch(name)) = (plan.checkout, &self.guest.side.head)
            && failed.contains_key(name)
        {
            self.hold_checkout(plan, "its branch could not be taken");
        }
    }

    fn hold_checkout(&mut self, plan: &mut Plan, why: &str) {
        plan.checkout = Checkout::Conflict;
        let current = self.base.side.head.branch().unwrap_or("HEAD").to_owned();
        let at = plan.to_host.iter().position(|c| c.name == current);
        let (host, guest) = at.map(|at| plan.to_host.remove(at)).map_or((None, None), |c| (c.from, c.to));
        plan.refused.push(Refusal { name: current, host, guest, reason: why.to_owned() });
    }
}

/// Where a ref that is neither branch nor tag is kept.
pub(super) fn own_place(name: &str) -> String {
    let plain = is_plain_ref_name(&name.replacen("refs/", "refs/other/", 1));
    if plain { name.to_owned() } else { format!("refs/renamed/{}", plain_name(name)) }
}

/// A name the host can have for one it does not take.
pub(super) fn plain_name(name: &str) -> String {
    let hash = Oid::from_raw(&Sha256::digest(name.as_bytes()));
    let letters = name.trim_start_matches("refs/").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    let letters: String = letters.take(60).collect();
    format!("{}-{}", letters.trim_matches('-'), &hash.as_str()[..8])
}
