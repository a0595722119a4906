//! The kinds of sandbox that a test can run in: one backend on one engine.
//!
//! `on_every_sandbox!` makes one test for each out of a function that takes a [`Sandbox`], `on_every_engine!` one for
//! each container engine.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::engine::engine;
use crate::world::World;

/// A backend on an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// Linux namespaces.
    Bubblewrap,
    /// Containers of a docker daemon.
    Docker,
    /// The same, as if the daemon were in a virtual machine: guests reach the host over TCP.
    DockerTcp,
    /// Containers of root's podman.
    Podman,
    /// Containers of an ordinary user's podman.
    PodmanRootless,
    /// Machines of the stand-in for Lima.
    Lima,
}

/// What `cargo xtask test` says of an engine.
#[derive(Debug, Deserialize)]
pub(crate) struct Described {
    pub(crate) runtime: String,
    pub(crate) root: bool,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) image: String,
    /// Why it cannot be used, if it cannot.
    pub(crate) problem: Option<String>,
}

/// The engines that were made ready.
pub(crate) fn described(name: &str) -> Option<&'static Described> {
    static ALL: OnceLock<BTreeMap<String, Described>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let text = std::env::var("WORKMUX_TEST_ENGINES").unwrap_or_else(|_| "{}".into());
        serde_json::from_str(&text).expect("cargo xtask test describes the engines")
    });
    all.get(name)
}

impl Sandbox {
    /// As the ledger names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Docker => "docker",
            Self::DockerTcp => "docker-tcp",
            Self::Podman => "podman",
            Self::PodmanRootless => "podman-rootless",
            Self::Lima => "lima",
        }
    }

    /// Whether it works here, noted for the calling test.
    pub fn is_ready(self) -> bool {
        engine(self.name())
    }

    /// The backend's name.
    pub fn backend(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Lima => "lima",
            Self::Docker | Self::DockerTcp | Self::Podman | Self::PodmanRootless => "container",
        }
    }

    /// Whether its sandboxes are containers.
    pub fn is_container(self) -> bool {
        !matches!(self, Self::Bubblewrap | Self::Lima)
    }

    pub(crate) fn described(self) -> Option<&'static Described> {
        described(self.name())
    }

    /// The user's configuration that chooses it, with further keys of `sandbox` and of the backend's own table, each as
    /// `KEY: VALUE, KEY: VALUE`.
    pub fn configuration(self, more: &str, table: &str) -> String {
        self.configuration_of(self.described().map(|engine| engine.image.as_str()), more, table)
    }

    /// The same with this image, or with the backend's own choice.
    pub fn configuration_of(self, image: Option<&str>, more: &str, table: &str) -> String {
        let image = image.map(|image| format!("image: '{image}', ")).unwrap_or_default();
        let comma = |text: &str| if text.is_empty() { String::new() } else { format!(", {text}") };
        match self.described() {
            // Nobody in the stand-in is root, so that nothing could be installed. Its sandboxes are reached over the network.
            None if self == Self::Lima => format!(
                "sandbox: {{ backend: lima, {image}lima: {{ skip_default_provision: true, \
                 accept_reduced_git_metadata_isolation: true{} }}{} }}\n",
                comma(table),
                comma(&more.replace("policy: deny", "policy: allow"))
            ),
            None => {
                let table = if table.is_empty() { String::new() } else { format!(", bubblewrap: {{ {table} }}") };
                format!("sandbox: {{ backend: bubblewrap{}{table} }}\n", comma(more))
            }
            Some(engine) => format!(
                "sandbox: {{ backend: container, {image}container: {{ runtime: {}, allow_root: {}, rpc: {}{} }}{} }}\n",
                engine.runtime,
                engine.root,
                if self == Self::DockerTcp { "tcp" } else { "auto" },
                comma(table),
                comma(more)
            ),
        }
    }

    /// A world whose user chose it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn world(self) -> World {
        let world = World::on(self);
        world.configure("");
        world
    }
}

/// One test for each kind of sandbox: `NAME::bubblewrap`, `NAME::docker`, `NAME::podman`, `NAME::podman_rootless` and
/// `NAME::lima`, for functions that take a [`Sandbox`](crate::Sandbox).
#[macro_export]
macro_rules! on_every_sandbox {
    ($($name:ident),+ $(,)?) => {
        $crate::__on!(
            $($name),+:
            bubblewrap Bubblewrap, docker Docker, podman Podman, podman_rootless PodmanRootless, lima Lima
        );
    };
}

/// The same without Lima, for what its sandboxes cannot have.
#[macro_export]
macro_rules! on_every_sandbox_but_lima {
    ($($name:ident),+ $(,)?) => {
        $crate::__on!($($name),+: bubblewrap Bubblewrap, docker Docker, podman Podman, podman_rootless PodmanRootless);
    };
}

/// The same for container engines only.
#[macro_export]
macro_rules! on_every_engine {
    ($($name:ident),+ $(,)?) => {
        $crate::__on!($($name),+: docker Docker, podman Podman, podman_rootless PodmanRootless);
    };
}

/// The same for guests that reach the host over TCP: `over_tcp::NAME`.
#[macro_export]
macro_rules! over_tcp {
    ($($name:ident),+ $(,)?) => {
        mod over_tcp {
            $(
                #[test]
                fn $name() {
                    if $crate::Sandbox::DockerTcp.is_ready() {
                        super::$name($crate::Sandbox::DockerTcp);
                    }
                }
            )+
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __on {
    ($name:ident: $($test:ident $sandbox:ident),+) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    if $crate::Sandbox::$sandbox.is_ready() {
                        super::$name($crate::Sandbox::$sandbox);
                    }
                }
            )+
        }
    };
    ($name:ident, $($more:ident),+: $($tests:tt)+) => {
        $crate::__on!($name: $($tests)+);
        $crate::__on!($($more),+: $($tests)+);
    };
}
