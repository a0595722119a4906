//! The installed backends: which one would be used here, and what each says of its own health. None of their code runs
//! in this process: each trusted one is asked by a child (`ask`), all at once, so that one that hangs, crashes or lies
//! costs its own lines.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde::{Serialize, Serializer};
use workmux_plugin_api::{Isolation, Word};

use super::ask;
use super::finding::Finding;
use crate::launch::survey::Survey;
use crate::plugins::{Listing, Registry, State};
use crate::routing;
use crate::text::line;
use crate::tool::{self, Output, ToolError};

/// What one backend may take in all.
const LIMIT: Duration = Duration::from_secs(5);
/// Findings of one backend that are looked at.
const MAX_FINDINGS: usize = 256;

/// What a library is to us. Stable: scripts read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Standing {
    /// Trusted, and the one that would be used here.
    Used,
    /// Trusted.
    Available,
    /// Its user has not said that it may be used as it is.
    Untrusted,
    /// It cannot be used.
    Rejected,
}

/// One library. Stable: scripts read it.
#[derive(Debug, Serialize)]
pub(super) struct Examined {
    pub(super) name: String,
    #[serde(serialize_with = "word")]
    pub(super) path: PathBuf,
    pub(super) state: Standing,
    pub(super) would_be_used: bool,
    pub(super) findings: Vec<Finding>,
}

fn word<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    Word::from(path.to_owned()).serialize(to)
}

/// The backend that would be used here by name, where one was chosen or named, and what is to be said of that.
pub(super) fn choose(registry: &Registry, survey: &Survey) -> (Option<String>, Vec<Finding>) {
    const SUBJECT: &str = "sandbox backend";
    let Some(config) = survey.config() else {
        return (None, vec![Finding::remark(SUBJECT, "not known before the configuration is corrected")]);
    };
    let chosen = match routing::choose(registry, config, None) {
        Ok(chosen) => chosen,
        Err(report) => return (config.sandbox.backend.clone(), vec![Finding::failure(SUBJECT, &report)]),
    };
    if let Err(report) = survey.become_owner(chosen.manifest()) {
        return (Some(chosen.name().to_owned()), vec![Finding::failure("user", &report)]);
    }
    let name = chosen.name();
    let why =
        if chosen.unasked.is_some() { "the first one present; 'sandbox.backend' sets it" } else { "as configured" };
    let mut all = vec![Finding::good(SUBJECT, format!("'{name}', {why}"))];
    if chosen.manifest().isolation == Isolation::None {
        all.push(Finding::remark(SUBJECT, format!("'{name}' does not isolate: a command can do what you can")));
    }
    (Some(name.to_owned()), all)
}

/// Asks all that may be asked, at once. `chosen` = the one that would be used.
pub(super) fn examine(listings: Vec<Listing>, chosen: Option<&str>) -> Vec<Examined> {
    thread::scope(|scope| {
        let all = listings.into_iter().filter(|listing| !matches!(listing.state, State::Shadowed { .. }));
        let asked: Vec<_> = all
            .map(|listing| {
                let would_be_used = chosen == Some(listing.name.as_str());
                let (state, findings) = standing(&listing, would_be_used);
                let examined = Examined { name: listing.name, path: listing.path, state, would_be_used, findings };
                let thread = matches!(state, Standing::Used | Standing::Available).then(|| {
                    let name = examined.name.clone();
                    thread::Builder::new().spawn_scoped(scope, move || ask_child(&name))
                });
                (examined, thread)
            })
            .collect();
        let answers = asked.into_iter().map(|(mut examined, thread)| {
            match thread {
                Some(Ok(thread)) => examined.findings.extend(thread.join().unwrap_or_default()),
                Some(Err(e)) => examined.findings.push(unanswered(&examined.name, &e.to_string())),
                None => {}
            }
            examined
        });
        answers.collect()
    })
}

fn standing(listing: &Listing, would_be_used: bool) -> (Standing, Vec<Finding>) {
    const SUBJECT: &str = "library";
    match &listing.state {
        State::Rejected(why) => {
            let finding =
                Finding::bad(SUBJECT, &why.reason, why.fix.as_deref().unwrap_or("install it anew, or remove it"));
            (if why.unconfirmed { Standing::Untrusted } else { Standing::Rejected }, vec![finding])
        }
        State::Winner | State::Shadowed { .. } => {
            let version = listing.manifest.as_ref().map(|m| line(&m.version)).unwrap_or_default();
            let finding = Finding::good(SUBJECT, format!("version {version}"));
            (if would_be_used { Standing::Used } else { Standing::Available }, vec![finding])
        }
    }
}

fn ask_child(name: &str) -> Vec<Finding> {
    // Not by name: the file there may have been replaced since we started.
    let mut command = Command::new("/proc/self/exe");
    command.args([ask::WORD, name]);
    match tool::run(&mut command, b"", LIMIT) {
        Ok(output) => read(name, &output),
        Err(ToolError::Deadline { after, .. }) => {
            vec![unanswered(name, &format!("did not answer within {} s", after.as_secs()))]
        }
        Err(e) => vec![unanswered(name, &e.to_string())],
    }
}

/// What the child found. The library could write to its standard output too, so nothing here is taken as it is.
fn read(name: &str, output: &Output) -> Vec<Finding> {
    let said = String::from_utf8_lossy(&output.stdout);
    let answer = said.lines().rev().find_map(|line| line.strip_prefix(ask::MARK));
    match answer.map(serde_json::from_str::<Vec<Finding>>) {
        Some(Ok(findings)) if output.status.success() => {
            findings.into_iter().take(MAX_FINDINGS).map(Finding::cleaned).collect()
        }
        _ => {
            let how = match (output.status.signal(), output.status.code()) {
                (Some(signal), _) => format!("ended the program that asked it (signal {signal})"),
                (None, code) => format!("ended the program that asked it (exit code {})", code.unwrap_or(-1)),
            };
            let last = output.stderr_text();
            vec![unanswered(name, &how).because(last.lines().next_back())]
        }
    }
}

fn unanswered(name: &str, how: &str) -> Finding {
    Finding::bad("check", how, advice(name))
}

/// What to do about a backend that misbehaves.
pub(super) fn advice(name: &str) -> String {
    format!("try again; if it stays so, install another version of '{name}', or remove it")
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    fn output(status: i32, stdout: &str, stderr: &str) -> Output {
        Output { status: ExitStatus::from_raw(status), stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn only_the_last_whole_answer_of_a_child_that_succeeded_counts() {
        let answer = |text: &str| {
            let findings = vec![Finding::good("x", text)];
            format!("\n{}{}\n", ask::MARK, serde_json::to_string(&findings).unwrap())
        };
        let said = format!("noise{}{}noise\n", answer("first"), answer("second"));
        assert_eq!(read("n", &output(0, &said, "")), [Finding::good("x", "second")]);
        for (bad, words) in [
            (output(0, "", ""), "exit code 0"),
            (output(0, &format!("{}[7]\n", ask::MARK), ""), "exit code 0"),
            (output(125 << 8, &answer("x"), "a\nthe backend 'n' crashed\x1b[2J\n"), "exit code 125"),
            (output(11, "", ""), "signal 11"),
        ] {
            let found = read("n", &bad);
            assert!(found.len() == 1 && found[0].is_bad() && found[0].text.contains(words), "{found:?}");
            assert!(bad.stderr.is_empty() || found[0].causes == ["the backend 'n' crashed"], "{found:?}");
        }
    }
}
