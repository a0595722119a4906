//! How images are made: the recipes, one for the base and one for each agent, and the file that has both.

use workmux_plugin_api::{Error, ErrorKind, Recipe, Result};

use crate::engine::Engine;

/// What all agents need. Its last line is [`PROGRAM`].
pub(super) const BASE: &str = include_str!("../../recipes/base.dockerfile");
/// The place for the guest program.
pub(super) const PROGRAM: &str = "# (the guest program)\n";
/// Where an agent's recipe says what it builds on.
const STANDS_ON: &str = "ARG BASE=localhost/workmux-sandbox-base\nFROM ${BASE}\n";
/// What users' own images are called until they think of a better name.
const OWN: &str = "my-sandbox";

const OPTIONAL_PROGRAM: &str = "\
# Each sandbox brings the workmux that fits its host. To have one in the image as well, put the guest program of your
# installation (PREFIX/lib/workmux/guest/ARCHITECTURE/workmux) beside this file and remove the '#':
# COPY workmux /usr/local/bin/workmux
";

/// One agent's recipe.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

const AGENTS: [Agent; 6] = [
    Agent { name: "claude", text: include_str!("../../recipes/claude.dockerfile") },
    Agent { name: "codex", text: include_str!("../../recipes/codex.dockerfile") },
    Agent { name: "gemini", text: include_str!("../../recipes/gemini.dockerfile") },
    Agent { name: "opencode", text: include_str!("../../recipes/opencode.dockerfile") },
    Agent { name: "pi", text: include_str!("../../recipes/pi.dockerfile") },
    Agent { name: "omp", text: include_str!("../../recipes/omp.dockerfile") },
];

/// The agent's recipe.
pub(super) fn of(agent: &str) -> Result<&'static Agent> {
    AGENTS.iter().find(|known| known.name == agent).ok_or_else(|| {
        let names: Vec<_> = AGENTS.iter().map(|agent| agent.name).collect();
        Error::new(ErrorKind::Unsupported, format!("there is no recipe for the agent '{agent}'")).hint(format!(
            "recipes are there for {}; for another agent, make an image of your own and set 'sandbox.image'",
            names.join(", ")
        ))
    })
}

/// Both stages as one file.
pub(super) fn whole(agent: &Agent, engine: Engine) -> Recipe {
    let base = BASE.replace(PROGRAM, OPTIONAL_PROGRAM);
    let rest = agent.text.replacen(STANDS_ON, "", 1);
    Recipe {
        file: "Dockerfile.sandbox".into(),
        text: format!("{}\n\n# Agent: {}\n\n{}\n", base.trim_end(), agent.name, rest.trim()),
        build: format!("{} build -t {OWN} -f Dockerfile.sandbox .", engine.name()),
        image: OWN.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_fits_behind_the_base() {
        assert!(BASE.ends_with(PROGRAM) && BASE.contains("\nFROM debian:trixie-slim\n"));
        for agent in &AGENTS {
            assert!(agent.text.starts_with(STANDS_ON), "{}", agent.name);
            let whole = whole(agent, Engine::Podman);
            let starts = |word: &str| whole.text.lines().filter(|line| line.starts_with(word)).count();
            assert_eq!((starts("FROM "), starts("ARG BASE"), starts("COPY ")), (1, 0, 0), "{}", agent.name);
            assert!(whole.text.contains("/usr/local/bin/") && whole.text.ends_with("\n") && !whole.text.contains("<<"));
            assert_eq!(whole.build, "podman build -t my-sandbox -f Dockerfile.sandbox .");
        }
        assert!(of("vibe").unwrap_err().hint.unwrap().contains("claude, codex, gemini, opencode, pi, omp"));
    }
}
