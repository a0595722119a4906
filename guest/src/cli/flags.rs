//! The command line of a word with few flags: its names in their order, and the flags that were given.
//!
//! The flags of `add` are many and have rules of their own, see [`super::add_flags`].

use std::ffi::OsString;

/// Long name, short letter, whether a value follows.
pub(super) type Flag = (&'static str, Option<char>, bool);

/// What was typed after the word.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) words: Vec<String>,
    given: Vec<(&'static str, String)>,
}

impl Line {
    pub(super) fn has(&self, long: &str) -> bool {
        self.value(long).is_some()
    }

    pub(super) fn value(&self, long: &str) -> Option<&str> {
        self.given.iter().find(|(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// The value as a number from 1 to `most`.
    pub(super) fn number(&self, long: &str, most: u32) -> Result<Option<u32>, String> {
        let Some(value) = self.value(long) else { return Ok(None) };
        match value.parse() {
            Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
            _ => Err(format!("--{long} takes a whole number from 1 to {most}, not '{value}'")),
        }
    }
}

/// Reads the words after a word. `--help` is always known.
pub(super) fn read(args: &[OsString], flags: &[Flag]) -> Result<Line, String> {
    const HELP: Flag = ("help", Some('h'), false);
    let mut line = Line::default();
    let mut only_words = false;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let arg = utf8(arg)?;
        if only_words || arg == "-" || !arg.starts_with('-') {
            line.words.push(arg.to_owned());
            continue;
        }
        if arg == "--" {
            only_words = true;
            continue;
        }
        let (name, value) = arg.split_once('=').map_or((arg, None), |(name, value)| (name, Some(value)));
        let is_meant = |(long, short, _): &&Flag| match name.strip_prefix("--") {
            Some(name) => name == *long,
            None => name[1..].chars().eq(*short),
        };
        let (long, _, takes_value) =
            flags.iter().chain([&HELP]).find(is_meant).ok_or_else(|| format!("unknown flag '{arg}'"))?;
        let value = match (takes_value, value) {
            (false, Some(_)) => return Err(format!("--{long} takes no value")),
            (false, None) => "",
            (true, Some(value)) => value,
            (true, None) => utf8(rest.next().ok_or_else(|| format!("--{long} needs a value"))?)?,
        };
        if *takes_value && line.has(long) {
            return Err(format!("use --{long} only once"));
        }
        line.given.push((long, value.to_owned()));
    }
    Ok(line)
}

pub(super) fn utf8(arg: &OsString) -> Result<&str, String> {
    arg.to_str().ok_or_else(|| format!("'{}' is not valid UTF-8", arg.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parsed(line: &[&str]) -> Result<Line, String> {
        let flags = [("lines", Some('n'), true), ("keep", Some('k'), false), ("into", None, true)];
        read(&line.iter().map(OsString::from).collect::<Vec<_>>(), &flags)
    }

    #[test]
    fn the_usual_forms_work() {
        for form in [&["x", "--lines", "5"][..], &["--lines=5", "x"], &["-n", "5", "x"], &["-n=5", "--", "x"]] {
            let line = parsed(form).unwrap();
            assert_eq!((line.words.as_slice(), line.number("lines", 5)), (&["x".to_owned()][..], Ok(Some(5))));
            assert!(!line.has("keep") && !line.has("into"));
        }
        let line = parsed(&["-", "-k", "--keep", "--into", "-k", "--", "--lines"]).unwrap();
        assert_eq!(
            (line.words.join(" ").as_str(), line.value("into"), line.has("keep")),
            ("- --lines", Some("-k"), true)
        );
        for help in ["-h", "--help"] {
            assert!(parsed(&["x", help]).unwrap().has("help"));
        }
    }

    #[test]
    fn wrong_calls_say_what_is_wrong() {
        for (form, want) in [
            (&["--bogus"][..], "unknown flag '--bogus'"),
            (&["-kn"], "unknown flag '-kn'"),
            (&["--keep=yes"], "--keep takes no value"),
            (&["--into"], "--into needs a value"),
            (&["--into", "a", "--into=b"], "use --into only once"),
        ] {
            assert_eq!(parsed(form), Err(want.to_owned()));
        }
        for wrong in ["0", "6", "-1", "x", "", "99999999999"] {
            let line = parsed(&["--lines", wrong]).unwrap();
            assert!(line.number("lines", 5).unwrap_err().contains("from 1 to 5"), "{wrong}");
        }
        assert!(read(&[OsString::from_vec(vec![0xff])], &[]).is_err());
    }
}
