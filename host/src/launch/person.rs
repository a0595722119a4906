//! The person at the terminal, as plugins meet them: asked once about a library, shown what a backend is doing.

use workmux_plugin_api::Level;

use crate::plugins::{Ask, Events};

/// Asks and shows on standard error; nobody is asked where that is no terminal.
pub(crate) struct Person;

impl Ask for Person {
    fn confirm(&self, question: &str) -> Option<bool> {
        crate::ui::can_ask().then(|| crate::ui::confirm(question))
    }
}

impl Events for Person {
    fn log(&self, backend: &str, level: Level, text: &str) {
        if level == Level::Warning {
            crate::ui::warning(&format!("{backend}: {text}"));
        }
    }

    fn progress(&self, _backend: &str, text: &str, done: u64, total: u64) {
        match total {
            0 => crate::ui::note(text),
            total => crate::ui::note(&format!("{text} ({}%)", done.saturating_mul(100) / total)),
        }
    }
}
