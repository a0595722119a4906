//! `sandbox init-dockerfile`: the build as a file for the user to change. `new_file` writes it.

use super::Target;
use crate::error::{Failure, from_backend};
use crate::new_file::NewFile;
use crate::routing::INIT_DOCKERFILE;
use crate::surroundings::Surroundings;
use crate::text::{line, quote};

/// The command; the answer is its exit code.
pub(crate) fn recipe(force: bool, flag: Option<&str>, surroundings: &Surroundings) -> Result<u8, Failure> {
    Ok(crate::task::run(async {
        let target = Target::find(INIT_DOCKERFILE, flag, surroundings).await?;
        let recipe = target.backend.recipe(target.request).await.map_err(|e| from_backend(&e))?;
        let file = NewFile {
            path: &surroundings.cwd.join(&recipe.file),
            shown: format!("'{}'", line(&recipe.file)),
            mode: 0o644,
            again: "workmux sandbox init-dockerfile --force",
        };
        file.write(&recipe.text, force)?;
        crate::ui::print(&format!(
            "✓ {}\n\nNext:\n  1. Change it to your needs.\n  2. Build it: {}\n  3. Use it, in your own file {}:\n\n     sandbox:\n       \
             enabled: true\n       image: {}\n",
            recipe.file,
            recipe.build,
            quote(&surroundings.config_home.join("workmux/config.yaml").into_os_string()),
            recipe.image,
        ));
        Ok(0)
    })?)
}
