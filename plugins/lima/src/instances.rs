//! The machines, which outlive runs: listed, stopped, deleted.
//!
//! A name decides what is listed; whether this workmux made a machine shows by what it mounts. Under its lock each is
//! looked at again before anything is done to it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use workmux_plugin_api::{
    Context, Error, ErrorKind, InstanceInfo, InstanceRequest, Instances, InstancesRequest, Result, async_trait,
};

use crate::limactl::{self, Listed, Status};
use crate::record::{Held, Kept};
use crate::{Lima, machine, name};

const DELETE: Duration = Duration::from_secs(120);
/// A directory of a machine is flat; this is for one that is not.
const DEEPEST: usize = 8;

#[async_trait]
impl Instances for Lima {
    async fn list(&self, cx: &Context, _request: InstancesRequest) -> Result<Vec<InstanceInfo>> {
        let all = limactl::list(cx, None).await?;
        Ok(all
            .into_iter()
            .filter(|one| one.name.starts_with(name::PREFIX))
            .map(|one| info(cx.state_dir(), one))
            .collect())
    }

    async fn stop(&self, cx: &Context, request: InstanceRequest) -> Result<()> {
        let kept = Kept::of(cx.state_dir(), named(&request.name)?);
        let _held = kept.hold(cx).await?;
        let found = machine::settled(cx, &kept.name).await?;
        let found = found.filter(|found| meant(found, &kept, &request)).ok_or_else(|| unknown(&kept.name))?;
        machine::stop(cx, &kept, &found).await
    }

    async fn delete(&self, cx: &Context, request: InstanceRequest) -> Result<()> {
        let kept = Kept::of(cx.state_dir(), named(&request.name)?);
        let held = kept.hold(cx).await?;
        let Some(found) = machine::settled(cx, &kept.name).await? else { return gone(&kept, held) };
        if !meant(&found, &kept, &request) {
            return Err(unknown(&kept.name));
        }
        if machine::lives(&found, &kept) && !request.force {
            return Err(Error::new(ErrorKind::Conflict, format!("'{}' runs", kept.name)).hint("stop it first"));
        }
        let mut words = vec!["delete"];
        if found.status != Status::Stopped {
            words.push("--force");
        }
        words.push(&kept.name);
        let output = limactl::run(cx, &words, DELETE).await?;
        match limactl::find(cx, &kept.name).await? {
            None => gone(&kept, held),
            Some(_) => Err(limactl::failure("delete", &output)),
        }
    }
}

/// Whether it is the machine that the user was shown, or at least one of its kind.
fn meant(found: &Listed, kept: &Kept, request: &InstanceRequest) -> bool {
    request.unrecorded || machine::is_ours(found, kept)
}

/// Forgets a machine that is not there any more; not one that another directory of Lima's has.
fn gone(kept: &Kept, held: Held) -> Result<()> {
    match kept.load() {
        Some(record) if !record.dir.starts_with(machine::lima_home()) => Ok(()),
        _ => kept.forget(held),
    }
}

/// A name that cannot be mistaken for an option, or for a path.
fn named(name: &str) -> Result<&str> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if name.starts_with(name::PREFIX) && plain { Ok(name) } else { Err(unknown(name)) }
}

fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no machine '{name}' of workmux's"))
        .hint("list those there are: workmux sandbox prune --dry-run")
}

fn info(state: &Path, found: Listed) -> InstanceInfo {
    let kept = Kept::of(state, &found.name);
    let dir = fs::metadata(&found.dir).ok();
    InstanceInfo {
        status: found.status.word().to_owned(),
        running: machine::lives(&found, &kept),
        size: Some(allocated(&found.dir, 0)).filter(|bytes| *bytes > 0),
        created: dir.as_ref().and_then(|meta| seconds(meta.created().ok().or_else(|| meta.modified().ok())?)),
        last_used: last_used(&found.dir, &kept.files().runs()),
        unrecorded: !machine::is_ours(&found, &kept),
        name: found.name,
        ..InstanceInfo::default()
    }
}

/// What is really taken on the disk: images are full of holes. Links are not followed.
fn allocated(path: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() && depth < DEEPEST => allocated(&entry.path(), depth + 1),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// The newest of what changes when a machine is started and used: Lima's files of it, and `runs`, which changes with each
/// of our runs. Times of access do not count, because looking for sizes is one.
fn last_used(dir: &Path, runs: &Path) -> Option<u64> {
    let files = ["ha.stdout.log", "ssh.config", "disk", "diffdisk"].map(|name| dir.join(name));
    let changed = files.iter().map(|file| &**file).chain([runs]).map(|path| fs::metadata(path)?.modified());
    changed.flatten().max().and_then(seconds)
}

fn seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p59_only_names_of_ours_are_acted_on() {
        for odd in ["default", "wm", "wm-../x", "--force", "wm-a/b", "wm-a b", ""] {
            assert!(named(odd).is_err(), "{odd}");
        }
        assert_eq!(named("wm-proj-f7ec17cf").unwrap(), "wm-proj-f7ec17cf");
    }

    #[test]
    fn a_size_counts_what_is_allocated_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let hole = fs::File::create(dir.path().join("disk")).unwrap();
        hole.set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("link")).unwrap();
        fs::write(dir.path().join("log"), vec![1; 100_000]).unwrap();
        let bytes = allocated(dir.path(), 0);
        assert!((100_000..1_000_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn use_is_what_changes_something_and_no_look() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        assert_eq!(last_used(dir.path(), &runs), None, "the directory itself is no use of it");
        let at = |name: &str, second: u64| {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        };
        at("disk", 50);
        at("ssh.config", 40);
        assert_eq!(last_used(dir.path(), &runs), Some(50));
        at("runs", 60);
        assert_eq!(last_used(dir.path(), &runs), Some(60));
    }
}
