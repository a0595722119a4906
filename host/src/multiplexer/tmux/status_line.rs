//! Finds the place for the icon in the user's status line format.

/// Shows the window's icon after a space, and nothing where there is none.
const FRAGMENT: &str = "#{?@workmux_status, #{@workmux_status},}";
/// How formats show the window's flags; the icon goes before them.
const FLAGS: [&str; 3] = ["#{?window_flags", "#{window_flags", "#F"];

/// `format` with the icon in it; `None` if it has one already.
pub(super) fn with_icon(format: &str) -> Option<String> {
    if format.contains("@workmux_status") {
        return None;
    }
    let at = FLAGS.iter().filter_map(|flags| find(format, flags)).min().unwrap_or(format.len());
    Some(format!("{}{FRAGMENT}{}", &format[..at], &format[at..]))
}

/// Where `part` begins, not counting one whose '#' is itself escaped by a '#'.
fn find(format: &str, part: &str) -> Option<usize> {
    format.match_indices(part).map(|(at, _)| at).find(|at| {
        let hashes = format[..*at].bytes().rev().take_while(|byte| *byte == b'#').count();
        hashes % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_icon_stands_before_the_flags_or_at_the_end() {
        let icon = FRAGMENT;
        for (format, expected) in [
            ("#I:#W#{?window_flags,#{window_flags}, }", format!("#I:#W{icon}#{{?window_flags,#{{window_flags}}, }}")),
            (" #I #W#F ", format!(" #I #W{icon}#F ")),
            ("#W ##F", format!("#W ##F{icon}")),
            ("#W ###F", format!("#W ##{icon}#F")),
            ("雪 #W", format!("雪 #W{icon}")),
            ("", icon.to_owned()),
        ] {
            assert_eq!(with_icon(format), Some(expected), "{format}");
        }
        assert_eq!(with_icon(&with_icon("#W#F").unwrap()), None);
    }
}
