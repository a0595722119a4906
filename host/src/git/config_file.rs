//! Git's configuration syntax, read and written as text: no includes, no environment, no git process.
//!
//! Reading is for the few facts that git itself takes from a repository's own file only (its format), and for a
//! guest's configuration, in which no git may ever run. Everything else asks git.

/// One setting: `section`, `subsection`, `name`, and a value (absent = the bare word, which means true).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Lower case.
    pub section: String,
    /// As written.
    pub subsection: Option<String>,
    /// Lower case.
    pub name: String,
    /// The value.
    pub value: Option<String>,
}

impl Setting {
    pub(super) fn new(section: &str, subsection: Option<&str>, name: &str, value: &str) -> Self {
        Self {
            section: section.to_owned(),
            subsection: subsection.map(str::to_owned),
            name: name.to_owned(),
            value: Some(value.to_owned()),
        }
    }

    /// Splits `section.sub.section.name` as `git config --list` prints it.
    pub(super) fn from_key(key: &str, value: Option<&str>) -> Option<Self> {
        let (section, rest) = key.split_once('.')?;
        let (subsection, name) = match rest.rsplit_once('.') {
            Some((subsection, name)) => (Some(subsection.to_owned()), name),
            None => (None, rest),
        };
        Some(Self {
            section: section.to_ascii_lowercase(),
            subsection,
            name: name.to_ascii_lowercase(),
            value: value.map(str::to_owned),
        })
    }

    pub(super) fn is(&self, section: &str, name: &str) -> bool {
        self.section == section && self.subsection.is_none() && self.name == name
    }

    /// As git reads a yes or no.
    pub(super) fn truth(&self) -> bool {
        match self.value.as_deref() {
            None => true,
            Some(v) => {
                matches!(v.to_ascii_lowercase().as_str(), "true" | "yes" | "on") || v.parse().is_ok_and(|n: i64| n != 0)
            }
        }
    }
}

/// The settings of a file, or `None` where git would call it broken.
pub(super) fn parse(text: &str) -> Option<Vec<Setting>> {
    let mut chars = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    let mut settings = Vec::new();
    let mut header: Option<(String, Option<String>)> = None;
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '#' | ';' => while chars.next().is_some_and(|c| c != '\n') {},
            '[' => header = Some(section(&mut chars)?),
            c if c.is_ascii_alphabetic() => {
                let (section, subsection) = header.clone()?;
                let mut name = c.to_ascii_lowercase().to_string();
                while let Some(&c) = chars.peek() {
                    if !c.is_ascii_alphanumeric() && c != '-' {
                        break;
                    }
                    name.push(c.to_ascii_lowercase());
                    chars.next();
                }
                while chars.next_if(|&c| c == ' ' || c == '\t').is_some() {}
                let value = match chars.peek() {
                    Some('=') => {
                        chars.next();
                        Some(value(&mut chars)?)
                    }
                    None | Some('\n' | '\r' | '#' | ';') => None,
                    _ => return None,
                };
                settings.push(Setting { section, subsection, name, value });
            }
            _ => return None,
        }
    }
    Some(settings)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn section(chars: &mut Chars) -> Option<(String, Option<String>)> {
    let mut section = String::new();
    loop {
        match chars.next()? {
            ']' => {
                // The old spelling: [section.subsection], lower case.
                let parts = section.split_once('.').map(|(s, sub)| (s.to_owned(), Some(sub.to_owned())));
                return Some(parts.unwrap_or((section, None)));
            }
            c if c.is_ascii_alphanumeric() || c == '-' || c == '.' => section.push(c.to_ascii_lowercase()),
            ' ' | '\t' => break,
            _ => return None,
        }
    }
    while chars.next_if(|&c| c == ' ' || c == '\t').is_some() {}
    if chars.next()? != '"' {
        return None;
    }
    let mut subsection = String::new();
    loop {
        match chars.next()? {
            '"' => break,
            '\n' => return None,
            '\\' => subsection.push(chars.next()?),
            c => subsection.push(c),
        }
    }
    (chars.next()? == ']').then_some((section, Some(subsection)))
}

fn value(chars: &mut Chars) -> Option<String> {
    let (mut value, mut spaces, mut quoted) = (String::new(), String::new(), false);
    loop {
        let c = match chars.next() {
            None | Some('\n') if quoted => return None,
            None | Some('\n') => return Some(value),
            Some(c) => c,
        };
        match c {
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            ' ' | '\t' if !quoted => {
                if !value.is_empty() {
                    spaces.push(c);
                }
                continue;
            }
            '#' | ';' if !quoted => while chars.next_if(|&c| c != '\n').is_some() {},
            '"' => quoted = !quoted,
            '\\' => {
                let escaped = match chars.next()? {
                    '\n' => continue,
                    'n' => '\n',
                    't' => '\t',
                    'b' => '\u{8}',
                    c @ ('\\' | '"') => c,
                    _ => return None,
                };
                value.push_str(&std::mem::take(&mut spaces));
                value.push(escaped);
            }
            c => {
                value.push_str(&std::mem::take(&mut spaces));
                value.push(c);
            }
        }
    }
}

/// The text of a file that holds exactly `settings`. A setting that git's syntax cannot hold is left out.
pub(super) fn write(settings: &[Setting]) -> String {
    let mut text = String::new();
    for setting in settings {
        let (value, subsection) = (setting.value.as_deref().unwrap_or("true"), setting.subsection.as_deref());
        let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let unwritable = value.contains('\0') || subsection.is_some_and(|s| s.contains(['\n', '\0']));
        if unwritable || !plain(&setting.section) || !plain(&setting.name) {
            continue;
        }
        text.push('[');
        text.push_str(&setting.section);
        if let Some(subsection) = subsection {
            text.push_str(" \"");
            text.push_str(&subsection.replace('\\', "\\\\").replace('"', "\\\""));
            text.push('"');
        }
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        text.push_str(&format!("]\n\t{} = \"{escaped}\"\n", setting.name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let settings = vec![
            Setting::new("core", None, "bare", "false"),
            Setting::new("filter", Some("a \"b\\.c"), "clean", "x \"y\" \\z # not ; comment\nnext\t"),
            Setting::new("branch", Some("fix/#1"), "remote", ""),
        ];
        assert_eq!(parse(&write(&settings)).unwrap(), settings);
    }

    #[test]
    fn the_spellings_of_git_are_understood() {
        let text = "; c\n[core]\n\tbare\n\tName = a  b ; rest\n[Old.Sub] x=1\n[s \"Q\"]\n k = \"a ;\"  b\\\n c # d\r\n";
        let keys: Vec<_> =
            parse(text).unwrap().into_iter().map(|s| (s.section, s.subsection, s.name, s.value)).collect();
        let text = |s: &str| Some(s.to_owned());
        assert_eq!(
            keys,
            [
                ("core".into(), None, "bare".into(), None),
                ("core".into(), None, "name".into(), text("a  b")),
                ("old".into(), text("sub"), "x".into(), text("1")),
                ("s".into(), text("Q"), "k".into(), text("a ;  b c")),
            ]
        );
    }

    #[test]
    fn broken_files_are_refused_not_guessed() {
        for text in ["x = 1", "[a", "[a \"b]\n", "[a]\nx = \"open\n", "[a]\nx ! y", "[a]\nx = \\q\n", "[a]\n= 1"] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }
}
