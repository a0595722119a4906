//! The configuration a guest's git gets: built from a list of what may be in it, never a cleaned copy (P15).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::config_file::{self, Setting};
use super::error::GitError;
use super::oid::ObjectFormat;
use super::repository::Repository;

/// Everything git would use here: system, user's and repository's files, includes resolved, in git's order.
#[derive(Debug, Clone, Default)]
pub(super) struct Effective {
    shared: Vec<Setting>,
    /// From `config.worktree`.
    worktree: Vec<Setting>,
}

impl Effective {
    pub(super) fn read(repo: &Repository) -> Result<Self, GitError> {
        let listed =
            repo.git("config")?.user_config().args(["--list", "--null", "--show-scope", "--includes"]).run()?;
        let mut fields = listed.split(|&b| b == 0);
        let mut effective = Self::default();
        while let (Some(scope), Some(entry)) = (fields.next(), fields.next()) {
            let Ok(entry) = std::str::from_utf8(entry) else { continue };
            let (key, value) = entry.split_once('\n').map_or((entry, None), |(key, value)| (key, Some(value)));
            let Some(setting) = Setting::from_key(key, value) else { continue };
            match scope {
                b"system" | b"global" | b"local" => effective.shared.push(setting),
                b"worktree" => effective.worktree.push(setting),
                // Our own hardening, which must not become the guest's.
                _ => {}
            }
        }
        Ok(effective)
    }

    /// Every section with a name of its own, once: `filter` and `lfs`.
    pub(super) fn named(&self) -> BTreeSet<(&str, &str)> {
        let all = self.shared.iter().chain(&self.worktree);
        all.filter_map(|s| Some((s.section.as_str(), s.subsection.as_deref()?))).collect()
    }

    /// Where the user's own ignore patterns are.
    pub(super) fn excludes_file(&self) -> Option<PathBuf> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        match self.last("core", "excludesfile") {
            Some(path) => match path.strip_prefix("~/") {
                Some(rest) => Some(home?.join(rest)),
                None => Some(PathBuf::from(path)).filter(|path| path.is_absolute()),
            },
            None => {
                let config =
                    std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home?.join(".config")));
                Some(config?.join("git/ignore"))
            }
        }
    }

    /// The value that counts of `section.name`.
    pub(super) fn last(&self, section: &str, name: &str) -> Option<String> {
        let all = self.shared.iter().chain(&self.worktree);
        all.rev().find(|s| s.is(section, name)).and_then(|s| s.value.clone()).filter(|v| !v.trim().is_empty())
    }
}

/// The text of the guest's `config`.
pub(super) fn for_guest(repo: &Repository) -> Result<String, GitError> {
    let effective = repo.effective()?;
    let identity = repo.identity();
    let format = &repo.format;
    let mut settings = Vec::new();
    let mut core = |name, value: &str| settings.push(Setting::new("core", None, name, value));
    // Version 1 only where an extension needs it: `git init` in an old repository writes 0 back.
    let sha1 = repo.object_format == ObjectFormat::Sha1;
    let extended = !sha1 || format.worktree_config || format.partial_clone.is_some();
    core("repositoryformatversion", if extended { "1" } else { "0" });
    core("bare", if format.bare { "true" } else { "false" });
    // Written by a feature the host has and the copy lacks, such a file could not be read back.
    core("splitindex", "false");
    core("fsmonitor", "false");
    if !sha1 {
        settings.push(Setting::new("extensions", None, "objectformat", repo.object_format.name()));
    }
    if format.worktree_config {
        settings.push(Setting::new("extensions", None, "worktreeconfig", "true"));
    }
    if let Some(remote) = &format.partial_clone {
        settings.push(Setting::new("extensions", None, "partialclone", remote));
    }
    settings.extend(effective.shared.iter().filter_map(allowed));
    for (name, value) in [("name", identity.name), ("email", identity.email)] {
        if let Some(value) = value {
            settings.push(Setting::new("user", None, name, &value));
        }
    }
    // A missing tool must fail, not commit the raw content.
    let mut filters: Vec<_> =
        settings.iter().filter(|s| s.section == "filter").filter_map(|s| s.subsection.clone()).collect();
    filters.sort();
    filters.dedup();
    settings.extend(filters.iter().map(|driver| Setting::new("filter", Some(driver), "required", "true")));
    // The guest's objects are few, and records of other worktrees are not its to prune (P22).
    for (section, name, value) in
        [("gc", "auto", "0"), ("maintenance", "auto", "false"), ("gc", "worktreepruneexpire", "never")]
    {
        settings.push(Setting::new(section, None, name, value));
    }
    Ok(config_file::write(&last_ones(settings)))
}

/// Of every setting that has one value the last: the guest's `git config` refuses to replace several.
fn last_ones(settings: Vec<Setting>) -> Vec<Setting> {
    let several = |s: &Setting| matches!(s.name.as_str(), "fetch" | "url" | "pushurl" | "merge" | "active");
    let mut last = BTreeMap::new();
    for (n, s) in settings.iter().enumerate().filter(|(_, s)| !several(s)) {
        last.insert((s.section.clone(), s.subsection.clone(), s.name.clone()), n);
    }
    let kept: BTreeSet<usize> = last.into_values().collect();
    let counted = settings.into_iter().enumerate().filter(|(n, s)| several(s) || kept.contains(n));
    counted.map(|(_, s)| s).collect()
}

/// The text of the guest's `config.worktree`, where the repository has one.
pub(super) fn worktree_for_guest(repo: &Repository) -> Result<Option<String>, GitError> {
    if !repo.format.worktree_config {
        return Ok(None);
    }
    Ok(Some(config_file::write(&repo.effective()?.worktree.iter().filter_map(allowed).collect::<Vec<_>>())))
}

/// The setting as a guest may have it, if it may.
fn allowed(setting: &Setting) -> Option<Setting> {
    if crate::mutant::off("p15_allowlist") {
        return Some(setting.clone());
    }
    let name = setting.name.as_str();
    let value = setting.value.as_deref();
    let keep = |is: bool| is.then(|| setting.clone());
    let with = |value: Option<String>| value.map(|v| Setting { value: Some(v), ..setting.clone() });
    match (setting.section.as_str(), setting.subsection.is_some()) {
        ("core", false) => keep(matches!(
            name,
            "filemode"
                | "ignorecase"
                | "symlinks"
                | "autocrlf"
                | "eol"
                | "safecrlf"
                | "precomposeunicode"
                | "quotepath"
                | "whitespace"
                | "abbrev"
                | "commentchar"
                | "sparsecheckout"
                | "sparsecheckoutcone"
        )),
        ("user", false) => keep(matches!(name, "name" | "email")),
        ("remote", true) => match name {
            "url" | "pushurl" => with(value.and_then(public_url)),
            "fetch" | "promisor" | "partialclonefilter" | "tagopt" => keep(true),
            _ => None,
        },
        ("branch", true) => match name {
            // A remote may be a URL here.
            "remote" | "pushremote" => with(value.and_then(remote_name)),
            "merge" | "rebase" => keep(true),
            _ => None,
        },
        ("submodule", true) => match name {
            "url" => with(value.and_then(public_url)),
            "active" => keep(true),
            _ => None,
        },
        ("submodule", false) => keep(name == "active"),
        ("filter", true) => keep(matches!(name, "clean" | "smudge" | "process")),
        ("merge", false) => keep(matches!(
            name,
            "conflictstyle" | "ff" | "renames" | "renamelimit" | "directoryrenames" | "log" | "stat"
        )),
        ("diff", false) => keep(matches!(
            name,
            "algorithm" | "renames" | "renamelimit" | "context" | "colormoved" | "mnemonicprefix" | "noprefix"
        )),
        ("pull", false) => keep(matches!(name, "rebase" | "ff")),
        ("push", false) => keep(matches!(name, "default" | "autosetupremote" | "followtags")),
        ("rebase", false) => keep(matches!(name, "autosquash" | "autostash" | "updaterefs" | "stat")),
        ("rerere", false) => keep(name == "enabled"),
        ("fetch", false) => keep(name == "prune"),
        ("init", false) => keep(name == "defaultbranch"),
        ("color", false) => keep(name == "ui"),
        ("log", false) => keep(name == "date"),
        _ => None,
    }
}

/// A URL without anything that could be a secret: no user-info, no query. `None` for helpers (`ext::…`).
fn public_url(url: &str) -> Option<String> {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    if url.is_empty() || url.contains(['\n', '\r', '\0']) || url.starts_with('-') {
        return None;
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        // The account name of an ssh server ('git') is part of the address; a password never is.
        let user = user.filter(|_| matches!(scheme, "ssh" | "git+ssh" | "ssh+git")).and_then(|u| u.split(':').next());
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        return Some(format!("{scheme}://{user}{host}{path}"));
    }
    (!url.contains("::")).then(|| url.to_owned())
}

fn remote_name(value: &str) -> Option<String> {
    if value.contains(['/', ':', '@']) { public_url(value) } else { Some(value.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p15_urls_carry_no_secret() {
        let cases = [
            ("https://user:s3cret@host/x.git", Some("https://host/x.git")),
            ("https://t0ken@host:8443/x", Some("https://host:8443/x")),
            ("https://host/x?private_token=s3cret", Some("https://host/x")),
            ("https://a@b:s3cret@host/x", Some("https://host/x")),
            ("ssh://git:s3cret@host/x", Some("ssh://git@host/x")),
            ("git@host:team/x.git", Some("git@host:team/x.git")),
            ("/srv/x.git", Some("/srv/x.git")),
            ("../x@y", Some("../x@y")),
            ("ext::sh -c evil", None),
            ("--upload-pack=evil", None),
        ];
        for (url, expected) in cases {
            assert_eq!(public_url(url).as_deref(), expected, "{url}");
        }
        assert_eq!(remote_name("origin").as_deref(), Some("origin"));
        assert_eq!(remote_name("https://t0ken@host/x").as_deref(), Some("https://host/x"));
    }

    #[test]
    fn p15_what_is_not_listed_is_absent() {
        for key in [
            "http.extraheader",
            "http.https://h/.extraheader",
            "include.path",
            "includeif.gitdir:/.path",
            "core.worktree",
            "core.hookspath",
            "core.fsmonitor",
            "core.sshcommand",
            "core.gitproxy",
            "core.excludesfile",
            "credential.helper",
            "url.https://t@h/.insteadof",
            "alias.x",
            "diff.external",
            "diff.x.textconv",
            "merge.x.driver",
            "gpg.program",
            "user.signingkey",
            "remote.origin.uploadpack",
            "remote.origin.proxy",
            "remote.pushdefault",
            "submodule.x.update",
            "sendemail.smtppass",
            "extensions.refstorage",
            "filter.x.secret",
            "workmux.worktree.x.mode",
            "core.x.autocrlf",
        ] {
            assert_eq!(allowed(&Setting::from_key(key, Some("s3cret")).unwrap()), None, "{key}");
        }
    }
}
