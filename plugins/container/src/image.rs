//! What a container starts from, and what an agent needs in one: this backend's own table of agents.

use workmux_plugin_api::{Error, ErrorKind, Image, Result};

use crate::settings::Table;

/// The published images; the agent's name is the tag.
pub(crate) const OFFICIAL: &str = "ghcr.io/raine/workmux-sandbox";

/// One agent in a container.
pub(crate) struct Agent {
    name: &'static str,
    /// A directory of its settings that does not lie below the guest's home: as the host says it, and where it is.
    pub(crate) elsewhere: Option<(&'static str, &'static str)>,
    /// Variables it needs.
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// Directories that are memory: kept apart from what is shared with the host below the same parent.
    pub(crate) memory: &'static [&'static str],
}

const PLAIN: Agent = Agent { name: "", elsewhere: None, env: &[], memory: &[] };

/// The agents with a published image.
const AGENTS: &[Agent] = &[
    // Where a user lets root run it, it would refuse to work without questions, unless it is told where it is.
    Agent { name: "claude", env: &[("IS_SANDBOX", "1")], ..PLAIN },
    Agent {
        name: "codex",
        elsewhere: Some(("~/.codex", "/home/user/.codex")),
        env: &[("CODEX_HOME", "/home/user/.codex")],
        ..PLAIN
    },
    Agent { name: "gemini", ..PLAIN },
    Agent { name: "opencode", memory: &["/tmp/.local/state"], ..PLAIN },
    Agent { name: "pi", ..PLAIN },
    Agent { name: "omp", ..PLAIN },
];

/// What is special about an agent here; nothing for those without a published image.
pub(crate) fn agent(name: &str) -> &'static Agent {
    AGENTS.iter().find(|agent| agent.name == name).unwrap_or(&PLAIN)
}

/// The configured image, else the published one of the agent.
pub(crate) fn choose(configured: Option<&str>, agent: &str, table: &Table) -> Result<Image> {
    let repository = table.repository.as_deref().unwrap_or(OFFICIAL);
    if let Some(image) = configured {
        // A colon before a path would name a file of this machine to podman.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        let odd = !image.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !image.chars().all(plain)
            || image.contains(":/");
        return if odd {
            Err(Error::new(ErrorKind::InvalidSettings, format!("'{image}' is not the name of an image"))
                .hint("set 'sandbox.image' to a name such as 'my-sandbox' or 'registry.example/sandbox:1'"))
        } else {
            let rest = image.strip_prefix(repository);
            let published = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']));
            Ok(Image { name: image.to_owned(), published })
        };
    }
    if AGENTS.iter().any(|known| known.name == agent) {
        return Ok(Image { name: format!("{repository}:{agent}"), published: true });
    }
    let names: Vec<_> = AGENTS.iter().map(|agent| agent.name).collect();
    Err(Error::new(ErrorKind::InvalidSettings, format!("there is no published image for the agent '{agent}'"))
        .hint(format!("set 'sandbox.image'; published ones are there for {}", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_image_wins_and_an_unknown_agent_needs_one() {
        let table = Table::default();
        let choose = |configured, agent| choose(configured, agent, &table);
        let name = |configured, agent| choose(configured, agent).unwrap().name;
        assert_eq!(name(Some("my-sandbox"), "claude"), "my-sandbox");
        assert_eq!(name(None, "claude"), format!("{OFFICIAL}:claude"));
        assert!(choose(None, "default").unwrap_err().hint.unwrap().contains("'sandbox.image'"));
        for odd in ["", "--privileged", "a b", "a\nb", "../x", "dir:/tmp", "docker://x/y", "$(id)"] {
            assert!(choose(Some(odd), "claude").is_err(), "{odd:?}");
        }
    }

    #[test]
    fn published_is_what_comes_from_the_repository_or_its_mirror() {
        let published = |image: &str, table: &Table| choose(Some(image), "claude", table).unwrap().published;
        let usual = Table::default();
        for (rest, expected) in
            [("", true), (":claude", true), ("@sha256:1", true), ("-fork:claude", false), ("/x", false)]
        {
            assert_eq!(published(&format!("{OFFICIAL}{rest}"), &usual), expected, "{rest}");
        }
        let mirror = Table { repository: Some("registry.example/mirror".into()), ..Table::default() };
        assert_eq!(choose(None, "pi", &mirror).unwrap().name, "registry.example/mirror:pi");
        assert!(published("registry.example/mirror:pi", &mirror) && !published(&format!("{OFFICIAL}:pi"), &mirror));
    }
}
