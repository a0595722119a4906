//! What a run's guest may do to worktrees: have new ones made, and ask about, tell, merge and close those that came from
//! it. Everything it says is checked here again; nothing here asks a person, runs a hook, or believes a path.
//!
//! A run may name its own worktree and those that descend from it. Of all others it gets the same answer as of none at
//! all (P33). What it has made is sandboxed as it is itself, by its own frozen configuration (P31, P32).

use std::cell::Cell;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use color_eyre::eyre::{Report, Result};
use workmux_guest::words::{Code, Member};

use super::changes::{Behalf, Way};
use super::find::{Here, Known};
use super::journal::{Journal, Line};
use super::make::{Branch, Making, Taken, make};
use super::merge::{Merge, Merging};
use super::panes::{Wanted, plan};
use super::quota::Quota;
use super::record::{Entry, Parent, Store};
use super::show::{self, Target};
use super::{autoname, live, names, status, talk, wait};
use crate::config::{self, Sources};
use crate::git::{Boundary, Repository};
use crate::launch::Pinned;
use crate::rpc::{FamilyRequest, MergeRequest, Refusal, SpawnAgent};
use crate::surroundings::Surroundings;
use crate::text;

/// Numbers tried behind an automatic name.
const NUMBERS: usize = 200;

/// A run, as the origin of other agents.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    /// Its id.
    pub run: String,
    /// The directory of the worktree's record that it works for, if it has one.
    pub task: Option<PathBuf>,
    /// The checkout it works in.
    pub repository: Repository,
    /// Its frozen configuration.
    pub frozen: PathBuf,
    /// The backend of its sandbox.
    pub backend: String,
    /// Home, state and the rest.
    pub surroundings: Surroundings,
    /// Its git boundary, once there is one.
    boundary: Arc<OnceLock<Weak<Boundary>>>,
}

impl Family {
    /// Of this run.
    pub(crate) fn new(
        run: &str,
        task: Option<PathBuf>,
        repository: &Repository,
        frozen: PathBuf,
        backend: &str,
        surroundings: &Surroundings,
    ) -> Self {
        Self {
            run: run.to_owned(),
            task,
            repository: repository.clone(),
            frozen,
            backend: backend.to_owned(),
            surroundings: surroundings.clone(),
            boundary: Arc::default(),
        }
    }

    /// Who brings the guest's commits to the host.
    pub(crate) fn imported_by(&self, boundary: &Arc<Boundary>) {
        let _once = self.boundary.set(Arc::downgrade(boundary));
    }

    /// Has a worktree with an agent made.
    pub(crate) fn spawn(&self, request: &SpawnAgent) -> Result<(), Refusal> {
        let asked = request.branch_name.clone().unwrap_or_else(|| "(auto)".to_owned());
        let outcome = self.try_spawn(request);
        let (made, result) = match &outcome {
            Ok(entry) => (Some(entry.record.id.clone()), "ok".to_owned()),
            Err(refusal) => (None, refusal.message.clone()),
        };
        let name = outcome.as_ref().map_or(asked, |entry| entry.record.handle.clone());
        self.record("SpawnAgent", &name, result, made);
        outcome.map(drop).map_err(journaled)
    }

    /// Writes down what was refused before anybody looked whom it is about: too many requests, one that is malformed.
    pub(crate) fn refused_before(&self, why: &str) {
        self.record("refused", "", why.to_owned(), None);
    }

    fn record(&self, request: &str, name: &str, result: String, made: Option<String>) {
        Journal::new(&self.surroundings.state).add(Line {
            at: 0,
            run: self.run.clone(),
            record: self.own().map(|own| own.record.id),
            request: request.to_owned(),
            name: name.to_owned(),
            result,
            made,
        });
    }

    /// The record it works for.
    fn own(&self) -> Option<Entry> {
        Entry::read(self.task.clone()?)
    }

    /// What its children have as their parent.
    fn as_parent(&self) -> Parent {
        match self.own() {
            Some(own) => {
                let above = own.record.parent.as_ref();
                Parent {
                    run: self.run.clone(),
                    family: above.map_or_else(|| own.record.id.clone(), |above| above.family.clone()),
                    depth: above.map_or(0, |above| above.depth) + 1,
                    handle: Some(own.record.handle.clone()),
                    record: Some(own.record.id),
                }
            }
            None => Parent { run: self.run.clone(), record: None, handle: None, family: self.run.clone(), depth: 1 },
        }
    }

    fn try_spawn(&self, request: &SpawnAgent) -> Result<Entry, Refusal> {
        if request.branch_name.is_none() && request.prompt.trim().is_empty() {
            return Err(refused("give a branch or a prompt"));
        }
        let remotes = self.repository.remotes().map_err(|e| self.failed(&Report::new(e)))?;
        let check = |name: &str| match names::wrong_with_guests(name, &remotes) {
            None => Ok(()),
            Some(why) => {
                let why = format!("'{}' cannot be a branch: {why}", text::short(name, 80));
                Err(Refusal::new(Code::BadField, why))
            }
        };
        if let Some(branch) = &request.branch_name {
            check(branch)?;
        }
        let parent = self.as_parent();
        // Before anything is made; counted again, and taken, when the name is.
        drop(self.count(&parent, false)?);
        // What the guest has committed by now is what its agents start from.
        self.import()?;
        let base = self.repository.current_branch().map_err(|e| self.failed(&Report::new(e)))?.ok_or_else(|| {
            refused("no branch is checked out in this worktree: finish what is under way, or check one out")
        })?;
        let loaded = config::load(&Sources { frozen: Some(self.frozen.clone()), ..Sources::default() });
        let loaded = loaded.map_err(|e| self.failed(&Report::new(e)))?;
        let config = loaded.config(&[]).map_err(|e| self.failed(&Report::new(e)))?.clone();
        let automatic = request.branch_name.is_none();
        let name = match &request.branch_name {
            Some(name) => name.clone(),
            None => autoname::branch(&request.prompt, &config, &self.surroundings).map_err(|e| told(&e))?,
        };
        check(&name)?;
        let forced = !crate::mutant::off("p31_forced");
        let prompt = !request.prompt.is_empty();
        let wanted = Wanted { prompt, sandbox: forced, agents_only: forced, ..Wanted::default() };
        let windows = plan(&config, &wanted).map_err(|why| refused(&why))?;
        let main = self.repository.main_checkout.clone().unwrap_or_else(|| self.repository.worktree.clone());
        let target = Target::here(config.default_session.as_deref()).map_err(|e| self.failed(&e))?;
        let base_directory = names::base_directory(&config, &main, &self.surroundings.home);
        if live::above(&self.surroundings.state, &base_directory.map_err(|e| self.failed(&e))?).is_some() {
            return Err(refused(
                "worktrees are made where a sandbox can write: let the user set 'worktree_dir' elsewhere",
            ));
        }
        let table = config.sandbox.tables.get(&self.backend).cloned().unwrap_or_default();
        for number in 1..=NUMBERS {
            let branch = names::numbered(&name, number);
            let held = self.count(&parent, number == 1)?;
            let making = Making {
                repository: &self.repository,
                main: &main,
                loaded: &loaded,
                config: config.clone(),
                behalf: Behalf::Guest,
                // How a user would name it otherwise is not the guest's to choose.
                handle: names::handle(&config, &branch, None).map_err(|e| refused(&crate::error::parts(&e).message))?,
                branch: Branch::New { name: branch, start: format!("refs/heads/{base}"), base: Some(base.clone()) },
                windows: windows.clone(),
                prompt: request.prompt.clone(),
                parent: Some(parent.clone()),
                pinned: forced.then(|| Pinned { backend: self.backend.clone(), table: table.clone() }),
                hooks: false,
                files: true,
                target: Some(target.clone()),
                seen: !request.background,
                changes: None,
                held: Cell::new(Some(held)),
            };
            match make(making, &|| Ok(()), &self.surroundings) {
                Ok(made) => return Ok(made.entry),
                Err(e) => match e.downcast::<Taken>() {
                    Ok(_) if automatic && number < NUMBERS => {}
                    Ok(taken) => return Err(self.taken(&taken)),
                    Err(e) => return Err(self.failed(&e)),
                },
            }
        }
        Err(refused("no free name was found"))
    }

    /// A name somebody has: of which kind is the host's business.
    fn taken(&self, taken: &Taken) -> Refusal {
        let name = match taken {
            Taken::Branch(name) | Taken::Worktree(name) => text::short(name, 80),
            Taken::InTheWay(_) => return refused(&format!("{taken}; choose another name")),
            Taken::Directory(_) => return refused("there is something of that name already; choose another"),
        };
        refused(&format!("there is a '{name}' already; choose another name"))
    }

    /// Whether there may be one more; nobody else counts until the answer is dropped.
    fn count(&self, parent: &Parent, take: bool) -> Result<File, Refusal> {
        let store = Store::new(&self.surroundings.state);
        let held = store.lock().map_err(|e| self.failed(&Report::new(e)))?;
        match Quota::default().check(parent, &store, &self.surroundings.state, take) {
            Ok(Ok(())) => Ok(held),
            Ok(Err(why)) => Err(Refusal::new(Code::Quota, why)),
            Err(e) => Err(self.failed(&Report::new(e))),
        }
    }

    fn import(&self) -> Result<(), Refusal> {
        match self.boundary.get().and_then(Weak::upgrade) {
            Some(boundary) => boundary.import().map(drop).map_err(|e| self.failed(&Report::new(e))),
            None => self.repository.verify().map_err(|e| self.failed(&Report::new(e))),
        }
    }

    /// What the host failed at stays in its log.
    fn failed(&self, why: &Report) -> Refusal {
        crate::launch::log_of(&self.surroundings.state, &self.run, &format!("{why:#}"));
        Refusal::internal()
    }

    /// Everybody that came from this run.
    fn members(&self) -> Vec<Entry> {
        let all = Store::new(&self.surroundings.state).of_repository(&self.repository.common_dir);
        let own = self.own().map(|own| own.record.id);
        descendants(&all, &self.run, own.as_deref())
    }

    /// The member of this name. Who is not of this family is not there.
    fn member(&self, name: &str) -> Result<Entry, Refusal> {
        let all = if crate::mutant::off("p33_family") {
            Store::new(&self.surroundings.state).of_repository(&self.repository.common_dir)
        } else {
            self.members()
        };
        let fits = |entry: &&Entry| entry.record.handle == name || entry.record.branch == name;
        all.iter().find(fits).cloned().ok_or_else(|| {
            Refusal::new(
                Code::NotFound,
                format!("there is no agent '{}' that was started from here", text::short(name, 80)),
            )
        })
    }

    /// A member, or the worktree the run itself works for.
    fn member_or_own(&self, name: &str) -> Result<Entry, Refusal> {
        let own = self.own().filter(|own| own.record.handle == name || own.record.branch == name);
        own.map_or_else(|| self.member(name), Ok)
    }

    /// Does what a guest asks about its family.
    pub(crate) fn ask(&self, request: FamilyRequest) -> Result<Vec<String>, Refusal> {
        let (word, name) = (request.word(), about(&request));
        let kept = matches!(request, FamilyRequest::Merge(_) | FamilyRequest::Close { .. });
        let outcome = self.try_ask(request);
        if kept || outcome.is_err() {
            let result = outcome.as_ref().map_or_else(|refusal| refusal.message.clone(), |_| "ok".to_owned());
            self.record(word, &name, result, None);
        }
        outcome.map_err(journaled)
    }

    fn try_ask(&self, request: FamilyRequest) -> Result<Vec<String>, Refusal> {
        match request {
            FamilyRequest::Status => Ok(vec![self.in_json(&self.members())?]),
            FamilyRequest::Wait { names, within } => {
                let named: Vec<Entry> = names.iter().map(|name| self.member(name)).collect::<Result<_, _>>()?;
                self.wait(&named, within)?;
                // Read again: another pane may have been opened for it meanwhile.
                Ok(vec![self.in_json(&named)?])
            }
            FamilyRequest::Send { name, text } => {
                let entry = self.member(&name)?;
                if !entry.record.sandboxed {
                    return Err(refused("it does not work in a sandbox"));
                }
                if !talk::works(&entry) && !crate::mutant::off("p33_ended") {
                    return Err(refused("it has ended"));
                }
                talk::type_for(&entry, &text, &self.surroundings).map_err(|e| told(&e))?;
                Ok(Vec::new())
            }
            FamilyRequest::Capture { name, lines } => {
                let entry = self.member(&name)?;
                let works = || {
                    let run = show::run_of(&entry, &self.surroundings.state);
                    (entry.record.sandboxed && run.is_some()) || crate::mutant::off("p33_ended")
                };
                // Before and after: once it has ended there is a shell of the user's in its pane.
                let ended = || refused("it has ended, or its sandbox is not ready yet");
                if !works() {
                    return Err(ended());
                }
                let shown = talk::screen_of(&entry, lines).map_err(|e| self.failed(&e))?;
                if works() { Ok(vec![shown]) } else { Err(ended()) }
            }
            FamilyRequest::Merge(merge) => self.merge(&merge),
            FamilyRequest::Close { name } => {
                let mut entry = self.member_or_own(&name)?;
                let own = self.task.as_ref() == Some(&entry.directory);
                if own {
                    // Ends this very run: what closes it must not wait for us.
                    show::close_later(&entry).map_err(|e| self.failed(&e))?;
                    return Ok(vec!["closing".to_owned()]);
                }
                show::close(&entry).map_err(|e| self.failed(&e))?;
                entry.record.place = None;
                entry.save().map_err(|e| self.failed(&Report::new(e)))?;
                Ok(Vec::new())
            }
        }
    }

    fn wait(&self, named: &[Entry], within: Duration) -> Result<(), Refusal> {
        // The run may end meanwhile; nobody is told then, and the thread ends with the process.
        wait::all(named, Some(within), None, &mut |_| {}).map(drop).map_err(|e| self.failed(&e))
    }

    fn in_json(&self, entries: &[Entry]) -> Result<String, Refusal> {
        let own = self.own().map(|own| own.record.handle);
        let members: Vec<Member> = entries
            .iter()
            .map(|entry| {
                let mut member = status::member(entry);
                // The one that asks is nobody's name.
                if member.parent == own {
                    member.parent = None;
                }
                member
            })
            .collect();
        serde_json::to_string(&members).map_err(|e| self.failed(&Report::new(e)))
    }

    fn merge(&self, request: &MergeRequest) -> Result<Vec<String>, Refusal> {
        let entry = self.member_or_own(&request.name)?;
        let own = self.task.as_ref() == Some(&entry.directory);
        self.import()?;
        let into = self.target_of(&entry, own, request.into.as_deref())?;
        let here = Here {
            repository: self.repository.clone(),
            main: self.repository.main_checkout.clone().unwrap_or_else(|| self.repository.worktree.clone()),
            store: Store::new(&self.surroundings.state),
        };
        let all = here.all().map_err(|e| self.failed(&e))?;
        let known = all.into_iter().find(|known| known.checkout.root == entry.record.worktree);
        let known: Known = known.ok_or_else(|| refused("its worktree is gone"))?;
        if known.checkout.branch.as_deref() != Some(entry.record.branch.as_str()) {
            return Err(refused("another branch than its own is checked out in its worktree"));
        }
        let config = config::load(&Sources { frozen: Some(self.frozen.clone()), ..Sources::default() });
        let config = config.and_then(|loaded| loaded.config(&[]).cloned()).map_err(|e| self.failed(&Report::new(e)))?;
        let wish = Merge {
            name: Some(request.name.clone()),
            into: Some(into.clone()),
            way: match (request.rebase, request.squash) {
                (true, _) => Way::Rebase,
                (_, true) => Way::Squash,
                _ => Way::Merge,
            },
            ignore_uncommitted: request.ignore_uncommitted,
            // Its own window would take this request with it.
            keep: request.keep || own,
            cleanup: request.cleanup,
            force: false,
            no_hooks: true,
        };
        let repository = known.repository().map_err(|e| self.failed(&e))?;
        let merging = Merging {
            here: &here,
            known: &known,
            repository: &repository,
            into: &into,
            config: &config,
            behalf: Behalf::Guest,
            hooks: false,
            wish: &wish,
            stop: &|| Ok(()),
        };
        let outcome = merging.run(&self.surroundings).map_err(|e| told(&e));
        // The guest sees at once what it asked for, or that all is as before.
        self.import()?;
        outcome
    }

    /// The one branch that a merge may go into: what is checked out where the agent was started from.
    fn target_of(&self, entry: &Entry, own: bool, wanted: Option<&str>) -> Result<String, Refusal> {
        let allowed = if own {
            // Of a worktree that the user made, the user decides.
            let spawned = entry.record.parent.is_some() && entry.record.base.is_some();
            entry.record.base.clone().filter(|_| spawned)
        } else {
            self.repository.current_branch().map_err(|e| self.failed(&Report::new(e)))?
        };
        let allowed = allowed.ok_or_else(|| match own {
            true => refused("this worktree was made by the user, who merges it"),
            false => refused("no branch is checked out in this worktree"),
        })?;
        match wanted {
            Some(wanted) if wanted != allowed => {
                Err(refused(&format!("from here it can be merged into '{}' only", text::line(&allowed))))
            }
            _ => Ok(allowed),
        }
    }
}

/// Those whom this run asked for, and those whom they asked for.
fn descendants(all: &[Entry], run: &str, own: Option<&str>) -> Vec<Entry> {
    let child = |entry: &Entry, of: &dyn Fn(&Parent) -> bool| entry.record.parent.as_ref().is_some_and(of);
    let mut found: Vec<Entry> = Vec::new();
    let mut next: Vec<&Entry> = all
        .iter()
        .filter(|entry| {
            child(entry, &|parent| match (&parent.record, own) {
                (Some(record), Some(own)) => record == own,
                (None, None) => parent.run == run,
                _ => false,
            })
        })
        .collect();
    while let Some(entry) = next.pop() {
        if found.iter().any(|known| known.record.id == entry.record.id) {
            continue;
        }
        let id = &entry.record.id;
        next.extend(all.iter().filter(|other| child(other, &|parent| parent.record.as_ref() == Some(id))));
        found.push(entry.clone());
    }
    found.sort_by(|a, b| (a.record.created, &a.record.handle).cmp(&(b.record.created, &b.record.handle)));
    found
}

fn about(request: &FamilyRequest) -> String {
    match request {
        FamilyRequest::Status => String::new(),
        FamilyRequest::Wait { names, .. } => names.join(" "),
        FamilyRequest::Send { name, .. } | FamilyRequest::Capture { name, .. } | FamilyRequest::Close { name } => {
            name.clone()
        }
        FamilyRequest::Merge(merge) => merge.name.clone(),
    }
}

fn journaled(refusal: Refusal) -> Refusal {
    Refusal { journaled: true, ..refusal }
}

fn refused(why: &str) -> Refusal {
    Refusal::new(Code::Denied, why)
}

/// A failure in words of ours that hold nothing of the host.
fn told(why: &Report) -> Refusal {
    let parts = crate::error::parts(why);
    let hint = parts.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
    refused(&format!("{}{hint}", parts.message))
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::super::record::{Record, Store};
    use super::*;

    fn entry(store: &Store, handle: &str, parent: Option<(&str, Option<&str>)>) -> Entry {
        let parent = parent.map(|(run, record)| Parent {
            run: run.into(),
            record: record.map(str::to_owned),
            handle: None,
            family: "f".into(),
            depth: 1,
        });
        let record = Record { id: handle.into(), parent, ..record(&format!("/w/{handle}")) };
        store.reserve(record).unwrap().unwrap()
    }

    #[test]
    fn p33_descendants_and_nobody_else() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path());
        entry(&store, "user", None);
        entry(&store, "child", Some(("r1", Some("user"))));
        entry(&store, "grandchild", Some(("r2", Some("child"))));
        entry(&store, "sibling", Some(("r9", Some("other"))));
        entry(&store, "plain", Some(("r1", None)));
        let of = |run: &str, own: Option<&str>| -> Vec<String> {
            descendants(&store.all(), run, own).into_iter().map(|entry| entry.record.handle).collect()
        };
        assert_eq!(of("r1", Some("user")), ["child", "grandchild"]);
        assert_eq!(of("later", Some("user")), ["child", "grandchild"], "also of its next run");
        assert_eq!(of("r2", Some("child")), ["grandchild"]);
        assert_eq!(of("r2", Some("grandchild")), [""; 0]);
        assert_eq!(of("r1", None), ["plain"]);
        assert_eq!(of("r3", None), [""; 0]);
    }
}
