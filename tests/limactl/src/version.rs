//! Which release is played, and where releases differ. Whoever asks names a difference, never a number.

use crate::quoting;

/// What is played where nobody says.
const NEWEST: &str = "2.2.0";

/// How a release refuses to run as root.
pub(crate) enum RootRefusal {
    /// From every command, not from `--version`.
    Commands,
    /// Before anything is read, as Go's panic.
    Panic,
    /// From everything.
    Everything,
}

/// What `shell` does on a stopped instance when nobody can be asked.
pub(crate) enum StoppedShell {
    /// It says so and fails.
    Refuse,
    /// It asks, and the answer is the end of its input.
    AskInVain,
    /// It succeeds without having run anything.
    Nothing,
}

/// A release.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    text: String,
    number: (u32, u32, u32),
}

impl Version {
    /// `2.1.4`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().trim_start_matches('v').split('.').map(|part| part.parse().ok());
        let number = (parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then(|| Self { text: text.trim().trim_start_matches('v').to_owned(), number })
    }

    /// The newest one played.
    pub(crate) fn newest() -> Self {
        Self { text: NEWEST.to_owned(), number: (2, 2, 0) }
    }

    /// As `--version` gives it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn from(&self, major: u32, minor: u32, patch: u32) -> bool {
        self.number >= (major, minor, patch)
    }

    /// Whether it has what appeared with this release.
    pub(crate) fn since(&self, major: u32, minor: u32) -> bool {
        self.from(major, minor, 0)
    }

    pub(crate) fn root_refusal(&self) -> RootRefusal {
        match () {
            () if self.from(2, 1, 0) => RootRefusal::Everything,
            () if self.from(2, 0, 0) => RootRefusal::Panic,
            () => RootRefusal::Commands,
        }
    }

    pub(crate) fn stopped_shell(&self) -> StoppedShell {
        match () {
            () if self.from(2, 1, 0) || !self.from(1, 1, 0) => StoppedShell::Refuse,
            () if self.from(2, 0, 3) => StoppedShell::Nothing,
            () => StoppedShell::AskInVain,
        }
    }

    /// A name in a message.
    pub(crate) fn quote(&self, text: &str) -> String {
        if self.from(2, 1, 4) { quoting::back(text) } else { quoting::double(text) }
    }

    /// Whether the errors of instances stand in JSON as texts; before they were empty objects.
    pub(crate) fn tells_errors(&self) -> bool {
        self.from(2, 0, 0)
    }

    /// Whether a directory without `lima.yaml` is one broken instance; before, it broke `list` for all.
    pub(crate) fn lists_strays(&self) -> bool {
        self.from(2, 2, 0)
    }

    /// Whether `list` fails over an unknown name even where there are no instances at all.
    pub(crate) fn always_misses(&self) -> bool {
        self.from(1, 1, 0)
    }

    /// What the guest's home ends in.
    pub(crate) fn home_suffix(&self) -> &'static str {
        if self.from(2, 1, 0) { "guest" } else { "linux" }
    }

    /// How the guest's shell is told to be a login shell.
    pub(crate) fn login_flag(&self) -> &'static str {
        if self.from(2, 0, 0) { "-l" } else { "--login" }
    }

    /// Whether `shell` goes to the host's directory only where a mount holds it; before, one mount was enough to try.
    pub(crate) fn looks_into_mounts(&self) -> bool {
        self.from(2, 0, 0)
    }

    /// The files of the disk.
    pub(crate) fn disks(&self) -> &'static [&'static str] {
        if self.from(2, 2, 0) { &["image", "disk"] } else { &["basedisk", "diffdisk"] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_number() {
        let version = |text| Version::parse(text).unwrap();
        assert!(Version::parse("2.1").is_none() && Version::parse("x").is_none());
        assert_eq!(version("1.10.0").home_suffix(), "linux");
        assert_eq!(version("2.1.0").quote("n"), "\"n\"");
        assert_eq!(version("2.1.4").quote("n"), "`n`");
        assert!(matches!(version("2.0.3").stopped_shell(), StoppedShell::Nothing));
        assert!(matches!(version("2.0.2").stopped_shell(), StoppedShell::AskInVain));
    }
}
