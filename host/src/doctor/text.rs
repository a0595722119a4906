//! The report as text that can be pasted: nothing of it is a secret, the home directory is `~`.

use std::fmt::Write as _;
use std::path::Path;

use super::Diagnosis;
use super::backends::{Examined, Standing};
use super::finding::Finding;
use super::tilde;
use crate::text::quote;

/// Writing to a string cannot fail.
macro_rules! put {
    ($text:expr, $($words:tt)*) => { _ = writeln!($text, $($words)*) };
}

/// The report.
pub(super) fn text(diagnosis: &Diagnosis, home: Option<&Path>) -> String {
    let Diagnosis { version, protocol, system, host, backends, .. } = diagnosis;
    let mut text = String::new();
    put!(text, "workmux {version}, protocol {protocol}");
    let distribution = system.distribution.iter().map(|name| format!(", {name}")).collect::<String>();
    put!(text, "system: {} {}{distribution}", system.kernel, system.machine);
    put!(text, "\nHost");
    findings(&mut text, host, home);
    for backend in backends {
        put!(text, "\nBackend '{}': {}", backend.name, words(backend));
        put!(text, "  {}", tilde::shown(&quote(backend.path.as_os_str()), home));
        findings(&mut text, &backend.findings, home);
    }
    let used = backends.iter().find(|backend| backend.state == Standing::Used);
    match used {
        Some(backend) if diagnosis.ok => put!(text, "\nBackend '{}' works here.", backend.name),
        _ => put!(text, "\nSomething is in the way of sandboxes here; what to do about it stands below each ✗ above."),
    }
    text
}

fn words(backend: &Examined) -> &'static str {
    match (backend.state, backend.would_be_used) {
        (Standing::Used, _) => "would be used here",
        (Standing::Available, _) => "available",
        (Standing::Untrusted, false) => "not trusted, so not asked",
        (Standing::Untrusted, true) => "would be used here, but is not trusted and was not asked",
        (Standing::Rejected, false) => "cannot be used",
        (Standing::Rejected, true) => "would be used here, but cannot be",
    }
}

fn findings(text: &mut String, findings: &[Finding], home: Option<&Path>) {
    let shown = |words: &str| tilde::shown(words, home);
    for Finding { subject, ok, text: words, causes, hint } in findings {
        let mark = match ok {
            Some(true) => '✓',
            Some(false) => '✗',
            None => '-',
        };
        put!(text, "  {mark} {}: {}", shown(subject), shown(words));
        for cause in causes {
            put!(text, "      {}", shown(cause));
        }
        if let Some(hint) = hint {
            put!(text, "    Hint: {}", tilde::typed(hint, home));
        }
    }
}
