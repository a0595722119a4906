//! Finds the program that goes into every sandbox.

use std::path::{Path, PathBuf};

use color_eyre::eyre::Result;

use crate::error::hinted;
use crate::surroundings::Surroundings;

/// Where the guest program is: `$WORKMUX_GUEST`, beside this executable, or under its prefix.
///
/// # Errors
/// None is there: the installation is incomplete.
pub(super) fn find(surroundings: &Surroundings) -> Result<PathBuf> {
    if let Some(chosen) = std::env::var_os("WORKMUX_GUEST").map(PathBuf::from) {
        if chosen.is_absolute() && chosen.is_file() {
            return Ok(chosen);
        }
        return Err(hinted(
            format!("WORKMUX_GUEST names {}, which is no file", crate::text::quote(chosen.as_os_str())),
            "unset it, or set it to the guest program's absolute path",
        ));
    }
    let directory = surroundings.executable.parent().unwrap_or(Path::new("/"));
    let prefix = directory.parent().unwrap_or(Path::new("/"));
    [
        directory.join("workmux-guest"),
        prefix.join("lib/workmux/guest").join(std::env::consts::ARCH).join("workmux"),
    ]
    .into_iter()
    .find(|path| path.is_file())
    .ok_or_else(|| {
        hinted(
            format!("the guest program is missing beside {}", crate::text::quote(surroundings.executable.as_os_str())),
            "install workmux completely: cargo xtask install --prefix ~/.local (or, in a checkout: cargo xtask build)",
        )
    })
}
