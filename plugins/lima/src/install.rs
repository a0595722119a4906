//! `install-dev`: a guest program of the user's own in every machine that runs, in the place of the host's.
//!
//! It goes through the machine's read-only export, so that nothing is sent over `ssh`, and is put in its place as one step:
//! a program that runs cannot be overwritten.

use workmux_plugin_api::{Context, Error, ErrorKind, Install, InstallRequest, Installed, Result, async_trait};

use crate::exports::Export;
use crate::files::Files;
use crate::limactl::{self, Listed, Status};
use crate::record::Kept;
use crate::{Lima, machine, name, ssh};

/// Into the homes of the machine's user and of its sandboxes. `$1` is the program.
const SCRIPT: &str = r#"set -eu
for home in "$HOME" "$HOME/.workmux/home"; do
    mkdir -p "$home/.local/bin"
    # Sandboxes can put links into theirs.
    cd "$home/.local/bin" && test "$(pwd -P)" = "$(cd "$HOME" && pwd -P)${home#"$HOME"}/.local/bin"
    rm -rf "$home/.local/bin/.workmux.new"
    install -m 755 "$1" "$home/.local/bin/.workmux.new"
    mv -f "$home/.local/bin/.workmux.new" "$home/.local/bin/workmux"
done
touch "$HOME/.workmux/developed"
"#;

#[async_trait]
impl Install for Lima {
    async fn install(&self, cx: &Context, request: InstallRequest) -> Result<Vec<Installed>> {
        if cx.tool(limactl::LIMACTL).is_none() {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for found in limactl::list(cx, None).await? {
            let kept = Kept::of(cx.state_dir(), &found.name);
            let ours = found.name.starts_with(name::PREFIX) && machine::is_ours(&found, &kept);
            if ours && found.status == Status::Running {
                let place = format!("machine '{}'", found.name);
                all.push(Installed { place, outcome: into(cx, &kept, &found, &request).await });
            }
        }
        Ok(all)
    }
}

async fn into(cx: &Context, kept: &Kept, found: &Listed, request: &InstallRequest) -> Result<()> {
    let _held = kept.hold(cx).await?;
    let files = kept.files();
    let program = Files::program(&request.program)?;
    files.put(&program)?;
    let host = Export { location: files.root().to_owned(), writable: false }.mount_point();
    let words = ["sh".to_owned(), "-s".into(), "--".into(), host.join(&program.name).to_string_lossy().into_owned()];
    let output = ssh::script(cx, &found.ssh_config, &found.dir, &found.name, &words, SCRIPT.to_owned()).await?;
    if output.code != Some(0) {
        let mut error = Error::new(ErrorKind::ToolFailed, format!("nothing could be installed in '{}'", found.name))
            .hint(format!("look at it: limactl shell {}", found.name));
        error.causes.extend(output.stderr.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned));
        return Err(error);
    }
    if let Some(mut record) = kept.load() {
        record.developed = true;
        kept.save(&record)?;
    }
    Ok(())
}
