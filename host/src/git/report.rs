//! What a sync tells the user: each thing once while the sandbox runs, and everything that is still open at its end.

use super::arrive::{own_place, plain_name};
use super::boundary::RefConflict;
use super::error::clean;
use super::plan::{Checkout, Plan, Refusal};
use super::private::Synced;
use super::round::Round;

/// Things remembered as told. Then they are told again.
const MOST_TOLD: usize = 1000;

impl Round<'_> {
    /// Reports what was done. Call when it is known what is parked.
    pub(super) fn report(&mut self, plan: &Plan, hold: bool) {
        if self.base.told.len() > MOST_TOLD {
            self.base.told.clear();
        }
        for refusal in &plan.refused {
            self.refused(refusal);
        }
        let lost = plan.refused.iter().any(|refusal| refusal.guest.is_some());
        // A deletion that was not taken loses nothing.
        if lost || plan.checkout == Checkout::Conflict {
            let why = match plan.checkout {
                Checkout::Conflict => "host and sandbox both changed",
                _ => "some of the sandbox's work was not taken, see above",
            };
            self.synced.unfinished.get_or_insert_with(|| why.into());
        }
        for path in self.guest.new_gitlinks.clone() {
            self.once(format!("'{path}' is a git repository inside the work tree; it was left out of the index"));
        }
        let imported = &mut self.synced.imported;
        for update in &imported.updated {
            if let (Some(old), None) = (&update.old, &update.new) {
                let name = clean(&update.name);
                imported.notes.push(format!("the sandbox deleted '{name}' (it was {})", old.short()));
            }
        }
        if self.last {
            // Earlier ones went to the log only.
            self.synced.imported.warnings.extend(self.base.warnings.iter().cloned());
            self.unfinished(hold);
            self.elsewhere();
        }
    }

    fn refused(&mut self, Refusal { name, host, guest, reason }: &Refusal) {
        let place = if name == "HEAD" { "refs/run/HEAD" } else { name };
        let kept = guest.is_some() && self.base.parked.get(place) == guest.as_ref();
        let new = self.base.told.insert(format!("{name} {host:?} {guest:?} {reason}"));
        if new || self.last {
            self.synced.imported.conflicts.push(RefConflict {
                name: name.clone(),
                host: host.clone(),
                guest: guest.clone(),
                kept_at: kept.then(|| self.kept_at(place)),
                reason: clean(reason),
            });
        }
    }

    /// The guest's `HEAD` and index, where they were not taken.
    fn unfinished(&mut self, hold: bool) {
        let Synced { imported, unfinished } = &mut *self.synced;
        if let Some(operation) = self.guest.unfinished {
            imported.notes.push(format!("the sandbox ended in the middle of a {operation}"));
            *unfinished = Some(format!("a {operation} was not finished"));
        } else if let Some(why) = &self.guest.unusable {
            imported.notes.push(format!("the sandbox's HEAD and index were not taken: {why}"));
            *unfinished = Some(why.clone());
        } else if hold {
            unfinished.get_or_insert_with(|| "its HEAD and index were not taken".into());
        }
    }

    /// What is at another place on the host than in the guest.
    fn elsewhere(&mut self) {
        let odd = self.guest.odd_names.keys().map(|name| (name, format!("refs/renamed/{}", plain_name(name))));
        let new = self.guest.other.iter().filter(|(name, oid)| self.base.other.get(*name) != Some(*oid));
        let other = new.map(|(name, _)| (name, own_place(name)));
        for (name, place) in odd.chain(other) {
            if self.base.parked.contains_key(&place) {
                let name = clean(name.trim_start_matches("refs/"));
                self.synced
                    .imported
                    .notes
                    .push(format!("the sandbox's '{name}' is kept at '{}'", self.kept_at(&place)));
            }
        }
    }

    fn kept_at(&self, place: &str) -> String {
        format!("refs/wm/{}/{}", self.base.run, place.trim_start_matches("refs/"))
    }

    fn once(&mut self, note: String) {
        if self.base.told.insert(note.clone()) || self.last {
            self.synced.imported.notes.push(note);
        }
    }
}
