//! The table of the host's keys: what each must look like and what a project may do to it.
//!
//! Keys are judged in this order, so a judge may look at what was decided above it. A backend's own keys stand in its
//! schema, with the same rules.

use std::path::{Component, Path};

use serde_json::Value;

use super::checks::{self, Check, anything, each, map, one};
use super::rules::Rule;
use super::types::{AgentEntry, Domain, ExtraMount, Mode, Naming, NetworkPolicy, Pane, Placement, Target, Toolchain};
use crate::agents;

/// One key.
pub(super) struct Key {
    /// Its path, joined by dots.
    pub(super) path: &'static str,
    /// What its value must look like.
    pub(super) check: Check,
    /// What a project may do to it.
    pub(super) project: Project,
}

/// What a project may do to a key.
pub(super) enum Project {
    /// Always this.
    May(Rule<'static>),
    /// Whatever this answers for the value at hand.
    Depends(fn(&Case) -> Rule<'static>),
}

/// A value of a project and what is known when it is judged.
pub(super) struct Case<'a> {
    /// What the project wants, `<global>` already replaced.
    pub(super) wanted: &'a Value,
    /// What holds so far, by key: what was decided, else what the user says, else the default.
    pub(super) now: &'a dyn Fn(&str) -> Value,
    /// What the user's own file says.
    pub(super) user: &'a dyn Fn(&str) -> Option<Value>,
    /// What the project's file says.
    pub(super) project: &'a dyn Fn(&str) -> Option<Value>,
    /// The main checkout.
    pub(super) main_root: Option<&'a Path>,
}

const fn key(path: &'static str, check: Check, rule: Rule<'static>) -> Key {
    Key { path, check, project: Project::May(rule) }
}

const fn judged(path: &'static str, check: Check, judge: fn(&Case) -> Rule<'static>) -> Key {
    Key { path, check, project: Project::Depends(judge) }
}

use Rule::{Ask, Lower, No, Only, Yes};

/// Every key the host knows.
pub(super) static KEYS: &[Key] = &[
    key("sandbox.enabled", one::<bool>, Only("true")),
    judged("sandbox.backend", one::<checks::Backend>, backend),
    key("sandbox.target", one::<Target>, Only("all")),
    key("sandbox.image", one::<checks::Filled>, Ask),
    key("sandbox.toolchain", one::<Toolchain>, Only("off")),
    key("sandbox.env_passthrough", each::<checks::EnvName>, No),
    key("sandbox.env", map::<checks::EnvName, checks::Text>, No),
    key("sandbox.rpc_host", one::<checks::HostName>, No),
    key("sandbox.host_commands", each::<checks::HostCommand>, No),
    key("sandbox.extra_mounts", each::<ExtraMount>, No),
    key("sandbox.agent_config_dir", one::<checks::AgentDir>, No),
    key("sandbox.dangerously_allow_unsandboxed_host_exec", one::<bool>, No),
    key("sandbox.network.policy", one::<NetworkPolicy>, Only("deny")),
    judged("sandbox.network.allowed_domains", each::<Domain>, allowed_domains),
    key("sandbox.network.max_connections", one::<checks::Connections>, Lower),
    key("agents", map::<checks::Filled, AgentEntry>, No),
    judged("agent", one::<checks::Filled>, agent),
    key("main_branch", one::<checks::Ref>, Yes),
    key("base_branch", one::<checks::Ref>, Yes),
    judged("worktree_dir", one::<checks::WorktreeDir>, worktree_dir),
    key("worktree_naming", one::<Naming>, Yes),
    judged("worktree_prefix", one::<checks::Text>, shown),
    judged("window_prefix", one::<checks::Text>, shown),
    key("nerdfont", one::<bool>, Yes),
    judged("panes", checks::panes, panes),
    judged("layouts", checks::layouts, layouts),
    judged("windows", checks::windows, windows),
    key("files.copy", each::<checks::Inside>, Yes),
    key("files.symlink", each::<checks::Inside>, Yes),
    key("post_create", each::<checks::Filled>, Ask),
    key("pre_merge", each::<checks::Filled>, Ask),
    key("pre_remove", each::<checks::Filled>, Ask),
    key("hook_shell", each::<checks::Filled>, Ask),
    key("mode", one::<Mode>, Yes),
    key("window_placement", one::<Placement>, Yes),
    judged("default_session", one::<checks::Value>, shown),
    judged("status_icons.working", one::<checks::Text>, shown),
    judged("status_icons.waiting", one::<checks::Text>, shown),
    judged("status_icons.done", one::<checks::Text>, shown),
    key("status_format", one::<bool>, Yes),
    key("auto_name.model", one::<checks::Value>, Yes),
    key("auto_name.system_prompt", one::<checks::Text>, Yes),
    key("auto_name.background", one::<bool>, Yes),
    key("auto_name.command", one::<checks::Filled>, No),
    // Of commands that are not here yet: known, so that nobody is told they are mistakes, and not read.
    key("auto_update_check", anything, No),
    key("dashboard", anything, No),
    key("merge_keep", anything, No),
    key("merge_strategy", anything, No),
    key("prompt_file_only", anything, No),
    key("sidebar", anything, No),
    key("theme", anything, No),
];

/// The key of this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The names that can stand below `prefix`.
pub(super) fn below(prefix: &str) -> impl Iterator<Item = &'static str> + '_ {
    KEYS.iter().filter_map(move |key| {
        let rest = if prefix.is_empty() { key.path } else { key.path.strip_prefix(prefix)?.strip_prefix('.')? };
        rest.split('.').next()
    })
}

/// The sandbox itself is the user's choice; a project may propose one where the user made none.
fn backend(case: &Case) -> Rule<'static> {
    if (case.user)("sandbox.backend").is_some() { No } else { Ask }
}

/// Names choose among what the user has; anything else is a program to run.
fn agent(case: &Case) -> Rule<'static> {
    let Some(name) = case.wanted.as_str() else { return No };
    let own = (case.now)("agents").get(name).is_some();
    if own || agents::known(name).is_some() { Yes } else { Ask }
}

/// Where the user allows everything, a project that denies may say what it needs. Private addresses never.
fn allowed_domains(case: &Case) -> Rule<'static> {
    let domains = |value: &Value| serde_json::from_value::<Vec<Domain>>(value.clone()).unwrap_or_default();
    let wanted = domains(case.wanted);
    let user_policy = (case.user)("sandbox.network.policy");
    let allows = user_policy.is_none_or(|policy| policy == "allow");
    let denies = (case.project)("sandbox.network.policy").is_some_and(|policy| policy == "deny");
    if allows && denies {
        return if wanted.iter().any(|domain| domain.allow_private_ips) { No } else { Yes };
    }
    // The rule `subset`, but a private permission given up is a subset too.
    let own = domains(&(case.now)("sandbox.network.allowed_domains"));
    let listed = |wanted: &Domain| {
        own.iter().any(|own| own.host == wanted.host && (own.allow_private_ips || !wanted.allow_private_ips))
    };
    if wanted.iter().all(listed) { Yes } else { Rule::Subset }
}

/// Worktrees stay inside the main checkout, or where they are by default.
fn worktree_dir(case: &Case) -> Rule<'static> {
    let (Some(dir), Some(main)) = (case.wanted.as_str(), case.main_root) else { return No };
    let usual = main.file_name().map(|name| format!("../{}__worktrees", name.to_string_lossy()));
    let trimmed = dir.trim_end_matches('/');
    if trimmed == "../{project}__worktrees" || Some(trimmed) == usual.as_deref() {
        return Yes;
    }
    let plain = |part| matches!(part, Component::Normal(name) if name != ".git") || part == Component::CurDir;
    match main.join(dir).strip_prefix(main) {
        Ok(below) if !dir.starts_with('~') && below.components().all(plain) && stays_inside(main, below) => Yes,
        _ => No,
    }
}

/// Whether the part of `main/below` that exists leads nowhere else, links followed.
fn stays_inside(main: &Path, below: &Path) -> bool {
    let whole = main.join(below);
    // A link that leads nowhere today exists, and may lead anywhere tomorrow: it must not resolve to "inside".
    let existing = whole.ancestors().find(|path| path.symlink_metadata().is_ok());
    let resolved = existing.and_then(|path| path.canonicalize().ok());
    resolved.is_some_and(|path| main.canonicalize().is_ok_and(|main| path.starts_with(main)))
}

/// Text that reaches the multiplexer, which expands formats in it.
fn shown(case: &Case) -> Rule<'static> {
    let harmless = |text: &str| !text.contains('#') && crate::text::line(text) == text.trim();
    if case.wanted.as_str().is_some_and(harmless) { Yes } else { No }
}

fn panes(case: &Case) -> Rule<'static> {
    let panes = serde_json::from_value::<Vec<Pane>>(case.wanted.clone());
    panes.map_or(No, |panes| commands(case, panes.iter()))
}

fn layouts(case: &Case) -> Rule<'static> {
    nested_panes(case, case.wanted.as_object().into_iter().flat_map(|map| map.values()))
}

fn windows(case: &Case) -> Rule<'static> {
    nested_panes(case, case.wanted.as_array().into_iter().flatten())
}

fn nested_panes<'a>(case: &Case, holders: impl Iterator<Item = &'a Value>) -> Rule<'static> {
    let lists: Result<Vec<Option<Vec<Pane>>>, _> =
        holders.filter_map(|holder| holder.get("panes")).map(|panes| serde_json::from_value(panes.clone())).collect();
    lists.map_or(No, |lists| commands(case, lists.iter().flatten().flatten()))
}

/// What a pane runs in the sandbox is the sandbox's business; what it runs on the host the user confirms.
fn commands<'a>(case: &Case, panes: impl Iterator<Item = &'a Pane>) -> Rule<'static> {
    let sandboxed = (case.now)("sandbox.enabled") == true;
    let all = (case.now)("sandbox.target") == "all";
    let safe = |pane: &Pane| match pane.command.as_deref().map(str::trim) {
        None | Some("") => true,
        // Exactly the user's own agent, or that and arguments which only the sandbox sees.
        Some(command) => match command.strip_prefix("<agent").and_then(|rest| rest.split_once('>')) {
            Some((name, arguments)) if name.is_empty() || name.starts_with(':') => {
                arguments.is_empty() || (sandboxed && arguments.starts_with(' '))
            }
            _ => false,
        },
    };
    let all_safe = { panes }.all(safe);
    if (sandboxed && all) || all_safe { Yes } else { Ask }
}

#[cfg(test)]
mod tests {
    use super::super::types::Config;
    use super::*;

    #[test]
    fn every_key_of_the_configuration_is_in_the_table() {
        let config = serde_json::to_value(Config::default()).unwrap();
        let mut stack = vec![(String::new(), config)];
        while let Some((path, value)) = stack.pop() {
            if find(&path).is_some() || path == "sandbox.tables" {
                continue;
            }
            let Value::Object(map) = value else { panic!("'{path}' is not in the table") };
            for (name, value) in map {
                stack.push((if path.is_empty() { name } else { format!("{path}.{name}") }, value));
            }
        }
        for key in KEYS {
            assert_eq!(KEYS.iter().filter(|other| other.path == key.path).count(), 1, "{}", key.path);
            assert!(!KEYS.iter().any(|other| other.path.starts_with(&format!("{}.", key.path))), "{}", key.path);
        }
    }
}
