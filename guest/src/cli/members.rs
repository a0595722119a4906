//! The agents that were started from here, as the host tells of them: reading, judging and showing.

use std::time::{SystemTime, UNIX_EPOCH};

use workmux_guest::words::Member;

use crate::output;

/// Reads the host's answer.
pub(super) fn read(message: &str) -> Option<Vec<Member>> {
    serde_json::from_str(message).ok()
}

/// Whether there is nothing more to wait for.
pub(super) fn finished(member: &Member) -> bool {
    !member.running || member.exit_code.is_some() || member.status == "done"
}

/// Whether it finished as it should. A command that ended says it by its exit code, whatever its last status was.
pub(super) fn succeeded(member: &Member) -> bool {
    member.exit_code.map_or(member.status == "done", |code| code == 0)
}

/// How it is, in few words.
pub(super) fn state(member: &Member) -> String {
    match member.exit_code {
        Some(code) => format!("exited {code}"),
        None if !member.running && member.status != "done" => "ended".to_owned(),
        None => output::printable_line(&member.status),
    }
}

/// The aligned table, children below their parents if `tree`.
pub(super) fn table(members: &[Member], tree: bool) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let mut rows = vec![["NAME", "STATUS", "SINCE", "BRANCH"].map(str::to_owned)];
    for (depth, member) in if tree { by_parent(members) } else { members.iter().map(|member| (0, member)).collect() } {
        rows.push([
            format!("{}{}", "  ".repeat(depth), output::printable_line(&member.name)),
            state(member),
            member.since.map_or_else(|| "-".to_owned(), |since| ago(now.saturating_sub(since))),
            output::printable_line(&member.branch),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (name, status, since) = (width(0), width(1), width(2));
    let lines = rows.iter().map(|[n, s, t, b]| format!("{n:name$}  {s:status$}  {t:since$}  {b}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Each with how deep it lies. One whose parent is not told of lies on top, and none is left out.
fn by_parent(members: &[Member]) -> Vec<(usize, &Member)> {
    let known = |name: &str| members.iter().any(|member| member.name == name);
    let (mut left, mut open): (Vec<&Member>, Vec<_>) = (Vec::new(), Vec::new());
    for member in members.iter().rev() {
        match &member.parent {
            Some(parent) if known(parent) => left.push(member),
            _ => open.push((0, member)),
        }
    }
    let mut rows = Vec::new();
    while let Some((depth, member)) = open.pop() {
        rows.push((depth, member));
        left.retain(|child| {
            let is_child = child.parent.as_ref() == Some(&member.name);
            if is_child {
                open.push((depth + 1, child));
            }
            !is_child
        });
    }
    // Parents of each other: no host says so, but nothing is to be lost.
    rows.extend(left.into_iter().map(|member| (0, member)));
    rows
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, parent: Option<&str>) -> Member {
        Member {
            name: name.to_owned(),
            branch: format!("b/{name}"),
            parent: parent.map(str::to_owned),
            status: "working".to_owned(),
            since: None,
            running: true,
            exit_code: None,
        }
    }

    #[test]
    fn an_exit_code_counts_more_than_a_status() {
        let of = |status: &str, running, exit_code| Member {
            status: status.to_owned(),
            running,
            exit_code,
            ..member("x", None)
        };
        for (member, is_finished, is_fine, shown) in [
            (of("working", true, None), false, false, "working"),
            (of("waiting", true, None), false, false, "waiting"),
            (of("none", true, None), false, false, "none"),
            (of("done", true, None), true, true, "done"),
            (of("done", false, None), true, true, "done"),
            (of("working", false, None), true, false, "ended"),
            (of("working", false, Some(0)), true, true, "exited 0"),
            (of("done", false, Some(3)), true, false, "exited 3"),
        ] {
            let judged = (finished(&member), succeeded(&member), state(&member));
            assert_eq!(judged, (is_finished, is_fine, shown.to_owned()), "{member:?}");
        }
    }

    #[test]
    fn a_tree_has_everybody_once_below_their_parent() {
        let members = [
            member("c", Some("b")),
            member("a", None),
            member("b", Some("a")),
            member("orphan", Some("gone")),
            member("a2", Some("a")),
            member("x", Some("y")),
            member("y", Some("x")),
            member("self", Some("self")),
        ];
        let rows: Vec<_> = by_parent(&members).into_iter().map(|(depth, member)| (depth, &*member.name)).collect();
        assert_eq!(rows[..5], [(0, "a"), (1, "b"), (2, "c"), (1, "a2"), (0, "orphan")]);
        let mut rest: Vec<_> = rows[5..].iter().map(|(_, name)| *name).collect();
        rest.sort_unstable();
        assert_eq!(rest, ["self", "x", "y"]);
    }

    #[test]
    fn times_are_short() {
        for (seconds, shown) in [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (200_000, "2d")] {
            assert_eq!(ago(seconds), shown);
        }
    }
}
