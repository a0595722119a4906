//! What cargo and rustc say about this checkout: where it is, where builds go, what its packages are.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Result;
use crate::process;

/// This checkout, as cargo sees it.
pub(crate) struct Workspace {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Where builds go.
    pub(crate) target: PathBuf,
    /// The triple we build for: this machine's.
    pub(crate) triple: String,
    /// Its packages.
    pub(crate) packages: Vec<Package>,
}

/// One package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its folder, relative to the checkout.
    pub(crate) folder: PathBuf,
    pub(crate) features: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let text = process::output(cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
        let metadata: Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata is not JSON: {e}"))?;
        let path = |key: &str| metadata[key].as_str().map(PathBuf::from).ok_or(format!("cargo metadata has no {key}"));
        let (root, target) = (path("workspace_root")?, path("target_directory")?);
        let packages = metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|package| {
                let manifest = Path::new(package["manifest_path"].as_str()?);
                Some(Package {
                    name: package["name"].as_str()?.to_owned(),
                    folder: manifest.parent()?.strip_prefix(&root).ok()?.to_owned(),
                    features: package["features"].as_object()?.keys().cloned().collect(),
                })
            })
            .collect();
        let rustc = process::output(Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into())).arg("-vV"))?;
        let triple = rustc.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
        Ok(Self { root, target, triple: triple.to_owned(), packages })
    }

    /// The architecture, as it names the guest program's folder.
    pub(crate) fn arch(&self) -> &str {
        self.triple.split('-').next().unwrap_or_default()
    }

    /// The packages that lie below `folder`.
    pub(crate) fn below(&self, folder: &str) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(move |p| p.folder.starts_with(folder))
    }

    /// Whether a package of this name has this feature.
    pub(crate) fn has_feature(&self, package: &str, feature: &str) -> bool {
        self.packages.iter().any(|p| p.name == package && p.features.iter().any(|f| f == feature))
    }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    // `cargo xtask` works from any folder of the checkout; what it starts always begins at the root.
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")));
    cargo
}
