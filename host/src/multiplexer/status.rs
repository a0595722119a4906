//! What a run's window can show about its agent: a status with its icon, and a title.

use crate::config::types::StatusIcons;

/// What an agent says it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Busy.
    Working,
    /// Needs its user.
    Waiting,
    /// Finished.
    Done,
    /// Nothing to show.
    Clear,
    /// A new agent begins: nothing to show yet.
    Register,
}

impl Status {
    /// The status a guest names, in any case.
    pub fn from_word(word: &str) -> Option<Self> {
        [
            ("working", Self::Working),
            ("waiting", Self::Waiting),
            ("done", Self::Done),
            ("clear", Self::Clear),
            ("register", Self::Register),
        ]
        .into_iter()
        .find_map(|(name, status)| word.eq_ignore_ascii_case(name).then_some(status))
    }

    /// As records keep it; empty = nothing to keep.
    pub fn word(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Clear | Self::Register => "",
        }
    }

    /// Whether its icon is for the user to see once, and gone when the pane has been looked at.
    pub fn until_seen(self) -> bool {
        matches!(self, Self::Waiting | Self::Done)
    }
}

/// The icons of the user's configuration. Never a guest's or a project's text: status lines expand formats in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icons {
    /// For [`Status::Working`].
    pub working: String,
    /// For [`Status::Waiting`].
    pub waiting: String,
    /// For [`Status::Done`].
    pub done: String,
}

impl Default for Icons {
    fn default() -> Self {
        Self { working: "🤖".into(), waiting: "💬".into(), done: "✅".into() }
    }
}

impl Icons {
    /// Those that are configured.
    pub fn of_user(icons: &StatusIcons) -> Self {
        Self { working: icons.working.clone(), waiting: icons.waiting.clone(), done: icons.done.clone() }
    }

    /// The icon of a status, if it has one.
    pub fn of(&self, status: Status) -> Option<&str> {
        match status {
            Status::Working => Some(&self.working),
            Status::Waiting => Some(&self.waiting),
            Status::Done => Some(&self.done),
            Status::Clear | Status::Register => None,
        }
        .map(String::as_str)
        .filter(|icon| !icon.is_empty())
    }
}

/// A window title that nothing on the host expands, runs or acts on (P1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    /// Cleans `text`; `None` when nothing is left of it.
    pub fn clean(text: &str) -> Option<Self> {
        crate::text::title(text).map(Self)
    }

    /// The cleaned text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_known_by_its_word_in_any_case() {
        assert_eq!(Status::from_word("DoNe"), Some(Status::Done));
        assert_eq!(Status::from_word("register"), Some(Status::Register));
        assert_eq!(Status::from_word("done "), None);
        assert_eq!(Status::from_word(""), None);
    }
}
