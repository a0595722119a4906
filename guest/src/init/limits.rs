//! Limits that the command ran into, as the control groups of the sandbox count them: a process that was ended for its
//! memory looks like one that somebody killed, and a fork that failed says nothing of why.

use std::fs;
use std::path::Path;

/// Where a sandbox sees its own group, of either version.
const GROUP: &str = "sys/fs/cgroup";

/// One line for each limit that was hit.
pub(super) fn hit() -> Vec<String> {
    below(Path::new("/"))
}

fn below(root: &Path) -> Vec<String> {
    let group = root.join(GROUP);
    let read = |names: [&str; 2]| names.iter().find_map(|name| fs::read_to_string(group.join(name)).ok());
    let count = |text: Option<String>, key: &str| {
        let line = text.as_deref()?.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())?;
        (line > 0).then_some(line)
    };
    let mut lines = Vec::new();
    if let Some(ended) = count(read(["memory.events", "memory/memory.oom_control"]), "oom_kill ") {
        let limit = read(["memory.max", "memory/memory.limit_in_bytes"]).and_then(|text| text.trim().parse().ok());
        let limit = limit.map_or_else(|| "the machine's".to_owned(), mebibytes);
        let what = if ended == 1 { "a process was".to_owned() } else { format!("{ended} processes were") };
        lines.push(format!("the sandbox ran out of memory (limit: {limit}), and {what} ended for it"));
    }
    if let Some(refused) = count(read(["pids.events", "pids/pids.events"]), "max ") {
        let limit = read(["pids.max", "pids/pids.max"]).unwrap_or_default();
        let times = if refused == 1 { "once".to_owned() } else { format!("{refused} times") };
        lines.push(format!("the sandbox could not start another process {times} (limit: {})", limit.trim()));
    }
    lines
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hit_is_named_with_its_limit_in_either_version() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(below(root.path()), [] as [&str; 0]);
        let write = |name: &str, text: &str| {
            let path = root.path().join(GROUP).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        write("memory/memory.limit_in_bytes", "67108864\n");
        write("pids/pids.events", "max 0\n");
        assert_eq!(
            below(root.path()),
            ["the sandbox ran out of memory (limit: 64 MiB), and a process was ended for it"]
        );
        write("memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 0\n");
        write("pids.events", "max 12\n");
        write("pids.max", "20\n");
        assert_eq!(below(root.path()), ["the sandbox could not start another process 12 times (limit: 20)"]);
    }
}
