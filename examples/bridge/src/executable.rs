//! Asks a program one question: a process that gets a line on its standard input, answers on its standard output and
//! ends. Deadline, cancellation, bounds and the process group are the host's ([`Context::run`]).

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use workmux_plugin_api::{Context, Error, ErrorKind, Level, PROTOCOL, Result, Tool, ToolOutput};

use crate::line::{self, Answer, Question};
use crate::trust;

/// Longest output that is read. What a host takes as an instance's state is a quarter of that.
const MAX_OUTPUT: usize = 1 << 20;
/// What is left of the host's own deadline for telling why there is no answer; a tenth where that is less.
const MARGIN: Duration = Duration::from_secs(2);
/// Lines of a program's standard error that a message ends with.
const LAST_WORDS: usize = 4;

/// The program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Executable {
    pub(crate) path: PathBuf,
    /// Seconds, where the user wants it to be quicker than the host.
    pub(crate) timeout: Option<u64>,
}

impl Executable {
    /// Asks and waits.
    ///
    /// # Errors
    /// The program's own, or what went wrong with it.
    pub(crate) async fn ask<Q, A>(&self, cx: &Context, verb: &str, request: &Q) -> Result<A>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned + Send,
    {
        // Each time: the file may have been changed since.
        trust::look(&self.path).map_err(Error::refused)?;
        // Another number each time, so that an answer that was written beforehand is noticed.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let deadline_ms = self.deadline_ms(cx.deadline().saturating_duration_since(Instant::now()));
        let question = Question { id, verb, protocol: PROTOCOL, deadline_ms, state_dir: cx.state_dir(), request };
        let mut input = serde_json::to_string(&question)
            .map_err(|e| Error::internal(format!("cannot write '{verb}' as JSON")).cause(e.to_string()))?;
        input.push('\n');
        let tool = Tool { program: self.path.clone(), input, deadline_ms, ..Tool::default() };
        let output = match cx.run(tool).await {
            Ok(output) => output,
            Err(e) => {
                let fault = self.fault(verb, e.kind, e.message);
                return Err(e.causes.into_iter().fold(fault, Error::cause));
            }
        };
        self.judge(cx, verb, id, &output)
    }

    fn judge<A: DeserializeOwned>(&self, cx: &Context, verb: &str, id: u64, output: &ToolOutput) -> Result<A> {
        let fault = |kind, why: String| Err(last_words(self.fault(verb, kind, why), &output.stderr));
        if output.stdout.len() > MAX_OUTPUT {
            return fault(ErrorKind::LimitHit, format!("it wrote {} bytes, at most {MAX_OUTPUT}", output.stdout.len()));
        }
        let said = line::read(&output.stdout, id);
        for note in said.notes {
            cx.log(note.level, note.text);
        }
        // Where it failed, that is the reason, and half a line only what came of it.
        let status = match output.code {
            Some(0) => None,
            Some(code) => Some(format!("it ended with code {code}")),
            None => Some("a signal ended it".to_owned()),
        };
        let wrong = |why: String| match &status {
            Some(status) => format!("{status}, and {why}"),
            None => why,
        };
        match (said.answer, &status) {
            (Err(why), _) => fault(ErrorKind::ToolFailed, wrong(why)),
            (Ok(None), _) => fault(ErrorKind::ToolFailed, wrong("it gave no answer".into())),
            // An error needs no success.
            (Ok(Some(Answer::Error(error))), _) => Err(error),
            (Ok(Some(Answer::Ok(_))), Some(status)) => {
                fault(ErrorKind::ToolFailed, format!("{status} after its answer"))
            }
            (Ok(Some(Answer::Ok(value))), None) => {
                output.stderr.lines().for_each(|line| cx.log(Level::Debug, line));
                let answer = serde_json::from_value(value);
                answer.or_else(|e| fault(ErrorKind::ToolFailed, format!("that is no answer to '{verb}': {e}")))
            }
        }
    }

    fn deadline_ms(&self, left: Duration) -> u64 {
        let left = left.saturating_sub(MARGIN.min(left / 10));
        let most = self.timeout.map_or(left, |seconds| left.min(Duration::from_secs(seconds)));
        // 0 would be the host's own choice.
        u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// What is wrong with the program, which is always named.
    fn fault(&self, verb: &str, kind: ErrorKind, why: String) -> Error {
        let path = self.path.display();
        Error::new(kind, format!("'{path}' did not answer '{verb}' as it should"))
            .cause(why)
            .hint(format!(r#"try it by hand: echo '{{"id":1,"verb":"describe","request":{{}}}}' | '{path}'"#))
    }
}

/// The end of what a program wrote to its standard error.
fn last_words(error: Error, stderr: &str) -> Error {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
    last.iter().fold(error, |error, line| error.cause(format!("it wrote: {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_time_left_to_say_why() {
        let deadline = |timeout, ms| Executable { path: "/p".into(), timeout }.deadline_ms(Duration::from_millis(ms));
        assert_eq!(deadline(None, 30_000), 28_000);
        assert_eq!(deadline(None, 4_500), 4_050);
        assert_eq!(deadline(Some(3), 600_000), 3_000);
        assert_eq!(deadline(Some(60), 30_000), 28_000);
        assert_eq!(deadline(None, 0), 1);
    }

    #[test]
    fn the_end_of_its_errors_is_told() {
        let error = last_words(Error::internal("m"), "a\nb\n\nc\nd\ne\n");
        assert_eq!(error.causes, ["it wrote: b", "it wrote: c", "it wrote: d", "it wrote: e"]);
        assert!(last_words(Error::internal("m"), "\n").causes.is_empty());
    }
}
