//! The command line of `add`: the flags that work from inside a sandbox, and every other one refused by name.
//!
//! Written by hand: the whole of a command line library would be larger than this program. The forms are the usual
//! ones: `--flag VALUE`, `--flag=VALUE`, `-f VALUE`, `-fVALUE`, `-f=VALUE`, `-ab`, and `--` before a branch.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) branch: Option<String>,
    pub(super) auto_name: bool,
    pub(super) background: bool,
    pub(super) prompt: Option<Prompt>,
    pub(super) help: bool,
}

/// Where the prompt comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    Text(String),
    File(OsString),
    Editor,
}

/// Why not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Called wrongly: exit code 2.
    Usage(String),
    /// Called correctly, but not from in here: exit code 1.
    Unsupported(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flag {
    AutoName,
    Prompt,
    PromptFile,
    PromptEditor,
    Background,
    /// True for every child of a sandbox anyway.
    Granted,
    Help,
    /// Not from in here, and what to do instead.
    Rejected(&'static str),
}

const HOST_DECIDES: &str = ": the host's configuration decides it";

/// Long name, short letter, meaning.
const FLAGS: [(&str, Option<u8>, Flag); 40] = [
    ("auto-name", Some(b'A'), Flag::AutoName),
    ("prompt", Some(b'p'), Flag::Prompt),
    ("prompt-file", Some(b'P'), Flag::PromptFile),
    ("prompt-editor", Some(b'e'), Flag::PromptEditor),
    ("background", Some(b'b'), Flag::Background),
    ("sandbox", Some(b'S'), Flag::Granted),
    ("no-hooks", Some(b'H'), Flag::Granted),
    ("help", Some(b'h'), Flag::Help),
    ("base", None, Flag::Rejected("")),
    ("pr", None, Flag::Rejected("")),
    ("with-changes", Some(b'w'), Flag::Rejected("")),
    ("count", Some(b'n'), Flag::Rejected(": call 'add' several times")),
    ("foreach", None, Flag::Rejected("")),
    ("name", None, Flag::Rejected("")),
    ("agent", Some(b'a'), Flag::Rejected(HOST_DECIDES)),
    ("wait", Some(b'W'), Flag::Rejected("")),
    ("dry-run", None, Flag::Rejected("")),
    ("layout", Some(b'l'), Flag::Rejected("")),
    ("continue", Some(b'c'), Flag::Rejected("")),
    ("fork", None, Flag::Rejected("")),
    ("config", None, Flag::Rejected("")),
    ("target-name", None, Flag::Rejected("")),
    ("parent-session", None, Flag::Rejected("")),
    ("mode", None, Flag::Rejected(HOST_DECIDES)),
    ("session", Some(b's'), Flag::Rejected(HOST_DECIDES)),
    ("prompt-file-only", None, Flag::Rejected("")),
    ("headless", None, Flag::Rejected("")),
    ("json", None, Flag::Rejected("")),
    ("remote", None, Flag::Rejected("")),
    ("local", None, Flag::Rejected("")),
    ("forge", None, Flag::Rejected("")),
    ("patch", None, Flag::Rejected("")),
    ("include-untracked", Some(b'u'), Flag::Rejected("")),
    ("no-file-ops", Some(b'F'), Flag::Rejected("")),
    ("no-pane-cmds", Some(b'C'), Flag::Rejected("")),
    ("open-if-exists", Some(b'o'), Flag::Rejected("")),
    ("max-concurrent", None, Flag::Rejected("")),
    ("branch-template", None, Flag::Rejected("")),
    ("backend", None, Flag::Rejected(HOST_DECIDES)),
    ("no-sandbox", None, Flag::Rejected(": a sandbox's children are sandboxed")),
];

/// Reads the words after `add`. The first flag that cannot be used decides the answer.
pub(super) fn parse(args: &[OsString]) -> Result<Flags, Refusal> {
    let mut flags = Flags::default();
    let mut rest = args.iter().map(|arg| arg.as_bytes());
    let mut only_branches = false;
    while let Some(word) = rest.next() {
        if only_branches || word == b"-" || !word.starts_with(b"-") {
            flags.set_branch(word)?;
        } else if word == b"--" {
            only_branches = true;
        } else if let Some(long) = word.strip_prefix(b"--") {
            let (name, value) = match long.iter().position(|&byte| byte == b'=') {
                Some(at) => (&long[..at], Some(&long[at + 1..])),
                None => (long, None),
            };
            let known = FLAGS.iter().find(|(long, ..)| long.as_bytes() == name);
            let (name, _, flag) = known.ok_or_else(|| unknown(word))?;
            flags.apply(name, *flag, value, &mut rest)?;
        } else {
            let mut letters = &word[1..];
            while let Some((letter, tail)) = letters.split_first() {
                let known = FLAGS.iter().find(|(_, short, _)| *short == Some(*letter));
                let (name, _, flag) = known.ok_or_else(|| unknown(word))?;
                let takes_value = matches!(flag, Flag::Prompt | Flag::PromptFile);
                let value = (takes_value && !tail.is_empty()).then(|| tail.strip_prefix(b"=").unwrap_or(tail));
                flags.apply(name, *flag, value, &mut rest)?;
                letters = if takes_value { &[] } else { tail };
            }
        }
    }
    if flags.branch.is_none() && !flags.auto_name && flags.prompt.is_none() && !flags.help {
        return Err(Refusal::Usage("give the branch to make, or a prompt to have it named after".to_owned()));
    }
    Ok(flags)
}

impl Flags {
    fn apply<'a>(
        &mut self,
        name: &str,
        flag: Flag,
        value: Option<&'a [u8]>,
        rest: &mut impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Refusal> {
        if let Flag::Rejected(advice) = flag {
            return Err(Refusal::Unsupported(format!("--{name} is not supported from inside a sandbox{advice}")));
        }
        if !matches!(flag, Flag::Prompt | Flag::PromptFile) && value.is_some() {
            return Err(Refusal::Usage(format!("--{name} takes no value")));
        }
        let mut value = || {
            let value = value.or_else(|| rest.next());
            value.ok_or_else(|| Refusal::Usage(format!("--{name} needs a value")))
        };
        match flag {
            Flag::AutoName => self.auto_name = true,
            Flag::Background => self.background = true,
            Flag::Help => self.help = true,
            Flag::Granted | Flag::Rejected(_) => {}
            Flag::Prompt => self.set_prompt(Prompt::Text(utf8(value()?, "the prompt")?))?,
            Flag::PromptFile => self.set_prompt(Prompt::File(OsString::from_vec(value()?.to_vec())))?,
            Flag::PromptEditor => self.set_prompt(Prompt::Editor)?,
        }
        Ok(())
    }

    fn set_prompt(&mut self, prompt: Prompt) -> Result<(), Refusal> {
        match self.prompt.replace(prompt) {
            None => Ok(()),
            Some(_) => {
                Err(Refusal::Usage("use one of --prompt, --prompt-file and --prompt-editor, and only once".to_owned()))
            }
        }
    }

    fn set_branch(&mut self, word: &[u8]) -> Result<(), Refusal> {
        let branch = utf8(word, "the branch")?;
        match self.branch.replace(branch) {
            None => Ok(()),
            Some(first) => Err(Refusal::Usage(format!("'add' takes one branch; '{first}' was given already"))),
        }
    }
}

fn unknown(word: &[u8]) -> Refusal {
    Refusal::Usage(format!("unknown flag '{}'", OsStr::from_bytes(word).to_string_lossy()))
}

fn utf8(bytes: &[u8], what: &str) -> Result<String, Refusal> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Refusal::Usage(format!("{what} is not valid UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[&str]) -> Result<Flags, Refusal> {
        parse(&line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn prompt(line: &[&str]) -> Prompt {
        parsed(line).unwrap().prompt.unwrap()
    }

    #[test]
    fn every_usual_form_of_a_flag_works() {
        let text = || Prompt::Text("do it".to_owned());
        for form in [
            &["x", "-p", "do it"][..],
            &["x", "-pdo it"],
            &["x", "-p=do it"],
            &["--prompt", "do it", "x"],
            &["--prompt=do it", "x"],
            &["x", "-bSHpdo it"],
        ] {
            assert_eq!(prompt(form), text(), "{form:?}");
        }
        assert_eq!(prompt(&["x", "-p", "--base"]), Prompt::Text("--base".to_owned()), "a value is never a flag");
        assert_eq!(prompt(&["x", "--prompt="]), Prompt::Text(String::new()));
        assert_eq!(prompt(&["x", "-P", "a b"]), Prompt::File("a b".into()));
        assert_eq!(prompt(&["-Ae"]), Prompt::Editor);
        assert_eq!(parsed(&["-p", "only a prompt"]).unwrap().branch, None);
        let all = parsed(&["-A", "-b", "-S", "--no-hooks", "feature"]).unwrap();
        assert_eq!(
            all,
            Flags { branch: Some("feature".into()), auto_name: true, background: true, ..Flags::default() }
        );
        assert_eq!(parsed(&["--", "-D"]).unwrap().branch.as_deref(), Some("-D"));
    }

    #[test]
    fn p35_every_flag_that_has_no_effect_here_is_refused_by_name() {
        let mut refused = 0;
        for (long, short, flag) in FLAGS {
            let Flag::Rejected(advice) = flag else { continue };
            refused += 1;
            let mut forms = vec![format!("--{long}"), format!("--{long}=1")];
            forms.extend(short.map(|letter| format!("-{}", letter as char)));
            forms.extend(short.map(|letter| format!("-b{}7", letter as char)));
            for form in forms {
                let want = format!("--{long} is not supported from inside a sandbox{advice}");
                assert_eq!(parsed(&["x", &form]), Err(Refusal::Unsupported(want)), "{form}");
            }
        }
        assert_eq!(refused, 32);
    }

    #[test]
    fn wrong_calls_are_usage_errors() {
        for wrong in [
            &[][..],
            &["a", "b"],
            &["x", "-p"],
            &["x", "-p", "1", "-P", "2"],
            &["x", "-e", "-p", "1"],
            &["x", "--bogus"],
            &["x", "-z"],
            &["x", "--background=yes"],
        ] {
            assert!(matches!(parsed(wrong), Err(Refusal::Usage(_))), "{wrong:?}");
        }
    }
}
