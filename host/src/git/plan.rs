//! What a sync will do: a pure three-way comparison of host, guest and what both last agreed on.
//!
//! `HEAD`, the branch it was on, the index and a merge in progress move together or not at all: one of them alone on
//! the host would show work as undone. Every other branch and tag is on its own. A step that an earlier, interrupted
//! sync has done already looks like "the host has what the guest has", which is why repeating is always safe.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::oid::Oid;
use super::refs::Head;
use super::side::{Side, travels};

/// A ref to be moved: from a value (which must still hold) to another. `None` = does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub name: String,
    pub from: Option<Oid>,
    pub to: Option<Oid>,
}

/// A ref that stays as it is on the host although the guest moved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub name: String,
    pub host: Option<Oid>,
    pub guest: Option<Oid>,
    pub reason: String,
}

/// Which way `HEAD`, its branch and the index go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checkout {
    Equal,
    ToHost,
    ToGuest,
    /// Not now: the guest is in the middle of something.
    Held,
    Conflict,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub to_host: Vec<Change>,
    pub to_guest: Vec<Change>,
    pub checkout: Checkout,
    pub refused: Vec<Refusal>,
}

/// Everything a decision needs.
pub(super) struct Three<'a> {
    pub base: &'a Side,
    pub host: &'a Side,
    pub guest: &'a Side,
    /// Branches other checkouts of the host are on.
    pub elsewhere: &'a BTreeMap<String, PathBuf>,
    /// Branches the guest brought into existence, which it may end again.
    pub created: &'a BTreeSet<String>,
    /// The guest's `HEAD` and index cannot be taken at present.
    pub hold: bool,
}

/// Questions about commits, asked only where both sides moved or a branch went away.
pub(super) trait History {
    /// Whether `ancestor` is in the history of `descendant`.
    fn contains(&mut self, descendant: &Oid, ancestor: &Oid) -> bool;
    /// Whether a ref of the host other than `name` still has `oid` in its history.
    fn kept_without(&mut self, name: &str, oid: &Oid) -> bool;
}

impl Plan {
    pub(super) fn make(three: &Three, history: &mut dyn History) -> Self {
        let mut plan = Self { to_host: vec![], to_guest: vec![], checkout: checkout(three, history), refused: vec![] };
        let current = three.base.head.branch();
        let names: BTreeSet<&String> =
            [three.base, three.host, three.guest].into_iter().flat_map(|side| side.refs.keys()).collect();
        for name in names {
            if Some(name.as_str()) == current {
                plan.current(name, three);
            } else {
                plan.other(name, three, history);
            }
        }
        if plan.checkout == Checkout::Conflict && three.guest.head != three.base.head {
            let at = |head: &Head| if let Head::Detached(oid) = head { Some(oid.clone()) } else { None };
            plan.refuse_as("HEAD", at(&three.host.head), at(&three.guest.head), "the host's checkout changed as well");
        }
        plan
    }

    /// The branch that was checked out: it goes where the checkout goes.
    fn current(&mut self, name: &str, three: &Three) {
        let [base, host, guest] = [three.base, three.host, three.guest].map(|side| side.refs.get(name).cloned());
        match self.checkout {
            _ if host == guest => {}
            // Once `HEAD` has left it, the next round may take the branch away.
            Checkout::ToHost if guest.is_none() && three.guest.head != three.base.head => {}
            Checkout::ToHost if guest.is_none() => self.refuse_as(name, host, guest, "it is checked out on the host"),
            Checkout::ToHost => self.to_host.push(Change { name: name.to_owned(), from: host, to: guest }),
            Checkout::ToGuest => self.to_guest.push(Change { name: name.to_owned(), from: guest, to: host }),
            Checkout::Conflict if guest != base => {
                self.refuse_as(name, host, guest, "the host changed its branch, index or HEAD as well");
            }
            _ => {}
        }
    }

    fn other(&mut self, name: &str, three: &Three, history: &mut dyn History) {
        let [base, host, guest] = [three.base, three.host, three.guest].map(|side| side.refs.get(name).cloned());
        if host == guest {
            return;
        }
        let newer = |history: &mut dyn History, a: &Option<Oid>, b: &Option<Oid>| match (a, b) {
            (Some(a), Some(b)) => history.contains(a, b),
            _ => false,
        };
        if guest == base || (host != base && newer(history, &host, &guest)) {
            self.to_guest.push(Change { name: name.to_owned(), from: guest, to: host });
        } else if !travels(name) {
            // The guest's own.
        } else if host != base && !newer(history, &guest, &host) {
            self.refuse_as(name, host, guest, "the host moved it as well");
        } else if let Some(place) = three.elsewhere.get(name) {
            self.refuse_as(name, host, guest, &format!("it is checked out in '{}'", place.display()));
        } else {
            match (&host, &guest) {
                (Some(tip), None) if !three.created.contains(name) && !history.kept_without(name, tip) => {
                    self.refuse_as(name, host, guest, "the sandbox deleted it, but its commits are nowhere else");
                }
                _ => self.to_host.push(Change { name: name.to_owned(), from: host, to: guest }),
            }
        }
    }

    fn refuse_as(&mut self, name: &str, host: Option<Oid>, guest: Option<Oid>, reason: &str) {
        self.refused.push(Refusal { name: name.to_owned(), host, guest, reason: reason.to_owned() });
    }
}

fn checkout(three: &Three, history: &mut dyn History) -> Checkout {
    let Three { base, host, guest, .. } = three;
    let current = base.head.branch();
    let tip = |side: &Side| current.and_then(|name| side.refs.get(name).cloned());
    let (base_tip, host_tip, guest_tip) = (tip(base), tip(host), tip(guest));
    let equal = |a: &Side, b: &Side| a.head == b.head && a.index == b.index && a.merge == b.merge && tip(a) == tip(b);
    if equal(host, guest) {
        return Checkout::Equal;
    }
    if three.hold {
        return Checkout::Held;
    }
    // A side may follow if each of its parts is as agreed, or already as the other side has it.
    let mut may = |side: &Side, other: &Side, side_tip: &Option<Oid>, other_tip: &Option<Oid>| {
        let tip_may = *side_tip == base_tip
            || side_tip == other_tip
            // Not where the other side never moved: a reset to an older commit is a change, not a delay.
            || (*other_tip != base_tip
                && matches!((side_tip, other_tip), (Some(old), Some(new)) if history.contains(new, old)));
        (side.head == base.head || side.head == other.head)
            && (side.index == base.index || side.index == other.index)
            && (side.merge == base.merge || side.merge == other.merge)
            && tip_may
    };
    if may(guest, host, &guest_tip, &host_tip) {
        return Checkout::ToGuest;
    }
    let taken = guest.head.branch().is_some_and(|name| host.head != guest.head && three.elsewhere.contains_key(name));
    if may(host, guest, &host_tip, &guest_tip) && !taken {
        return Checkout::ToHost;
    }
    Checkout::Conflict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::oid::ObjectFormat;

    /// Object n; a higher one has all lower ones in its history.
    fn oid(n: u8) -> Oid {
        Oid::parse(format!("{n:040x}").as_bytes(), ObjectFormat::Sha1).unwrap()
    }

    struct Line;

    impl History for Line {
        fn contains(&mut self, descendant: &Oid, ancestor: &Oid) -> bool {
            // 9 is on a line of its own.
            *descendant != oid(9) && *ancestor != oid(9) && descendant >= ancestor
        }
        fn kept_without(&mut self, _name: &str, _oid: &Oid) -> bool {
            true
        }
    }

    const CURRENT: &str = "refs/heads/current";
    const OTHER: &str = "refs/heads/other";

    fn side(current: Option<u8>, other: Option<u8>, index: u8, head: &str) -> Side {
        let refs = [(CURRENT, current), (OTHER, other)];
        let refs = refs.into_iter().filter_map(|(name, n)| Some((name.to_owned(), oid(n?)))).collect();
        Side { refs, head: Head::Branch(head.into()), index: index.to_string(), merge: None }
    }

    fn make(base: &Side, host: &Side, guest: &Side) -> Plan {
        let (elsewhere, created) = Default::default();
        Plan::make(&Three { base, host, guest, elsewhere: &elsewhere, created: &created, hold: false }, &mut Line)
    }

    fn apply(changes: &[Change], side: &mut Side) {
        for Change { name, from, to } in changes {
            assert_eq!(side.refs.get(name), from.as_ref(), "a change must say what it replaces");
            match to {
                Some(oid) => _ = side.refs.insert(name.clone(), oid.clone()),
                None => _ = side.refs.remove(name),
            }
        }
    }

    fn copy_checkout(from: &Side, to: &mut Side) {
        (to.head, to.index, to.merge) = (from.head.clone(), from.index.clone(), from.merge.clone());
    }

    /// Every combination of small sides: what the plan promises holds, and a second plan has nothing left to do.
    #[test]
    fn p14_no_combination_loses_what_the_host_did() {
        let tips = [Some(1), Some(2), Some(3), Some(9), None];
        let base = side(Some(2), Some(2), 0, CURRENT);
        let mut sides = Vec::new();
        for current in tips {
            for other in tips {
                for index in [0, 1, 2] {
                    for head in [CURRENT, OTHER] {
                        sides.push(side(current, other, index, head));
                    }
                }
            }
        }
        for host in &sides {
            for guest in &sides {
                let plan = make(&base, host, guest);
                let (mut new_host, mut new_guest) = (host.clone(), guest.clone());
                apply(&plan.to_host, &mut new_host);
                apply(&plan.to_guest, &mut new_guest);
                match plan.checkout {
                    Checkout::ToHost => copy_checkout(guest, &mut new_host),
                    Checkout::ToGuest => copy_checkout(host, &mut new_guest),
                    _ => {}
                }
                // The host only ever loses a value the guest had seen, or builds upon.
                for change in &plan.to_host {
                    let seen = base.refs.get(&change.name) == change.from.as_ref();
                    let built_upon = match (&change.from, &change.to) {
                        (Some(old), Some(new)) => Line.contains(new, old),
                        _ => false,
                    };
                    assert!(seen || built_upon || change.from.is_none(), "{host:?} {guest:?} {change:?}");
                }
                if plan.checkout == Checkout::ToHost {
                    assert!(host.index == base.index || host.index == guest.index, "{host:?} {guest:?}");
                    assert!(host.head == base.head || host.head == guest.head, "{host:?} {guest:?}");
                }
                // A ref is equal afterwards, or refused, or waits for a checkout that is.
                for name in [CURRENT, OTHER] {
                    let equal = new_host.refs.get(name) == new_guest.refs.get(name);
                    let refused = plan.refused.iter().any(|r| r.name == name);
                    let waits = name == CURRENT && (plan.checkout == Checkout::Conflict || guest.head != base.head);
                    assert!(equal || refused || waits, "{host:?} {guest:?} {plan:?}");
                }
                // Half-done: the refs have moved, nothing else. The same way must be open.
                if plan.checkout == Checkout::ToHost && plan.refused.is_empty() {
                    let mut half = host.clone();
                    apply(&plan.to_host, &mut half);
                    let again = make(&base, &half, guest);
                    assert!(matches!(again.checkout, Checkout::ToHost | Checkout::Equal), "{half:?} {guest:?}");
                }
            }
        }
    }

    #[test]
    fn a_reset_to_an_older_commit_is_a_change_and_no_delay() {
        let base = side(Some(2), None, 0, CURRENT);
        let guest = side(Some(1), None, 0, CURRENT);
        assert_eq!(make(&base, &base, &guest).checkout, Checkout::ToHost);
        assert_eq!(make(&base, &guest, &base).checkout, Checkout::ToGuest);
    }
}
