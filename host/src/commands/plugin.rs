//! `workmux plugin …`: what is installed, and what is trusted.

use color_eyre::eyre::{Report, WrapErr as _};

use crate::cli::PluginCommand;
use crate::error::Failure;
use crate::kit::{self, Wish};
use crate::launch::registry;
use crate::plugins::inspect;
use crate::routing;
use crate::surroundings::Surroundings;

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
            crate::ui::print(&inspect::info(&registry, &name).map_err(routing::report)?);
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
                written.wrap_err_with(|| format!("cannot write {}", crate::text::quote(path.as_os_str())))?;
            }
            let text = if json { serde_json::to_string_pretty(&report.json()) } else { Ok(report.summary()) };
            crate::ui::print(&text.map_err(Report::new)?);
            return Ok(u8::from(!report.is_good()));
        }
        PluginCommand::Trust { path } => {
            let manifest = registry.confirm(&path).map_err(routing::report)?;
            crate::ui::print(&format!(
                "✓ Trusted backend '{}' {} as it is now",
                manifest.name,
                crate::text::line(&manifest.version)
            ));
        }
    }
    Ok(0)
}
