//! `workmux plugin …`: what is installed and trusted, and what the user puts in and takes out.

use std::io::IsTerminal as _;
use std::path::Path;

use color_eyre::eyre::{Report, Result, WrapErr as _};
use workmux_plugin_api::Capability;

use crate::cli::PluginCommand;
use crate::config;
use crate::error::{Failure, hinted};
use crate::kit::{self, Wish};
use crate::launch::registry;
use crate::plugins::{Registry, Rejection, inspect};
use crate::surroundings::Surroundings;
use crate::text::{line, quote};
use crate::{routing, runs};

/// Runs one of them.
pub(super) fn run(command: PluginCommand) -> Result<u8, Failure> {
    let registry = registry()?;
    match command {
        PluginCommand::List { json: false } => crate::ui::print(&inspect::list(&registry)),
        PluginCommand::List { json: true } => {
            let list = serde_json::to_string_pretty(&inspect::list_json(&registry)).map_err(Report::new)?;
            crate::ui::print(&list);
        }
        PluginCommand::Info { name } => {
            let facts = inspect::info(&registry, &name).map_err(routing::report)?;
            let schema = registry.manifest(&name).map_err(routing::report)?.config;
            crate::ui::print(&format!("{facts}\n{}", config::described(&name, &schema)));
        }
        PluginCommand::Check { subject, only, json, junit } => {
            let wish = Wish { subject, only };
            let surroundings = Surroundings::read()?;
            let report = kit::check(&wish, &surroundings, &mut |tried| {
                if !json {
                    crate::ui::print(&kit::line(tried));
                }
            })?;
            if let Some(path) = junit {
                let written = std::fs::write(&path, report.junit());
                written.wrap_err_with(|| format!("cannot write {}", quote(path.as_os_str())))?;
            }
            let text = if json { serde_json::to_string_pretty(&report.json()) } else { Ok(report.summary()) };
            crate::ui::print(&text.map_err(Report::new)?);
            return Ok(u8::from(!report.is_good()));
        }
        PluginCommand::Trust { path, remove: false } => {
            let manifest = registry.confirm(&path).map_err(routing::report)?;
            crate::ui::print(&format!(
                "✓ Trusted backend '{}' {} as it is now",
                manifest.name,
                line(&manifest.version)
            ));
        }
        PluginCommand::Trust { path, remove: true } => {
            let shown = line(&path.to_string_lossy());
            let was = registry.distrust(&path).map_err(|why| refused("stop trusting", &shown, why))?;
            crate::ui::print(&if was {
                format!("✓ '{shown}' is not used any more until you trust it again")
            } else {
                format!("You had not trusted '{shown}'")
            });
        }
        PluginCommand::Install { path, force } => install(&registry, &path, force)?,
        PluginCommand::Remove { name, yes } => remove(&registry, &name, yes)?,
    }
    Ok(0)
}

fn install(registry: &Registry, path: &Path, force: bool) -> Result<()> {
    let shown = line(&path.to_string_lossy());
    let installed = registry.install(path, force).map_err(|why| refused("install", &shown, why))?;
    let (name, version) = (&installed.manifest.name, line(&installed.manifest.version));
    let file = line(&installed.path.to_string_lossy());
    crate::ui::print(&if installed.unchanged {
        format!("Backend '{name}' {version} is installed and trusted already: '{file}'")
    } else {
        format!("✓ Installed backend '{name}' {version}, trusted as it is now: '{file}'")
    });
    if let Some(hidden) = &installed.hides {
        crate::ui::print(&format!("  It takes the place of '{}'", line(&hidden.to_string_lossy())));
    }
    if let Some(first) = &installed.hidden_by {
        let first = line(&first.to_string_lossy());
        crate::ui::warning(&format!("it is not used: '{first}' is found first (WORKMUX_PLUGIN_PATH)"));
    }
    Ok(())
}

fn remove(registry: &Registry, name: &str, yes: bool) -> Result<()> {
    let shown = line(name);
    let removal = registry.removal(name).map_err(|why| refused("remove the backend", &shown, why))?;
    let surroundings = Surroundings::read()?;
    let live = runs::live(&surroundings.state);
    if let Some((_, run)) = live.iter().find(|(_, run)| run.backend == name) {
        let worktree = run.worktree.to_string_lossy();
        return Err(hinted(
            format!("cannot remove the backend '{shown}': a sandbox of it is running, of '{}'", line(&worktree)),
            format!("end what runs there, then: workmux plugin remove {shown}"),
        ));
    }
    crate::ui::print("To be removed:");
    for file in &removal.files {
        crate::ui::print(&format!("  {}", line(&file.to_string_lossy())));
    }
    if runs::perhaps_live(&surroundings.state).iter().any(|run| run.backend == name) {
        crate::ui::warning("a run was killed and may have left a sandbox, which only this backend can clean up");
    }
    if removal.manifest.as_ref().is_some_and(|manifest| manifest.capabilities.contains(&Capability::Instances)) {
        crate::ui::note(&format!("sandboxes that it keeps would stay: workmux sandbox prune --backend {shown}"));
    }
    if !yes {
        if !std::io::stdin().is_terminal() {
            let again = format!("workmux plugin remove --yes {}", quote(name.as_ref()));
            return Err(hinted(format!("nobody is there to say that '{shown}' may be removed"), again));
        }
        if !crate::ui::confirm("Remove it?") {
            crate::ui::print("Aborted.");
            return Ok(());
        }
    }
    registry.remove(&removal).map_err(|why| refused("remove the backend", &shown, why))?;
    crate::ui::print(&format!("✓ Removed backend '{shown}'"));
    if let Some(instead) = &removal.instead {
        crate::ui::print(&format!("  From now on '{}' is used", line(&instead.to_string_lossy())));
    }
    Ok(())
}

fn refused(what: &str, shown: &str, why: Rejection) -> Report {
    let message = format!("cannot {what} '{shown}': {why}");
    match why.fix {
        Some(fix) => hinted(message, fix),
        None => Report::msg(message),
    }
}
