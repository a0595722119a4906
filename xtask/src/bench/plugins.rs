//! A command with twenty more backends installed, against none.

use std::path::{Path, PathBuf};

use super::home::Home;
use super::pairs::{Gate, Pair};
use crate::build::Product;
use crate::workspace::Workspace;
use crate::{Result, install, process};

const LIMIT: Gate = Gate::Ratio(1.5);
const MANY: usize = 20;

/// The pairs.
pub(super) fn pairs(workspace: &Workspace, product: &Product, home: &Home, stage: &Path) -> Result<Vec<Pair>> {
    let prefix = |name: &str, count: usize| -> Result<PathBuf> {
        let prefix = stage.join(name);
        let bare = Product {
            plugins: vec![],
            others: vec![],
            limactl: None,
            host: product.host.clone(),
            guest: product.guest.clone(),
        };
        install::lay_out(workspace, &bare, &prefix)?;
        for number in 0..count {
            install_copy(product, &prefix.join("lib/workmux/plugins"), number)?;
        }
        Ok(prefix.join("bin/workmux"))
    };
    let (none, many) = (prefix("none", 0)?, prefix("many", MANY)?);
    let shown = process::output(home.command(&many).args(["plugin", "list"]))?;
    let listed = shown.lines().filter(|l| l.contains("plug-")).count();
    if listed != MANY {
        return Err(format!("{listed} of {MANY} backends are listed:\n{shown}"));
    }
    let list = |program: PathBuf| {
        let home = home.clone();
        let action = move || process::output(home.command(&program).args(["plugin", "list"])).map(drop);
        Box::new(action)
    };
    Ok(vec![Pair {
        name: "plugins: `plugin list` of 20, against none",
        plain: list(none),
        ours: list(many),
        gate: LIMIT,
        rounds: 50,
    }])
}

/// Installs the smallest backend under another name of the same length.
fn install_copy(product: &Product, folder: &Path, number: usize) -> Result<()> {
    const NAME: &[u8] = b"name = \"minimal\"";
    let library = product.others.iter().find(|l| l.to_string_lossy().contains("_minimal."));
    let library = library.ok_or("the smallest backend was not built")?;
    let fail = |e: std::io::Error| format!("could not copy '{}': {e}", library.display());
    let mut bytes = std::fs::read(library).map_err(fail)?;
    let at = bytes.windows(NAME.len()).position(|w| w == NAME).ok_or("its manifest names it in another way")?;
    let name = format!("plug-{number:02}");
    bytes[at + NAME.len() - 8..at + NAME.len() - 1].copy_from_slice(name.as_bytes());
    let copy = folder.join(format!("libworkmux_backend_{}{}", name.replace('-', "_"), std::env::consts::DLL_SUFFIX));
    std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&copy, bytes)).map_err(fail)?;
    install::put_backend(&copy, folder).map(drop)
}
