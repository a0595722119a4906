//! The processes below one, as `/proc` tells; nothing where there is no `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills what `root` started and what that started, except what is the same program as `root` itself. A tool whose work
/// is killed under it sees that it failed, and tidies up; asked to end, some just go and leave their work running.
/// Answers whether there was anything.
pub(super) fn kill_work_of(root: u32) -> bool {
    let own = program(root);
    let mut any = false;
    for pid in below(root) {
        // Of others' processes one cannot tell, and they are no part of the tool.
        if own.is_none() || program(pid) != own {
            any |= kill(Pid::from_raw(pid as i32), Signal::SIGKILL).is_ok();
        }
    }
    any
}

fn program(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// All processes below, in no order.
pub(crate) fn below(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut all, mut next) = (Vec::new(), vec![root]);
    while let Some(one) = next.pop() {
        // Taken out: numbers that are used again must not lead in a circle.
        let found = children.remove(&one).unwrap_or_default();
        all.extend(&found);
        next.extend(found);
    }
    all
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything; the state follows it, and then the parent.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_work_is_killed_and_the_tool_itself_is_not() {
        // A shell, a shell of its own, and its work, which is another program.
        let script = "sh -c 'sleep 1000; echo \"work: $?\"; exit 3' & echo started; wait $!; echo \"tool: $?\"";
        let mut tool = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(tool.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("started"));
        while !kill_work_of(tool.id()) {
            std::thread::yield_now();
        }
        assert_eq!(lines.collect::<Vec<_>>(), ["work: 137", "tool: 3"]);
        assert!(tool.wait().unwrap().success());
        assert!(!kill_work_of(tool.id()));
    }
}
