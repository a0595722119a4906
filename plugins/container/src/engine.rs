//! Which engine runs the containers, and how the two differ.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use workmux_plugin_api::{Context, Error, ErrorKind, Result};

use crate::settings::{Runtime, Table};

const INSTALL: &str = "install one: apt-get install docker.io, or: apt-get install podman (Debian, Ubuntu); or name \
                       another backend with --backend";

/// An engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Engine {
    #[default]
    Docker,
    Podman,
}

impl Engine {
    /// The configured one, else the first that is installed. Presence decides, never health.
    pub(crate) fn choose<'a>(table: &Table, tool: impl Fn(&str) -> Option<&'a Path>) -> Result<Self> {
        let wanted = match table.runtime {
            Some(Runtime::Docker) => Some(Self::Docker),
            Some(Runtime::Podman) => Some(Self::Podman),
            None => [Self::Docker, Self::Podman].into_iter().find(|engine| tool(engine.name()).is_some()),
        };
        match wanted {
            Some(engine) if tool(engine.name()).is_some() => Ok(engine),
            Some(engine) => Err(engine.missing()),
            None => Err(Error::new(ErrorKind::MissingTool, "neither 'docker' nor 'podman' is installed").hint(INSTALL)),
        }
    }

    /// As its program is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// Where its program is.
    pub(crate) fn program(self, cx: &Context) -> Result<PathBuf> {
        cx.tool(self.name()).map(Path::to_owned).ok_or_else(|| self.missing())
    }

    fn missing(self) -> Error {
        let name = self.name();
        let package = if self == Self::Docker { "docker.io" } else { "podman" };
        Error::new(ErrorKind::MissingTool, format!("'{name}' is not installed or not on PATH"))
            .hint(format!("install it: apt-get install {package}, or set 'sandbox.container.runtime'"))
    }

    /// Whether containers run in the user's own user namespace, without the help of a daemon or of root.
    pub(crate) fn is_rootless(self) -> bool {
        self == Self::Podman && !nix::unistd::geteuid().is_root()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_decides_and_the_configured_one_is_never_replaced() {
        let installed = |names: &'static [&'static str]| {
            move |name: &str| names.contains(&name).then(|| Path::new("/usr/bin/engine"))
        };
        let any = Table::default();
        assert_eq!(Engine::choose(&any, installed(&["docker", "podman"])).unwrap(), Engine::Docker);
        assert_eq!(Engine::choose(&any, installed(&["podman"])).unwrap(), Engine::Podman);
        assert!(Engine::choose(&any, installed(&[])).unwrap_err().hint.unwrap().contains("podman"));
        let docker = Table { runtime: Some(Runtime::Docker), ..Table::default() };
        let error = Engine::choose(&docker, installed(&["podman"])).unwrap_err();
        assert!(error.kind == ErrorKind::MissingTool && error.message.contains("'docker'"), "{error}");
    }
}
