//! How far a long step is: one line that changes on a terminal, and a line per step elsewhere.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use workmux_plugin_api::Level;

use crate::plugins::Events;

/// Where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Out {
    /// Standard output: the command is about nothing else.
    Result,
    /// Standard error: standard output will be a guest's.
    Note,
}

/// Shows what a backend tells of its work.
pub(crate) struct Progress {
    out: Out,
    /// Where somebody watches.
    bar: Option<ProgressBar>,
    /// The last text, so that a line is not said twice.
    last: Mutex<String>,
}

impl Progress {
    pub(crate) fn new(out: Out) -> Self {
        let watched = match out {
            Out::Result => std::io::stdout().is_terminal(),
            Out::Note => std::io::stderr().is_terminal(),
        };
        Self { out, bar: watched.then(|| bar(out)), last: Mutex::default() }
    }

    /// Takes the line away; what is printed after this stands by itself.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(out: Out) -> ProgressBar {
    let target = match out {
        Out::Result => ProgressDrawTarget::stdout(),
        Out::Note => ProgressDrawTarget::stderr(),
    };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(style(false));
    bar
}

/// With a bar where it is known how much there is.
fn style(measured: bool) -> ProgressStyle {
    let template =
        if measured { "{spinner} {wide_msg} {bar:24} {percent:>3}%" } else { "{spinner} {wide_msg} {elapsed}" };
    ProgressStyle::with_template(template).unwrap_or_else(|_wrong| ProgressStyle::default_bar())
}

impl Events for Progress {
    fn log(&self, backend: &str, level: Level, text: &str) {
        if level != Level::Warning {
            return;
        }
        let say = || crate::ui::warning(&format!("{backend}: {text}"));
        match &self.bar {
            // Only where it is on the screen: it is drawn again afterwards.
            Some(bar) if !bar.message().is_empty() && !bar.is_finished() => bar.suspend(say),
            _ => say(),
        }
    }

    fn progress(&self, _backend: &str, text: &str, done: u64, total: u64) {
        let Some(bar) = &self.bar else {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if *last != text {
                text.clone_into(&mut last);
                match self.out {
                    Out::Result => crate::ui::print(&format!("  {text}")),
                    Out::Note => crate::ui::note(text),
                }
            }
            return;
        };
        if total > 0 && bar.length() != Some(total) {
            bar.set_style(style(true));
            bar.set_length(total);
        } else if total == 0 && bar.length().is_some() {
            bar.set_style(style(false));
            bar.unset_length();
        }
        if bar.is_finished() {
            bar.reset();
        }
        bar.set_position(done);
        bar.set_message(text.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
    }
}
