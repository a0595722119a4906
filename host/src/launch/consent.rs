//! The user's own word, where a backend cannot keep a part of the boundary: asked at the terminal before anything is
//! started, and never on a project's behalf. What was agreed to is the backend's to remember.

use std::io;

use color_eyre::eyre::{Report, Result};
use workmux_plugin_api::{Error, Instance, PrepareRequest, Remedy};

use crate::error::{from_backend, hinted};
use crate::plugins::Backend;
use crate::progress::Progress;
use crate::supervisor::{Interrupted, Signals};
use crate::text::line;

/// Has the backend prepare; where that takes the user's word and somebody is there to give it, asks and tries once more.
pub(super) async fn prepared(
    backend: &Backend,
    mut request: PrepareRequest,
    progress: &Progress,
    signals: &mut Signals,
) -> Result<Instance> {
    let refused = match signals.unless_interrupted(backend.prepare(request.clone())).await? {
        Err(e) if e.error.remedy == Some(Remedy::Consent) && crate::ui::can_ask() => e,
        answer => return answer.map_err(|e| from_backend(&e)),
    };
    progress.clear();
    crate::ui::note(&question(&refused.error));
    if !agreed(signals).await? {
        let refusal = "nothing was started, because you did not agree";
        return Err(match refused.error.hint {
            Some(hint) => hinted(refusal, hint),
            None => Report::msg(refusal),
        });
    }
    request.consented = true;
    signals.unless_interrupted(backend.prepare(request)).await?.map_err(|e| from_backend(&e))
}

/// What the user is to agree to, one line for each thing the backend says.
fn question(error: &Error) -> String {
    let more = error.causes.iter().map(|cause| format!("\n  {}", line(cause)));
    let hint = error.hint.iter().map(|hint| format!("\n  Hint: {}", line(hint)));
    std::iter::once(line(&error.message)).chain(more).chain(hint).collect()
}

/// Reads the answer on a thread of its own, so that a signal is heard meanwhile; the thread ends with the process.
async fn agreed(signals: &mut Signals) -> Result<bool, Interrupted> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let asking = std::thread::Builder::new().spawn(move || {
        let _nobody_waits = tell.send(crate::ui::confirm("Go on?"));
    });
    let asked = async { told.await.map_err(io::Error::other) };
    match asking {
        Ok(_thread) => Ok(signals.unless_interrupted(asked).await?.unwrap_or(false)),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p3_a_backends_question_cannot_draw_on_the_terminal() {
        let error = Error::refused("a\u{1b}[2Jb").cause("c\nd").cause("e").hint("f\r\ng");
        let text = question(&error);
        assert_eq!(text.lines().count(), 4, "{text:?}");
        assert!(!text.contains(['\u{1b}', '\r']));
    }
}
