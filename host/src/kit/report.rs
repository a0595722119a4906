//! What the kit says at its end: for people, as JSON, and as JUnit's XML, which CI services show.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use workmux_plugin_api::Manifest;

use super::{Tried, Verdict};
use crate::text;

/// All that was tried.
#[derive(Debug)]
pub(crate) struct Report {
    backend: String,
    version: String,
    library: PathBuf,
    /// Each rule, in order.
    pub rules: Vec<Tried>,
}

impl Report {
    pub(super) fn new(manifest: &Manifest, library: &Path) -> Self {
        let (backend, version) = (manifest.name.clone(), text::line(&manifest.version));
        Self { backend, version, library: library.to_owned(), rules: Vec::new() }
    }

    /// Nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        !self.rules.iter().any(|tried| matches!(tried.verdict, Verdict::Fail(_)))
    }

    /// One line for all.
    pub(crate) fn summary(&self) -> String {
        let count = |word: &str| self.rules.iter().filter(|tried| word_of(&tried.verdict) == word).count();
        let words = ["pass", "fail", "not applicable", "unverified"];
        let counts = words.map(|word| format!("{} {word}", count(word))).join(", ");
        format!("{} {}: {counts}", self.backend, self.version)
    }

    /// As data.
    pub(crate) fn json(&self) -> Value {
        let rules = self.rules.iter().map(|tried| {
            json!({
                "rule": tried.number, "claim": tried.claim, "verdict": word_of(&tried.verdict).replace(' ', "-"),
                "why": why(&tried.verdict), "ms": u64::try_from(tried.took.as_millis()).unwrap_or(u64::MAX),
            })
        });
        json!({
            "backend": self.backend, "version": self.version, "library": self.library,
            "workmux": env!("CARGO_PKG_VERSION"), "conforms": self.is_good(), "rules": rules.collect::<Vec<_>>(),
        })
    }

    /// As JUnit's XML.
    pub(crate) fn junit(&self) -> String {
        let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
        let of = |word: &str| self.rules.iter().filter(|tried| word_of(&tried.verdict) == word).count();
        let all: Duration = self.rules.iter().map(|tried| tried.took).sum();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" \
             time=\"{}\">\n",
            escaped(&self.backend),
            self.rules.len(),
            of("fail"),
            of("not applicable") + of("unverified"),
            seconds(all),
        );
        for tried in &self.rules {
            let name = escaped(&format!("{} {}", tried.number, tried.claim));
            xml += &format!("  <testcase classname=\"workmux\" name=\"{name}\" time=\"{}\"", seconds(tried.took));
            let element = match &tried.verdict {
                Verdict::Pass => {
                    xml += "/>\n";
                    continue;
                }
                Verdict::Fail(_) => "failure",
                Verdict::NotApplicable(_) | Verdict::Unverified(_) => "skipped",
            };
            let message = escaped(&format!("{}: {}", word_of(&tried.verdict), why(&tried.verdict).unwrap_or_default()));
            xml += &format!(">\n    <{element} message=\"{message}\"/>\n  </testcase>\n");
        }
        xml + "</testsuite>\n"
    }
}

/// A rule's line for people.
pub(crate) fn line(tried: &Tried) -> String {
    let mark = match tried.verdict {
        Verdict::Pass => '✓',
        Verdict::Fail(_) => '✗',
        Verdict::NotApplicable(_) => '–',
        Verdict::Unverified(_) => '?',
    };
    let why = why(&tried.verdict).map(|why| format!("\n       {}: {why}", word_of(&tried.verdict))).unwrap_or_default();
    format!("{mark} {}  {}{why}", tried.number, tried.claim)
}

fn word_of(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail(_) => "fail",
        Verdict::NotApplicable(_) => "not applicable",
        Verdict::Unverified(_) => "unverified",
    }
}

/// Made of what guests and backends said: cleaned, and cut.
fn why(verdict: &Verdict) -> Option<String> {
    let (Verdict::Fail(why) | Verdict::NotApplicable(why) | Verdict::Unverified(why)) = verdict else { return None };
    let why = text::line(why);
    Some(if why.chars().count() > 500 { why.chars().take(500).chain(['…']).collect() } else { why })
}

fn escaped(text: &str) -> String {
    let odd = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    let text: String = text.chars().map(|c| if odd(c) { ' ' } else { c }).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: Vec<Verdict>) -> Report {
        let of = |verdict| Tried { number: "K301", claim: "a <word>", verdict, took: Duration::from_millis(1500) };
        Report {
            backend: "acme".into(),
            version: "1.0.0".into(),
            library: "/l.so".into(),
            rules: verdicts.into_iter().map(of).collect(),
        }
    }

    #[test]
    fn a_report_says_the_same_in_each_form() {
        let all = vec![
            Verdict::Pass,
            Verdict::Fail("\"a\" & <b>\x1b[2J".into()),
            Verdict::NotApplicable("no images".into()),
            Verdict::Unverified("x".repeat(1000)),
        ];
        let report = report(all);
        assert!(!report.is_good());
        assert_eq!(report.summary(), "acme 1.0.0: 1 pass, 1 fail, 1 not applicable, 1 unverified");
        insta::assert_snapshot!(report.junit().replace(&"x".repeat(500), "xxx"));
        let data = report.json();
        assert_eq!(data["conforms"], false);
        assert_eq!(
            (&data["rules"][2]["verdict"], &data["rules"][2]["why"]),
            (&"not-applicable".into(), &"no images".into())
        );
        assert_eq!(data["rules"][0]["ms"], 1500);
        let lines: Vec<String> = report.rules.iter().take(2).map(line).collect();
        assert_eq!(lines[0], "✓ K301  a <word>");
        assert!(lines[1].starts_with("✗ K301  a <word>\n       fail: \"a\" & <b>") && !lines[1].contains('\x1b'));
    }

    #[test]
    fn what_is_not_applicable_fails_nothing() {
        assert!(
            report(vec![Verdict::Pass, Verdict::NotApplicable(String::new()), Verdict::Unverified(String::new())])
                .is_good()
        );
    }
}
