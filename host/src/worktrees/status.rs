//! `workmux list`, `status` and `path`: what there is and how it is, for people and for programs.

use std::time::Duration;

use color_eyre::eyre::Result;
use serde_json::{Value, json};
use workmux_guest::words::Member;

use super::find::{Here, Known};
use super::record::{Entry, Place, State, now};
use super::show;
use crate::error::Failure;
use crate::surroundings::Surroundings;
use crate::text;

/// Whether it finished as it should. A command that ended says it by its exit code, whatever its last status was.
pub(crate) fn succeeded(state: &State) -> bool {
    state.exit_code.map_or(state.status == "done", |code| code == 0)
}

/// How an agent is, in one word or two.
pub(crate) fn in_words(state: &State) -> String {
    match state.exit_code {
        // Its terminal was taken away.
        Some(129) => "closed".to_owned(),
        Some(code) => format!("exited {code}"),
        None if state.starting() => "starting".to_owned(),
        None if !state.running() => "-".to_owned(),
        None if state.status.is_empty() => "running".to_owned(),
        None => state.status.clone(),
    }
}

/// As guests are told.
pub(crate) fn member(entry: &Entry) -> Member {
    let (record, state) = (&entry.record, entry.state());
    let running = state.running() || state.starting();
    let status = if state.status.is_empty() { "none" } else { &state.status };
    Member {
        name: record.handle.clone(),
        branch: record.branch.clone(),
        parent: record.parent.as_ref().and_then(|parent| parent.handle.clone()),
        status: status.to_owned(),
        since: (state.since > 0).then_some(state.since),
        running,
        exit_code: state.exit_code,
    }
}

/// One worktree for programs.
pub(crate) fn json_of(entry: &Entry) -> Value {
    let record = &entry.record;
    let member = member(entry);
    json!({
        "name": record.handle, "branch": record.branch, "path": record.worktree, "base": record.base,
        "parent": member.parent, "agent": record.agent, "sandboxed": record.sandboxed, "created": record.created,
        "status": member.status, "since": member.since, "running": member.running, "exit_code": member.exit_code,
    })
}

/// Lists all checkouts.
pub(crate) fn list(json: bool, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    let all = here.all()?;
    let entries: Vec<Entry> = all.iter().filter_map(|known| known.entry.clone()).collect();
    let shown = show::shown(&entries);
    let open = |known: &Known| {
        let at = known.entry.as_ref().and_then(|own| entries.iter().position(|e| e.record.id == own.record.id));
        at.is_some_and(|at| shown[at])
    };
    if json {
        let all: Vec<Value> = all
            .iter()
            .map(|known| {
                let mut value = known.entry.as_ref().map_or_else(|| json!({ "name": known.name }), json_of);
                value["branch"] = json!(known.checkout.branch);
                value["path"] = json!(known.checkout.root);
                value["main"] = json!(known.checkout.main);
                value["open"] = json!(open(known));
                value["gone"] = json!(!known.checkout.root.is_dir());
                value
            })
            .collect();
        crate::ui::print(&Value::Array(all).to_string());
        return Ok(0);
    }
    let mut rows = vec![["NAME", "BRANCH", "WINDOW", "AGENT", "PATH"].map(str::to_owned).to_vec()];
    for known in &all {
        let state = known.entry.as_ref().map(Entry::state).unwrap_or_default();
        let background = known.entry.as_ref().is_some_and(|entry| entry.record.place == Some(Place::Background));
        let window = match (known.checkout.root.is_dir(), open(known)) {
            (false, _) => "gone",
            (true, true) if background => "background",
            (true, true) => "open",
            (true, false) => "-",
        };
        rows.push(vec![
            if known.checkout.main { format!("{} (main)", text::line(&known.name)) } else { text::line(&known.name) },
            text::line(known.checkout.branch.as_deref().unwrap_or("(no branch)")),
            window.to_owned(),
            in_words(&state),
            text::quote(known.checkout.root.as_os_str()),
        ]);
    }
    crate::ui::print(&table(&rows));
    Ok(0)
}

/// `status`
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Which; none = all.
    pub names: Vec<String>,
    /// For programs.
    pub json: bool,
    /// Each below who asked for it.
    pub tree: bool,
    /// Of all repositories.
    pub everywhere: bool,
}

/// Shows how agents are.
pub(crate) fn status(look: &Look, surroundings: &Surroundings) -> Result<u8, Failure> {
    let entries = if look.everywhere {
        super::record::Store::new(&surroundings.state).all()
    } else {
        let here = Here::find(&surroundings.cwd, surroundings)?;
        if look.names.is_empty() {
            here.store.of_repository(&here.repository.common_dir)
        } else {
            let named = look.names.iter().map(|name| Ok(here.named(Some(name))?.entry));
            named.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()
        }
    };
    if look.json {
        let all: Vec<Value> = entries.iter().map(json_of).collect();
        crate::ui::print(&Value::Array(all).to_string());
        return Ok(0);
    }
    if entries.is_empty() {
        crate::ui::print("No agents here. Start one: workmux add BRANCH -p 'what to do'");
        return Ok(0);
    }
    let mut order = Vec::new();
    if look.tree {
        below(&entries, None, 0, &mut order)
    } else {
        order.extend(entries.iter().map(|entry| (0, entry)))
    }
    let mut rows = vec![["NAME", "STATUS", "SINCE", "SANDBOX", "AGENT", "BRANCH"].map(str::to_owned).to_vec()];
    if look.everywhere {
        rows[0].push("REPOSITORY".to_owned());
    }
    for (depth, entry) in order {
        let (record, state) = (&entry.record, entry.state());
        let since = if state.since == 0 { "-".to_owned() } else { ago(now().saturating_sub(state.since)) };
        let mut row = vec![
            format!("{:depth$}{}", "", text::line(&record.handle), depth = depth * 2),
            in_words(&state),
            since,
            if record.sandboxed { "yes".to_owned() } else { "no".to_owned() },
            text::short(record.agent.as_deref().unwrap_or("-"), 24),
            text::line(&record.branch),
        ];
        if look.everywhere {
            row.push(text::quote(record.project().as_os_str()));
        }
        rows.push(row);
    }
    crate::ui::print(&table(&rows));
    Ok(0)
}

/// Adds those whom `parent` asked for, each followed by its own. `None` has all whose parent is not here as well.
fn below<'a>(all: &'a [Entry], parent: Option<&str>, depth: usize, order: &mut Vec<(usize, &'a Entry)>) {
    if depth > 16 {
        return;
    }
    for entry in all {
        let asked = entry.record.parent.as_ref().and_then(|parent| parent.record.as_deref());
        let known = asked.filter(|id| all.iter().any(|other| other.record.id == **id));
        if known == parent {
            order.push((depth, entry));
            below(all, Some(&entry.record.id), depth + 1, order);
        }
    }
}

fn ago(seconds: u64) -> String {
    match Duration::from_secs(seconds).as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    }
}

/// Prints where a worktree is.
pub(crate) fn path(name: &str, surroundings: &Surroundings) -> Result<u8, Failure> {
    let here = Here::find(&surroundings.cwd, surroundings)?;
    let known = here.named(Some(name))?;
    let mut path = known.checkout.root.into_os_string().into_encoded_bytes();
    path.push(b'\n');
    crate::ui::raw(&path);
    Ok(0)
}

/// Columns as wide as what is in them.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
