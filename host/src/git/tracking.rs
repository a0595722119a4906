//! The one thing that comes back from a guest's configuration: which branch a new branch follows.
//!
//! A setting is taken only for a branch that exists on the host and follows nothing there, and only if it names a
//! remote the host has and an ordinary branch. Everything else in that file is thrown away.

use std::collections::BTreeMap;

use super::config_file::{self, Setting};
use super::error::GitError;
use super::guest_files::Beneath;
use super::layout::Layout;
use super::oid::is_plain_ref_name;
use super::refs::Refs;
use super::repository::Repository;

const CONFIG_LIMIT: u64 = 1 << 20;

/// Branch (short name) to remote and ref there.
pub(super) type Tracking = BTreeMap<String, (String, String)>;

/// What the guest's configuration says, as far as it is fit for the host.
pub(super) fn read(layout: &Layout) -> Tracking {
    let top = Beneath::open_guest(&layout.guest()).ok();
    let text = top.and_then(|top| top.read("config", CONFIG_LIMIT).ok().flatten()).unwrap_or_default();
    let settings = std::str::from_utf8(&text).ok().and_then(config_file::parse).unwrap_or_default();
    let mut half: BTreeMap<String, [Option<String>; 2]> = BTreeMap::new();
    for Setting { section, subsection, name, value } in settings {
        let (Some(branch), "branch") = (subsection, section.as_str()) else { continue };
        match name.as_str() {
            "remote" => half.entry(branch).or_default()[0] = value,
            "merge" => half.entry(branch).or_default()[1] = value,
            _ => {}
        }
    }
    let whole = half.into_iter().filter_map(|(branch, [remote, merge])| Some((branch, (remote?, merge?))));
    whole.filter(|(branch, (_, merge))| is_branch(&format!("refs/heads/{branch}")) && is_branch(merge)).collect()
}

fn is_branch(name: &str) -> bool {
    name.starts_with("refs/heads/") && is_plain_ref_name(name)
}

/// Writes what is new since `before` into the host's configuration.
pub(super) fn take(repo: &Repository, branches: &Refs, before: &Tracking, now: &Tracking) -> Result<(), GitError> {
    let wanted: Vec<_> = now.iter().filter(|(branch, follows)| before.get(*branch) != Some(follows)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let host = repo.own_settings()?;
    let has = |section: &str, name: &str, key: &str| {
        host.iter().any(|s| s.section == section && s.subsection.as_deref() == Some(name) && s.name == key)
    };
    for (branch, (remote, merge)) in wanted {
        let known = remote == "." || has("remote", remote, "url");
        let free = !has("branch", branch, "remote") && !has("branch", branch, "merge");
        if known && free && branches.contains_key(&format!("refs/heads/{branch}")) {
            for (key, value) in [("remote", remote), ("merge", merge)] {
                repo.git("config")?.arg(format!("branch.{branch}.{key}")).arg(value).run()?;
            }
        }
    }
    Ok(())
}
