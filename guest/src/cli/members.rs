//! The agents that were started from here, as the host tells of them: reading, judging and showing.

use std::time::{SystemTime, UNIX_EPOCH};

use workmux_guest::words::Member;

use crate::json::{self, Value};
use crate::output;

/// Reads the host's answer.
pub(super) fn read(message: &str) -> Option<Vec<Member>> {
    let Value::List(list) = json::read(message.as_bytes())? else { return None };
    let mut members = Vec::new();
    for told in &list {
        members.push(member(told)?);
    }
    Some(members)
}

fn member(told: &Value) -> Option<Member> {
    let text = |name| told.text(name).map(str::to_owned);
    Some(Member {
        name: text("name")?,
        branch: text("branch")?,
        parent: text("parent"),
        status: text("status")?,
        since: told.whole("since").map(i64::cast_unsigned),
        running: told.flag("running"),
        exit_code: told.whole("exit_code").and_then(|code| i32::try_from(code).ok()),
    })
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

/// Prints the aligned table, children below their parents if `tree`.
pub(super) fn print(members: &[Member], tree: bool) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let mut order = Vec::new();
    if tree {
        below(members, None, 0, &mut order);
    } else {
        order.extend(members.iter().map(|member| (0, member)));
    }
    let mut rows = vec![["NAME", "STATUS", "SINCE", "BRANCH"].map(str::to_owned)];
    for (depth, member) in order {
        rows.push([
            format!("{:depth$}{}", "", output::printable_line(&member.name)),
            state(member),
            member.since.map_or_else(|| "-".to_owned(), |since| ago(now.saturating_sub(since))),
            output::printable_line(&member.branch),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (name, status, since) = (width(0), width(1), width(2));
    for [n, s, t, b] in &rows {
        output::line(&format!("{n:name$}  {s:status$}  {t:since$}  {b}"));
    }
}

/// Adds the children of `parent`, each followed by its own, with how far each is indented. `None` has those of whose
/// parent nothing is told as well.
fn below<'a>(members: &'a [Member], parent: Option<&str>, indent: usize, order: &mut Vec<(usize, &'a Member)>) {
    // Deeper than any family is: parents that are each other's children end here.
    if indent > 32 {
        return;
    }
    for member in members {
        let told = member.parent.as_deref().filter(|parent| members.iter().any(|member| member.name == *parent));
        if told == parent {
            order.push((indent, member));
            below(members, Some(&member.name), indent + 2, order);
        }
    }
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
    fn a_tree_has_everybody_below_their_parent() {
        let members = [
            member("c", Some("b")),
            member("a", None),
            member("b", Some("a")),
            member("orphan", Some("gone")),
            member("a2", Some("a")),
            member("self", Some("self")),
        ];
        let mut order = Vec::new();
        below(&members, None, 0, &mut order);
        let order: Vec<_> = order.into_iter().map(|(indent, member)| (indent, &*member.name)).collect();
        assert_eq!(order, [(0, "a"), (2, "b"), (4, "c"), (2, "a2"), (0, "orphan")]);
    }

    #[test]
    fn times_are_short() {
        for (seconds, shown) in [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (200_000, "2d")] {
            assert_eq!(ago(seconds), shown);
        }
    }
}
