//! The command line as cobra and pflag read it, down to their refusals: what is not known is never taken silently.

use std::ffi::OsString;

use crate::failure::Result;
use crate::quoting;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing, or `=true` and `=false`.
    Switch,
    /// A text.
    Text,
    /// Texts, separated by commas, from every time it is given.
    List,
    /// A whole number.
    Count,
    /// A number.
    Number,
    /// A duration, as Go writes it.
    Duration,
}

/// A flag that a command knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag(pub(crate) &'static str, pub(crate) Option<char>, pub(crate) Takes);

/// A command line that was read.
#[derive(Debug, Default)]
pub(crate) struct Words {
    given: Vec<(&'static str, String)>,
    /// What is no flag.
    pub(crate) rest: Vec<OsString>,
}

impl Words {
    /// Whether a switch is on.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// The last value.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().rfind(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a list.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let all = self.given.iter().filter(|(given, _)| *given == name);
        all.flat_map(|(_, value)| value.split(',')).filter(|value| !value.is_empty()).collect()
    }

    /// Whether it was given at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// What is no flag, as text.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.rest.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// These flags, and behind them those of `later`.
    pub(crate) fn under(mut self, later: Self) -> Self {
        self.given.extend(later.given);
        Self { given: self.given, rest: later.rest }
    }
}

/// Reads words. `mixed`: flags may follow what is no flag.
pub(crate) fn read(words: &[OsString], known: &[Flag], mixed: bool) -> Result<Words> {
    let mut read = Words::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            read.rest.extend(words.cloned());
            break;
        }
        if let Some(long) = text.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let Some(flag) = known.iter().find(|flag| flag.0 == name) else {
                return Err(format!("unknown flag: --{name}").into());
            };
            let value = match (value, flag.2) {
                (Some(value), _) => value.to_owned(),
                (None, Takes::Switch) => "true".to_owned(),
                (None, _) => next(&mut words).ok_or(format!("flag needs an argument: --{name}"))?,
            };
            read.given.push((flag.0, checked(flag, &format!("--{name}"), value)?));
        } else if word.len() > 1 && text.starts_with('-') {
            let mut letters = text[1..].chars();
            while let Some(letter) = letters.next() {
                let Some(flag) = known.iter().find(|flag| flag.1 == Some(letter)) else {
                    return Err(format!("unknown shorthand flag: '{letter}' in {text}").into());
                };
                let value = if flag.2 == Takes::Switch {
                    "true".to_owned()
                } else {
                    let attached = letters.as_str().trim_start_matches('=').to_owned();
                    letters = "".chars();
                    let given = if attached.is_empty() { next(&mut words) } else { Some(attached) };
                    given.ok_or(format!("flag needs an argument: '{letter}' in {text}"))?
                };
                read.given.push((flag.0, checked(flag, &format!("-{letter}, --{}", flag.0), value)?));
            }
        } else {
            read.rest.push(word.clone());
            if !mixed {
                read.rest.extend(words.cloned());
                break;
            }
        }
    }
    Ok(read)
}

fn next(words: &mut std::slice::Iter<'_, OsString>) -> Option<String> {
    words.next().map(|word| word.to_string_lossy().into_owned())
}

fn checked(flag: &Flag, shown: &str, value: String) -> Result<String> {
    let refused = |why: &str| {
        let (quoted, why) =
            (quoting::double(&value), format!("{why}: parsing {}: invalid syntax", quoting::double(&value)));
        Err(format!("invalid argument {quoted} for \"{shown}\" flag: {why}").into())
    };
    match flag.2 {
        Takes::Switch => match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("true".to_owned()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("false".to_owned()),
            _ => refused("strconv.ParseBool"),
        },
        Takes::Count if value.parse::<i64>().is_err() => refused("strconv.ParseInt"),
        Takes::Number if value.parse::<f32>().is_err() => refused("strconv.ParseFloat"),
        Takes::Duration if duration(&value).is_none() => {
            let quoted = quoting::double(&value);
            Err(format!("invalid argument {quoted} for \"{shown}\" flag: time: invalid duration {quoted}").into())
        }
        _ => Ok(value),
    }
}

/// `1h2m3.5s`, `200ms`.
pub(crate) fn duration(text: &str) -> Option<std::time::Duration> {
    if text == "0" {
        return Some(std::time::Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |at| digits + at);
        seconds += number
            * match &rest[digits..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                "us" | "µs" => 0.000_001,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then(|| std::time::Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Flag; 4] = [
        Flag("force", Some('f'), Takes::Switch),
        Flag("name", None, Takes::Text),
        Flag("quiet", Some('q'), Takes::Switch),
        Flag("mount", None, Takes::List),
    ];

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn flags_are_read_as_pflag_reads_them() {
        let read = read(&words("-fq a --name=x b --mount c,d --mount e -- --name"), &KNOWN, true).unwrap();
        assert!(read.on("force") && read.on("quiet") && read.text("name") == Some("x"));
        assert_eq!(read.list("mount"), ["c", "d", "e"]);
        assert_eq!(read.texts(), ["a", "b", "--name"]);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        let refusal = |text: &str| read(&words(text), &KNOWN, true).unwrap_err().message;
        assert_eq!(refusal("--nope"), "unknown flag: --nope");
        assert_eq!(refusal("-fx"), "unknown shorthand flag: 'x' in -fx");
        assert_eq!(refusal("--name"), "flag needs an argument: --name");
        assert!(refusal("--force=maybe").contains("invalid argument \"maybe\""));
    }

    #[test]
    fn behind_the_first_word_everything_may_be_raw() {
        let read = read(&words("-f vm --name x"), &KNOWN, false).unwrap();
        assert_eq!(read.texts(), ["vm", "--name", "x"]);
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("1m1.5s"), Some(std::time::Duration::from_millis(61_500)));
        assert_eq!(duration("200ms"), Some(std::time::Duration::from_millis(200)));
        assert!(duration("5").is_none() && duration("").is_none() && duration("3x").is_none());
    }
}
