//! What host and guest last agreed on, kept between syncs and across crashes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::oid::Oid;
use super::refs::Refs;
use super::side::{Side, Stamped};
use super::tracking::Tracking;

/// Written as the last step of a sync: until then the earlier one holds, and the sync is done again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    /// The run that made the private git dir; its name is in `refs/wm/<run>/`.
    pub run: String,
    pub side: Side,
    pub host_index: Stamped,
    pub guest_index: Stamped,
    /// Submodules the host's index had.
    pub gitlinks: BTreeSet<Vec<u8>>,
    /// Branches and tags that the guest brought into existence.
    pub created: BTreeSet<String>,
    /// The guest's values that wait in `refs/wm/<run>/`, by the name they have there.
    pub parked: Refs,
    /// What the user has been told already.
    pub told: BTreeSet<String>,
    /// What the user must hear at the end of the run: see `gitlinks`.
    #[serde(default)]
    pub warnings: BTreeSet<String>,
    /// Names below `refs/wm/<run>/` that a sync was about to make.
    pub pending: BTreeSet<String>,
    /// What both sides looked like when there was last nothing left to do.
    pub settled: String,
    /// Tips of the guest's other refs (stashes, notes) as it got them.
    pub other: BTreeMap<String, Oid>,
    /// What the guest's branches follow, as last taken over.
    pub tracking: Tracking,
}

impl Base {
    /// After a sync: what is equal on both sides is agreed, the rest stays as it was.
    pub(super) fn agree(&mut self, host: &Side, guest: &Side) {
        let names: BTreeSet<String> =
            [&self.side, host, guest].into_iter().flat_map(|side| side.refs.keys().cloned()).collect();
        for name in names {
            match (host.refs.get(&name), guest.refs.get(&name)) {
                (Some(a), Some(b)) if a == b => _ = self.side.refs.insert(name, a.clone()),
                (None, None) => _ = self.side.refs.remove(&name),
                _ => {}
            }
        }
        self.created.retain(|name| host.refs.contains_key(name) || guest.refs.contains_key(name));
        let current = self.side.head.branch();
        let tip = |side: &Side| current.and_then(|name| side.refs.get(name).cloned());
        if host.head == guest.head && host.index == guest.index && host.merge == guest.merge && tip(host) == tip(guest)
        {
            self.side.head = host.head.clone();
            self.side.index = host.index.clone();
            self.side.merge = host.merge.clone();
        }
    }
}
