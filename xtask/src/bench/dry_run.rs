//! What `--dry-run` prints, read back into something that can be started without workmux.

use std::path::{Path, PathBuf};

use super::home::Home;
use crate::{Result, process};

/// A sandbox as bwrap and pasta would be told to make it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// bwrap and its options, without the command.
    pub(super) bwrap: Vec<String>,
    /// What starts the command, such as `prlimit … --`.
    pub(super) before_command: Vec<String>,
    /// pasta, where the sandbox has a network of its own; `{pid}` stands for the sandbox.
    pub(super) pasta: Option<Vec<String>>,
}

impl Plan {
    /// Asks workmux, and puts stand-ins where the files of a real run would lie.
    pub(super) fn ask(home: &Home, workmux: &Path, configuration: &Path) -> Result<Self> {
        let ask = |flags: &[&str]| {
            let mut command = home.command(workmux);
            command.env("XDG_CONFIG_HOME", configuration).args(["sandbox", "shell"]).args(flags).args(["--", "true"]);
            process::output(&mut command)
        };
        // A first run makes what later ones find.
        ask(&[])?;
        let text = ask(&["--dry-run"])?;
        let mut plan = Self::parse(&text).ok_or(format!("cannot read what --dry-run printed:\n{text}"))?;
        plan.stand_in(home)?;
        Ok(plan)
    }

    fn parse(text: &str) -> Option<Self> {
        let line = |program: &str| {
            let lines = text.lines().map(str::trim).filter(|l| l.starts_with('/'));
            lines.map(words).find(|words| Path::new(&words[0]).file_name().is_some_and(|name| name == program))
        };
        let all = line("bwrap")?;
        let end = all.iter().position(|w| w == "--")?;
        // Our first process and its argument come last; what stands before them is part of the sandbox.
        let first_process = all.iter().rposition(|w| w == "init")? - 1;
        let before_command = all.get(end + 1..first_process)?.to_vec();
        Some(Self { bwrap: all[..end].to_vec(), before_command, pasta: line("pasta") })
    }

    /// Makes the sources of mounts that only a real run has.
    fn stand_in(&mut self, home: &Home) -> Result<()> {
        let root = home.account.folder(&home.path.join(format!("stand-in-{}", self.pasta.is_some())))?;
        for at in 0..self.bwrap.len().saturating_sub(1) {
            if !["--bind", "--ro-bind"].contains(&self.bwrap[at].as_str()) {
                continue;
            }
            let source = PathBuf::from(&self.bwrap[at + 1]);
            if source.exists() {
                continue;
            }
            let path = root.join(at.to_string());
            let file = source.parent().is_some_and(|p| p.ends_with("scratch"));
            if file {
                std::fs::write(&path, "").map_err(|e| format!("'{}': {e}", path.display()))?;
            } else {
                home.account.folder(&path)?;
            }
            self.bwrap[at + 1] = path.to_string_lossy().into_owned();
        }
        Ok(())
    }
}

/// The words of a line of shell that quotes with `'` alone.
pub(super) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '\'' => (quoted, any) = (!quoted, true),
            '\\' if !quoted => word.extend(characters.next()),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            _ => word.push(c),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_line_is_read() {
        assert_eq!(words("a 'b c'  '' d'\\'e'f'"), ["a", "b c", "", "d\\ef"]);
        assert_eq!(words(r"'it'\''s'"), ["it's"]);
    }

    #[test]
    fn the_first_process_is_taken_off() {
        let text = "command:\n  true\nruns:\n  /usr/bin/bwrap --proc /proc -- /usr/bin/prlimit --nproc=1 -- /g/workmux \
                    init /g/sock\nbeside it:\n  /usr/bin/pasta --netns '/proc/{pid}/ns/net'\n";
        let plan = Plan::parse(text).unwrap();
        assert_eq!(plan.bwrap, ["/usr/bin/bwrap", "--proc", "/proc"]);
        assert_eq!(plan.before_command, ["/usr/bin/prlimit", "--nproc=1", "--"]);
        assert_eq!(plan.pasta.unwrap()[2], "/proc/{pid}/ns/net");
        assert_eq!(Plan::parse("nothing"), None);
    }
}
