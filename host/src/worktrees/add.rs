//! `workmux add`: from flags to worktrees, one for each variant that is asked for.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use color_eyre::eyre::{Report, Result};
use serde_json::Value;

use super::changes::{Behalf, Work};
use super::find::Here;
use super::make::{Branch, Made, Making, Taken, make};
use super::panes::{Wanted, plan};
use super::record::Entry;
use super::show::{self, Target};
use super::{autoname, names, open, prompt, talk};
use crate::config::{Config, Loaded};
use crate::error::{Failure, hinted};
use crate::git::Repository;
use crate::launch::{self, Given, Pinned};
use crate::surroundings::Surroundings;
use crate::{task, text};

/// `add`
#[derive(Debug, Default)]
pub(crate) struct Add {
    /// The branch.
    pub branch: Option<String>,
    /// The host finds one.
    pub auto_name: bool,
    /// The handle, where it is not the branch's.
    pub name: Option<String>,
    /// Where the branch starts.
    pub base: Option<String>,
    /// What the agent is told.
    pub prompt: Option<prompt::Source>,
    /// Which agents; more than one = a worktree for each.
    pub agents: Vec<String>,
    /// How many.
    pub count: Option<u16>,
    /// `name:value,value;name:value,value`
    pub foreach: Option<String>,
    /// Not shown at once.
    pub background: bool,
    /// In a sandbox.
    pub sandbox: bool,
    /// By this backend.
    pub backend: Option<String>,
    /// Without `post_create`.
    pub no_hooks: bool,
    /// Without `files`.
    pub no_files: bool,
    /// Without the configured commands of panes.
    pub no_commands: bool,
    /// Which layout.
    pub layout: Option<String>,
    /// Until the agents are finished.
    pub wait: bool,
    /// What is not committed moves over.
    pub with_changes: bool,
    /// And files git does not know.
    pub untracked: bool,
    /// A worktree that is there is opened.
    pub open_if_exists: bool,
    /// Instead of the project's file.
    pub config: Option<PathBuf>,
    /// For programs.
    pub json: bool,
}

/// Configuration that making or opening a worktree needs.
pub(crate) const NEEDED: [&str; 23] = [
    "sandbox",
    "agent",
    "agents",
    "status_icons",
    "status_format",
    "main_branch",
    "base_branch",
    "worktree_dir",
    "worktree_naming",
    "worktree_prefix",
    "window_prefix",
    "nerdfont",
    "panes",
    "layouts",
    "windows",
    "files",
    "post_create",
    "hook_shell",
    "mode",
    "window_placement",
    "default_session",
    "auto_name",
    "pre_remove",
];

/// How many at once.
const MOST: usize = 32;
/// Numbers tried behind a name that is taken.
const NUMBERS: usize = 200;

/// What the flags say of the configuration.
pub(crate) fn flags(sandbox: bool) -> BTreeMap<String, Value> {
    if sandbox { BTreeMap::from([("sandbox.enabled".to_owned(), Value::Bool(true))]) } else { BTreeMap::new() }
}

/// One of the worktrees that are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Variant {
    /// Behind the branch.
    suffix: String,
    /// For the prompt.
    values: BTreeMap<String, String>,
    /// Its agent.
    agent: Option<String>,
}

/// Makes them.
pub(crate) fn add(wish: Add, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    // The question whether to use what the project wants comes before the editor.
    let given = Given { explicit: wish.config.clone(), command_line: flags(wish.sandbox) };
    let can_ask = crate::ui::can_ask();
    let cwd = &surroundings.cwd;
    let loaded = launch::configuration(cwd, &here.repository, given, &NEEDED, can_ask, surroundings)?;
    let config = loaded.config(&NEEDED).map_err(Report::new)?.clone();
    let variants = variants(&wish).map_err(usage)?;
    let prompt = wish.prompt.clone().map(prompt::Source::read).transpose()?.unwrap_or_default();
    let several = variants.len() > 1;
    if several && (wish.with_changes || wish.name.is_some()) {
        let which = if wish.with_changes { "--with-changes" } else { "--name" };
        return Err(usage(format!("{which} fits one worktree, and several are asked for")));
    }
    let pinned = match config.sandbox.enabled {
        true => Some(launch::pin(&loaded, &NEEDED, &here.repository, wish.backend.as_deref(), can_ask, surroundings)?),
        false => None,
    };
    if pinned.is_some() {
        launch::notice::show_once(&surroundings.state);
    }
    let target = Target::here(config.default_session.as_deref())?;
    let work = Work::new(&here.repository, Behalf::User)?;
    let remotes = here.repository.remotes().map_err(Report::new)?;
    let start = start(&wish, &here.repository, &work, &config)?;
    let wanted_branch = branch(&wish, &prompt, &config, surroundings)?;
    let background = wish.background || (unnamed(&wish) && config.auto_name.background);
    let adding = Adding {
        wish: &wish,
        here: &here,
        loaded: &loaded,
        config: &config,
        pinned: pinned.as_ref(),
        target: &target,
        work: &work,
        remotes: &remotes,
        start: &start,
        automatic: wish.auto_name || wish.branch.is_none(),
        background,
    };
    let mut made: Vec<Entry> = Vec::new();
    for variant in &variants {
        let text = if several { prompt::fill(&prompt, &variant.values) } else { prompt.clone() };
        let name = format!("{wanted_branch}{}", variant.suffix);
        if wish.open_if_exists && here.all()?.iter().any(|known| known.checkout.branch.as_deref() == Some(&name)) {
            let open = open::Open { name: Some(name), background, ..open::Open::default() };
            open::open(open, surroundings)?;
            continue;
        }
        let one = task::stoppable(|stop| adding.one(&name, variant, &text, &|| stop.check(), surroundings));
        let Made { entry, notes } = match one {
            Ok(one) => one,
            Err(failure) => {
                if !made.is_empty() {
                    crate::ui::note(&format!(
                        "{} worktree(s) were made before this failed; see: workmux list",
                        made.len()
                    ));
                }
                return Err(Failure { report: hint(failure.report), code: failure.code });
            }
        };
        for note in notes {
            crate::ui::note(&note);
        }
        if !wish.json {
            say(&entry);
        }
        made.push(entry);
    }
    let agents: Vec<Entry> = made.iter().filter(|entry| entry.record.agent.is_some()).cloned().collect();
    let waited = match wish.wait && !agents.is_empty() {
        true => talk::until_finished(&agents, None, !wish.json),
        false => Ok(0),
    };
    if wish.json {
        // Last, and alone on standard output: how they are is how they ended.
        let all: Vec<Value> = made.iter().map(super::status::json_of).collect();
        crate::ui::print(&Value::Array(all).to_string());
    }
    waited
}

fn usage(message: String) -> Failure {
    Failure { report: Report::msg(message), code: crate::error::USAGE }
}

fn hint(report: Report) -> Report {
    match report.downcast::<Taken>() {
        Ok(taken) => taken.with_hint(),
        Err(report) => report,
    }
}

/// Says what was made, and what is not as one might think.
fn say(entry: &Entry) {
    let record = &entry.record;
    let (name, branch) = (text::line(&record.handle), text::line(&record.branch));
    let branch = if name == branch { String::new() } else { format!(" (branch '{branch}')") };
    crate::ui::print(&format!("✓ Created worktree '{name}'{branch}{}", open::in_words(record.place.as_ref(), &name)));
    crate::ui::print(&format!("  {}", text::quote(record.worktree.as_os_str())));
    match (&record.agent, record.sandboxed) {
        (None, _) => {
            crate::ui::note(&format!("there is no agent in it; start one: workmux open {name} -S -p 'what to do'"))
        }
        (Some(_), false) => crate::ui::note("its agent can do on this machine what you can: -S puts it into a sandbox"),
        (Some(_), true) => {}
    }
    show::say_if_ended(entry);
}

/// What holds for all of them.
struct Adding<'a> {
    wish: &'a Add,
    here: &'a Here,
    loaded: &'a Loaded,
    config: &'a Config,
    pinned: Option<&'a Pinned>,
    target: &'a Target,
    work: &'a Work<'a>,
    remotes: &'a [String],
    start: &'a (String, Option<String>),
    automatic: bool,
    background: bool,
}

impl Adding<'_> {
    /// Makes one, under the next free name where the name is ours to choose.
    fn one(
        &self,
        name: &str,
        variant: &Variant,
        prompt: &str,
        stop: &dyn Fn() -> Result<()>,
        surroundings: &Surroundings,
    ) -> Result<Made> {
        let numbers = if self.automatic { NUMBERS } else { 1 };
        for number in 1..=numbers {
            match self.try_one(&names::numbered(name, number), variant, prompt, stop, surroundings) {
                Err(e) if number < numbers && e.is::<Taken>() => {}
                made => return made,
            }
        }
        Err(Report::msg("no free name was found"))
    }

    fn try_one(
        &self,
        name: &str,
        variant: &Variant,
        prompt: &str,
        stop: &dyn Fn() -> Result<()>,
        surroundings: &Surroundings,
    ) -> Result<Made> {
        let wish = self.wish;
        let mut config = self.config.clone();
        if let Some(agent) = variant.agent.as_ref() {
            config.agent = Some(agent.clone());
        }
        let wanted = Wanted {
            agent: variant.agent.as_deref(),
            layout: wish.layout.as_deref(),
            prompt: !prompt.is_empty(),
            sandbox: wish.sandbox,
            agents_only: false,
            no_commands: wish.no_commands,
            for_agents: self.here.main.join("CLAUDE.md").is_file(),
        };
        let windows = plan(&config, &wanted).map_err(Report::msg)?;
        let branch = self.branch(name)?;
        let making = |branch: Branch| -> Result<Making> {
            Ok(Making {
                repository: &self.here.repository,
                main: &self.here.main,
                loaded: self.loaded,
                handle: names::handle(&config, branch.name(), wish.name.as_deref())?,
                config: config.clone(),
                behalf: Behalf::User,
                branch,
                windows: windows.clone(),
                prompt: prompt.to_owned(),
                parent: None,
                pinned: self.pinned.map(|p| Pinned { backend: p.backend.clone(), table: p.table.clone() }),
                hooks: !wish.no_hooks,
                files: !wish.no_files,
                target: Some(self.target.clone()),
                seen: !self.background,
                held: Cell::new(None),
                changes: wish.with_changes.then_some(wish.untracked),
            })
        };
        let made = make(making(branch)?, stop, surroundings);
        match made {
            // A branch that is there is worked on, unless it was to start somewhere.
            Err(e) if !self.automatic && wish.base.is_none() => match e.downcast::<Taken>() {
                Ok(Taken::Branch(name)) => make(making(Branch::Existing { name, base: None })?, stop, surroundings),
                Ok(other) => Err(other.into()),
                Err(e) => Err(e),
            },
            made => made,
        }
    }

    fn branch(&self, name: &str) -> Result<Branch> {
        let remote = self.remotes.iter().find(|r| name.strip_prefix(r.as_str()).is_some_and(|b| b.starts_with('/')));
        if let Some(remote) = remote {
            let local = &name[remote.len() + 1..];
            checked(local, self.remotes)?;
            let start = format!("refs/remotes/{name}");
            return match self.work.commit(&start).map_err(Report::new)? {
                Some(_) => Ok(Branch::New { name: local.to_owned(), start, base: None }),
                None => Err(hinted(
                    format!("there is no '{}' here", text::line(name)),
                    format!("fetch it first: git fetch {}", text::line(remote)),
                )),
            };
        }
        checked(name, self.remotes)?;
        let (start, base) = self.start.clone();
        Ok(Branch::New { name: name.to_owned(), start, base })
    }
}

fn checked(branch: &str, remotes: &[String]) -> Result<()> {
    match names::wrong_with(branch, remotes) {
        None => Ok(()),
        Some(why) => Err(hinted(
            format!("'{}' cannot be a branch: {why}", text::line(branch)),
            "choose another, such as fix-login",
        )),
    }
}

/// Where new branches start, and the branch that is.
fn start(wish: &Add, repository: &Repository, work: &Work, config: &Config) -> Result<(String, Option<String>)> {
    let named = match (&wish.base, config.base_branch.as_deref()) {
        (Some(base), _) => Some(base.clone()),
        (None, Some("auto")) => Some(work.main_branch(config.main_branch.as_deref())?.ok_or_else(|| {
            hinted("'base_branch' is 'auto', and the main branch cannot be told", "set 'main_branch'")
        })?),
        (None, configured) => configured.map(str::to_owned),
    };
    let Some(named) = named else {
        return Ok(match repository.current_branch().map_err(Report::new)? {
            Some(current) => (format!("refs/heads/{current}"), Some(current)),
            None => ("HEAD".to_owned(), None),
        });
    };
    if work.branch(&named).map_err(Report::new)?.is_some() {
        return Ok((format!("refs/heads/{named}"), Some(named)));
    }
    let commit = if named.starts_with('-') { None } else { work.commit(&named).map_err(Report::new)? };
    commit.map(|commit| (commit, None)).ok_or_else(|| {
        hinted(format!("there is no branch or commit '{}' to start from", text::line(&named)), "see: git branch --all")
    })
}

/// The branch that is asked for, or one after the prompt.
fn branch(wish: &Add, prompt: &str, config: &Config, surroundings: &Surroundings) -> Result<String> {
    match &wish.branch {
        Some(branch) if !wish.auto_name => Ok(branch.clone()),
        _ => match (&wish.name, prompt.is_empty()) {
            (Some(name), _) if !wish.auto_name => Ok(text::slug(name)),
            (_, true) => Err(hinted(
                "give a branch, or a prompt to name one after",
                "workmux add BRANCH, or: workmux add -p TEXT",
            )),
            (_, false) => autoname::branch(prompt, config, surroundings),
        },
    }
}

/// Whether the name is found here.
fn unnamed(wish: &Add) -> bool {
    wish.auto_name || (wish.branch.is_none() && wish.name.is_none())
}

fn variants(wish: &Add) -> Result<Vec<Variant>, String> {
    let mut all = match (wish.count, &wish.foreach) {
        (Some(_), Some(_)) => return Err("--count and --foreach exclude each other".to_owned()),
        (Some(0), None) => return Err("--count is at least 1".to_owned()),
        (Some(count), None) => (1..=count)
            .map(|number| Variant {
                suffix: if count == 1 { String::new() } else { format!("-{number}") },
                values: BTreeMap::from([("num".to_owned(), number.to_string())]),
                agent: None,
            })
            .collect(),
        (None, Some(matrix)) => rows(matrix)?,
        (None, None) => vec![Variant::default()],
    };
    if wish.agents.len() > 1 {
        let with = |variant: &Variant, agent: &String| {
            let mut variant = variant.clone();
            variant.suffix = format!("{}-{}", variant.suffix, text::slug(agent));
            variant.values.insert("agent".to_owned(), agent.clone());
            variant.agent = Some(agent.clone());
            variant
        };
        all = all
            .iter()
            .flat_map(|variant| wish.agents.iter().map(|agent| with(variant, agent)).collect::<Vec<_>>())
            .collect();
    } else if let Some(agent) = wish.agents.first() {
        all.iter_mut().for_each(|variant| variant.agent = Some(agent.clone()));
    }
    if all.len() > MOST {
        return Err(format!("{} worktrees are asked for; at most {MOST} are made at once", all.len()));
    }
    Ok(all)
}

/// `os:linux,mac;db:pg,my` is linux with pg, and mac with my.
fn rows(matrix: &str) -> Result<Vec<Variant>, String> {
    let mut rows: Vec<Variant> = Vec::new();
    for (n, column) in matrix.split(';').map(str::trim).filter(|column| !column.is_empty()).enumerate() {
        let (name, values) = column
            .split_once(':')
            .ok_or_else(|| format!("--foreach needs 'name:value,value', and '{}' has no ':'", text::line(column)))?;
        let values: Vec<&str> = values.split(',').map(str::trim).filter(|value| !value.is_empty()).collect();
        if n == 0 {
            rows = vec![Variant::default(); values.len()];
        }
        if values.is_empty() || values.len() != rows.len() {
            return Err(format!(
                "--foreach needs as many values for '{}' as for the first name",
                text::line(name.trim())
            ));
        }
        for (row, value) in rows.iter_mut().zip(values) {
            row.suffix = format!("{}-{}", row.suffix, text::slug(value));
            row.values.insert(name.trim().to_owned(), value.to_owned());
        }
    }
    if rows.is_empty() {
        return Err("--foreach needs 'name:value,value'".to_owned());
    }
    for (n, row) in rows.iter().enumerate() {
        if row.suffix.ends_with('-') || rows[..n].iter().any(|other| other.suffix == row.suffix) {
            return Err("--foreach has values that give no name of their own".to_owned());
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suffixes(wish: &Add) -> Result<Vec<String>, String> {
        Ok(variants(wish)?.into_iter().map(|variant| variant.suffix).collect())
    }

    #[test]
    fn one_worktree_for_each_variant() {
        assert_eq!(suffixes(&Add::default()).unwrap(), [""]);
        assert_eq!(suffixes(&Add { count: Some(2), ..Add::default() }).unwrap(), ["-1", "-2"]);
        let both = Add { foreach: Some("os:Linux, mac ; db:pg,my".into()), ..Add::default() };
        assert_eq!(suffixes(&both).unwrap(), ["-linux-pg", "-mac-my"]);
        let agents = Add { agents: vec!["claude".into(), "codex".into()], count: Some(1), ..Add::default() };
        assert_eq!(suffixes(&agents).unwrap(), ["-claude", "-codex"]);
        for bad in ["", "os", "os:", "os:a,b;db:c", "os:a,a", "os:#,b"] {
            assert!(suffixes(&Add { foreach: Some(bad.into()), ..Add::default() }).is_err(), "{bad}");
        }
        assert!(suffixes(&Add { count: Some(33), ..Add::default() }).is_err());
    }
}
