//! One thing that was looked at, and what came of it.

use color_eyre::eyre::Report;
use serde::{Deserialize, Serialize};

use crate::error::{Parts, parts};
use crate::text::line;

/// What a failure says where nobody knows better.
const ANY_HINT: &str = "correct what is said there, and try again";
/// Causes that are kept of one finding.
const MAX_CAUSES: usize = 16;

/// A finding. Clean text. Stable: scripts read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) subject: String,
    /// Whether it is as a sandbox needs it; nothing = it stops no sandbox, and is only said.
    pub(super) ok: Option<bool>,
    /// What it is like.
    pub(super) text: String,
    /// Why, or which ones.
    pub(super) causes: Vec<String>,
    /// What to do about it. Each failure has one.
    pub(super) hint: Option<String>,
}

impl Finding {
    fn new(subject: &str, ok: Option<bool>, text: &str) -> Self {
        Self { subject: line(subject), ok, text: line(text), causes: Vec::new(), hint: None }
    }

    /// Good.
    pub(super) fn good(subject: &str, text: impl AsRef<str>) -> Self {
        Self::new(subject, Some(true), text.as_ref())
    }

    /// Neither good nor bad.
    pub(super) fn remark(subject: &str, text: impl AsRef<str>) -> Self {
        Self::new(subject, None, text.as_ref())
    }

    /// Bad, and how to mend it.
    pub(super) fn bad(subject: &str, text: impl AsRef<str>, hint: impl AsRef<str>) -> Self {
        Self { hint: Some(line(hint.as_ref())), ..Self::new(subject, Some(false), text.as_ref()) }
    }

    /// A failure of ours as a finding.
    pub(super) fn failure(subject: &str, report: &Report) -> Self {
        let Parts { message, causes, hint } = parts(report);
        // The lines of a message are a list of what is wrong.
        let mut lines = message.lines();
        let text = lines.next().unwrap_or_default().to_owned();
        let causes = lines.map(str::to_owned).chain(causes.iter().flat_map(|c| c.lines().map(str::to_owned)));
        let hint = hint.unwrap_or_else(|| ANY_HINT.into());
        Self::bad(subject, text, hint).because(causes)
    }

    /// What a backend found.
    pub(super) fn of_backend(finding: workmux_plugin_api::Finding) -> Self {
        match finding.state {
            Ok(text) => Self::good(&finding.subject, text),
            Err(e) => Self::bad(&finding.subject, e.message, e.hint.as_deref().unwrap_or(ANY_HINT)).because(e.causes),
        }
    }

    /// With reasons or examples.
    pub(super) fn because(mut self, causes: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let all: Vec<String> = causes.into_iter().map(|cause| line(cause.as_ref())).collect();
        let more = all.len().saturating_sub(MAX_CAUSES);
        self.causes = all.into_iter().take(MAX_CAUSES).collect();
        if more > 0 {
            self.causes.push(format!("and {more} more"));
        }
        self
    }

    /// With something to do about it.
    pub(super) fn hint(mut self, hint: impl AsRef<str>) -> Self {
        self.hint = Some(line(hint.as_ref()));
        self
    }

    /// The same from a process that may have said anything.
    pub(super) fn cleaned(self) -> Self {
        let hint = match self.ok {
            Some(false) => Some(self.hint.unwrap_or_else(|| ANY_HINT.into())),
            _ => self.hint,
        };
        let plain = Self::new(&self.subject, self.ok, &self.text).because(self.causes);
        Self { hint: hint.map(|hint| line(&hint)), ..plain }
    }

    /// Whether it is bad.
    pub(super) fn is_bad(&self) -> bool {
        self.ok == Some(false)
    }
}

/// A complaint about a configuration without what was written there: that may be a secret at the wrong place. Values
/// stand between double quotes, names between single ones.
pub(super) fn without_values(complaint: &str) -> String {
    match (complaint.find('"'), complaint.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}\"…\"{}", &complaint[..first], &complaint[last + 1..]),
        (Some(cut), _) => format!("{}\"…", &complaint[..cut]),
        _ => complaint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::hinted;
    use color_eyre::eyre::WrapErr as _;

    #[test]
    fn a_failure_keeps_its_causes_and_always_says_what_to_do() {
        let plain = Finding::failure("x", &Report::msg("two things are wrong\n  a\n  b"));
        assert_eq!(
            (plain.text.as_str(), plain.causes.as_slice()),
            ("two things are wrong", &["a".into(), "b".into()][..])
        );
        assert_eq!(plain.hint.as_deref(), Some(ANY_HINT));
        let report = Err::<(), _>(hinted("it is shut", "open it")).wrap_err("no way in").unwrap_err();
        let finding = Finding::failure("door", &report);
        assert_eq!((finding.causes, finding.hint), (vec!["it is shut".to_owned()], Some("open it".to_owned())));
    }

    #[test]
    fn no_value_of_a_configuration_is_repeated() {
        for (said, shown) in [
            (
                "'sandbox.env': must be a map, and is string \"K=s3cret\"",
                "'sandbox.env': must be a map, and is string \"…\"",
            ),
            ("string \"a\\\"s3cret\" at 7", "string \"…\" at 7"),
            ("unclosed bracket '['", "unclosed bracket '['"),
            ("cut \"s3cret", "cut \"…"),
        ] {
            assert_eq!(without_values(said), shown);
        }
    }

    #[test]
    fn what_another_process_says_is_bounded_and_clean() {
        let wild = Finding {
            subject: "a\x1b[2Jb".into(),
            ok: Some(false),
            text: "x".repeat(100_000),
            causes: vec!["c\r\n\u{202e}d".into(); 1000],
            hint: None,
        };
        let clean = wild.cleaned();
        assert_eq!(
            (clean.subject.as_str(), clean.causes[0].as_str(), clean.causes.len()),
            ("ab", "c d", MAX_CAUSES + 1)
        );
        assert!(clean.text.len() < 1000 && clean.hint.is_some());
    }
}
