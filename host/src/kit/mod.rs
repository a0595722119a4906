//! The conformance kit: a closed, numbered list of what every backend must do, tried on a real one.
//!
//! Each rule runs the program itself, as a user would, in a repository and with a configuration of its own, and looks at what
//! came of it; so it holds for the backend and for nothing else. A rule passes, fails, does not apply (the backend never
//! claimed it), or stays unverified (what is needed to see it is not there). This file owns the list and the order; what a rule
//! tries in is [`scene`]'s, and how the answer is written [`report`]'s.

mod report;
mod rules;
mod scene;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use color_eyre::eyre::{Report as Failure, Result};

use crate::error::hinted;
use crate::surroundings::Surroundings;
pub(crate) use report::{Report, line};
use scene::Scene;

/// What is tried.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// The backend: a name, or the path of a library.
    pub subject: String,
    /// Only rules whose number begins like one of these.
    pub only: Vec<String>,
}

/// A rule.
pub(crate) struct Rule {
    /// Its number, for ever.
    pub number: &'static str,
    /// What must be so.
    pub claim: &'static str,
    check: fn(&Scene) -> Verdict,
}

/// What came of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is so.
    Pass,
    /// It is not: what was seen instead.
    Fail(String),
    /// The backend does not claim to.
    NotApplicable(String),
    /// Nobody could see whether it is.
    Unverified(String),
}

impl From<Result<(), String>> for Verdict {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Fail, |()| Self::Pass)
    }
}

/// What came of one, and how long it took.
#[derive(Debug)]
pub(crate) struct Tried {
    /// The rule's number.
    pub number: &'static str,
    /// What must be so.
    pub claim: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// Tries all rules in their order. `tell` hears of each.
///
/// # Errors
/// There is no such backend, or nothing can be tried here.
pub(crate) fn check(wish: &Wish, surroundings: &Surroundings, tell: &mut dyn FnMut(&Tried)) -> Result<Report> {
    let chosen: Vec<&Rule> = rules::ALL.iter().filter(|rule| is_wanted(&wish.only, rule.number)).collect();
    if chosen.is_empty() {
        let last = rules::ALL.last().map_or("", |rule| rule.number);
        return Err(hinted(
            format!("there is no rule '{}'", crate::text::line(&wish.only.join(" "))),
            format!("the first is {}, the last {last}; without --only all are tried", rules::ALL[0].number),
        ));
    }
    let scene = Scene::new(&subject(&wish.subject)?, surroundings)?;
    let mut report = Report::new(&scene.manifest, &scene.library);
    for rule in chosen {
        let began = Instant::now();
        let verdict = match scene.refresh() {
            Ok(()) => (rule.check)(&scene),
            Err(why) => Verdict::Unverified(format!("{why:#}")),
        };
        let tried = Tried { number: rule.number, claim: rule.claim, verdict, took: began.elapsed() };
        tell(&tried);
        report.rules.push(tried);
    }
    for left in scene.clean() {
        crate::ui::warning(&left);
    }
    Ok(report)
}

fn is_wanted(only: &[String], number: &str) -> bool {
    only.is_empty() || only.iter().any(|wanted| number.starts_with(wanted.as_str()))
}

/// What the user named.
enum Subject {
    Name(String),
    Library(PathBuf),
}

fn subject(text: &str) -> Result<Subject> {
    let path = Path::new(text);
    if !text.contains('/') && path.extension().is_none() {
        return Ok(Subject::Name(text.to_owned()));
    }
    let found = path.canonicalize().map_err(|e| {
        Failure::msg(e.to_string())
            .wrap_err(format!("cannot find the library {}", crate::text::quote(path.as_os_str())))
    })?;
    Ok(Subject::Library(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_order_and_nobody_has_two() {
        let numbers: Vec<&str> = rules::ALL.iter().map(|rule| rule.number).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(numbers, sorted);
        assert!(rules::ALL.iter().all(|rule| rule.number.len() == 4 && !rule.claim.ends_with('.')));
    }

    #[test]
    fn a_choice_is_by_the_beginning_of_the_number() {
        let of =
            |only: &[&str], number| is_wanted(&only.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(), number);
        assert!(of(&[], "K301") && of(&["K3"], "K301") && of(&["K1", "K301"], "K301") && !of(&["K2"], "K301"));
    }

    #[test]
    fn a_path_is_told_from_a_name() {
        assert!(matches!(subject("acme").unwrap(), Subject::Name(name) if name == "acme"));
        assert!(subject("./nobody.so").is_err() && subject("nobody.so").is_err());
    }
}
