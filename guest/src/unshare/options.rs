//! The command line of `unshare`: flat words, read strictly. Nothing is looked up here.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// What is laid out, in this order, and the program's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) steps: Vec<Step>,
    pub(super) program: Program,
}

/// What is started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) words: Vec<CString>,
    /// All of it: nothing is passed on of the environment that this program was started in.
    pub(super) environment: Vec<CString>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An empty directory in memory, where there is a directory.
    Tmpfs {
        at: Absolute,
    },
    Bind {
        source: Absolute,
        at: Absolute,
        read_only: bool,
    },
    /// A mask: something empty over what is there.
    Empty {
        at: Absolute,
        directory: bool,
    },
}

impl Options {
    /// Reads the words after `unshare`. An error says what is wrong with them.
    pub(super) fn parse(words: &[OsString]) -> Result<Self, String> {
        let mut words = words.iter();
        let (mut steps, mut environment) = (Vec::new(), Vec::new());
        loop {
            let word = words.next().ok_or("'unshare' needs '--' and a program after its options")?;
            if word == "--env" {
                let variable = words.next().ok_or("'--env' lacks a variable")?;
                if !variable.as_bytes().iter().skip(1).any(|b| *b == b'=') {
                    return Err(format!("'{}' is no variable", variable.display()));
                }
                environment.push(text(variable)?);
                continue;
            }
            let mut path = || {
                let path = words.next().ok_or_else(|| format!("'{}' lacks a path", word.display()))?;
                Absolute::parse(path)
            };
            steps.push(match word.as_bytes() {
                b"--" => break,
                b"--tmpfs" => Step::Tmpfs { at: path()?.covered()? },
                b"--bind" => Step::Bind { source: path()?, at: path()?.covered()?, read_only: false },
                b"--ro-bind" => Step::Bind { source: path()?, at: path()?.covered()?, read_only: true },
                b"--empty-file" => Step::Empty { at: path()?.covered()?, directory: false },
                b"--empty-dir" => Step::Empty { at: path()?.covered()?, directory: true },
                _ => return Err(format!("'unshare' does not know '{}'", word.display())),
            });
        }
        Absolute::parse(words.as_slice().first().ok_or("'unshare' needs a program after '--'")?)?;
        let words = words.map(text).collect::<Result<_, _>>()?;
        Ok(Self { steps, program: Program { words, environment } })
    }
}

fn text(word: &OsString) -> Result<CString, &'static str> {
    CString::new(word.as_bytes()).map_err(|_| "a word holds a zero byte")
}

/// A path that means one place, whatever the current directory is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Absolute(OsString);

impl Absolute {
    pub(super) fn parse(path: &OsStr) -> Result<Self, String> {
        let below = path.as_bytes().strip_prefix(b"/");
        let plain = |below: &[u8]| below.split(|b| *b == b'/').all(|name| !matches!(name, b"" | b"." | b".."));
        match below {
            Some(below) if below.is_empty() || plain(below) => Ok(Self(path.to_owned())),
            _ => Err(format!("'{}' is no absolute path without '.', '..' and empty names", path.display())),
        }
    }

    /// As a place to mount at. What lies on the root is not what a path leads to, and `/proc` is made last.
    fn covered(self) -> Result<Self, String> {
        let lies_apart = self.names().next().is_some_and(|first| first != "proc");
        if lies_apart { Ok(self) } else { Err(format!("nothing can be mounted at '{self}'")) }
    }

    /// The names on the way from the root.
    pub(super) fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.0.as_bytes().split(|b| *b == b'/').filter(|name| !name.is_empty()).map(OsStr::from_bytes)
    }
}

impl fmt::Display for Absolute {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, String> {
        Options::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_order_of_options_is_kept() {
        let path = |text: &str| Absolute::parse(OsStr::new(text)).unwrap();
        let words = ["--empty-dir", "/a", "--tmpfs", "/t", "--ro-bind", "/", "/b/c", "--bind", "/s", "/d"];
        let rest = ["--env", "A=b=c", "--empty-file", "/e", "--env", "D=", "--", "/p", "--env", "--"];
        let options = parse(&[&words[..], &rest].concat()).unwrap();
        assert_eq!(options.program.words, [c"/p", c"--env", c"--"].map(CString::from));
        assert_eq!(options.program.environment, [c"A=b=c", c"D="].map(CString::from));
        let steps = [
            Step::Empty { at: path("/a"), directory: true },
            Step::Tmpfs { at: path("/t") },
            Step::Bind { source: path("/"), at: path("/b/c"), read_only: true },
            Step::Bind { source: path("/s"), at: path("/d"), read_only: false },
            Step::Empty { at: path("/e"), directory: false },
        ];
        assert_eq!(options.steps, steps);
    }

    #[test]
    fn what_is_not_meant_is_refused() {
        for wrong in ["", "a", "./a", "/a/../b", "/..", "/.", "/a/.", "//a", "/a/", "/a//b"] {
            let said = parse(&["--bind", wrong, "/d", "--", "/p"]).unwrap_err();
            assert_eq!(said, format!("'{wrong}' is no absolute path without '.', '..' and empty names"));
        }
        for place in ["/", "/proc", "/proc/self"] {
            let said = parse(&["--tmpfs", place, "--", "/p"]).unwrap_err();
            assert_eq!(said, format!("nothing can be mounted at '{place}'"));
        }
        assert_eq!(parse(&["--bind", "/a"]).unwrap_err(), "'--bind' lacks a path");
        assert_eq!(parse(&["--env"]).unwrap_err(), "'--env' lacks a variable");
        for wrong in ["", "A", "=b"] {
            assert_eq!(parse(&["--env", wrong, "--", "/p"]).unwrap_err(), format!("'{wrong}' is no variable"));
        }
        assert_eq!(parse(&["--help"]).unwrap_err(), "'unshare' does not know '--help'");
        assert_eq!(parse(&["--tmpfs", "/a", "/p"]).unwrap_err(), "'unshare' does not know '/p'");
        assert_eq!(parse(&[]).unwrap_err(), "'unshare' needs '--' and a program after its options");
        assert_eq!(parse(&["--"]).unwrap_err(), "'unshare' needs a program after '--'");
        assert!(parse(&["--", "sh"]).unwrap_err().starts_with("'sh' is no absolute path"));
    }
}
