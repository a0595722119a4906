//! Paths below the user's home with `~`: a report that is pasted somewhere does not say who wrote it.

use std::path::Path;

/// The text with `~` for the home, wherever that stands as a whole directory.
pub(super) fn shown(text: &str, home: Option<&Path>) -> String {
    replaced(text, home, |before, after| format!("{before}~{after}"))
}

/// The same for text that holds a command to type: a shell knows no `~` inside quotes, so it goes before them.
pub(super) fn typed(text: &str, home: Option<&Path>) -> String {
    replaced(text, home, |before, after| match (before.strip_suffix('\''), after.strip_prefix('/')) {
        (Some(before), Some(after)) => format!("{before}~/'{after}"),
        _ => format!("{before}~{after}"),
    })
}

fn replaced(text: &str, home: Option<&Path>, put: impl Fn(&str, &str) -> String) -> String {
    // One letter is the root: everything is below it.
    let Some(home) = home.and_then(Path::to_str).filter(|home| home.len() > 1) else { return text.to_owned() };
    let part = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    let mut text = text.to_owned();
    let mut from = 0;
    while let Some(at) = text[from..].find(home).map(|at| from + at) {
        let (before, after) = (&text[..at], &text[at + home.len()..]);
        if before.ends_with(part) || after.starts_with(|c| part(c) && c != '/') {
            from = at + home.len();
        } else {
            let rest = after.len();
            text = put(before, after);
            from = text.len() - rest;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_a_tilde_where_it_is_one() {
        let home = Some(Path::new("/home/u"));
        for (text, with) in [
            ("'/home/u/x' and /home/u.", "'~/x' and /home/u."),
            ("/home/u", "~"),
            ("/home/uu/x /mnt/home/u/x", "/home/uu/x /mnt/home/u/x"),
            ("A=/home/u:/home/u/y", "A=~:~/y"),
        ] {
            assert_eq!(shown(text, home), with);
        }
        assert_eq!(shown("/x", Some(Path::new("/"))), "/x");
        assert_eq!(shown("/x", None), "/x");
    }

    #[test]
    fn a_command_can_be_typed_as_it_stands() {
        let home = Some(Path::new("/home/u"));
        for (text, with) in [
            ("trust '/home/u/a b' '/home/u'", "trust ~/'a b' '~'"),
            ("trust /home/u/x", "trust ~/x"),
            ("'/home/u/a/home/u/b' /home/u/", "~/'a/home/u/b' ~/"),
        ] {
            assert_eq!(typed(text, home), with);
        }
    }
}
