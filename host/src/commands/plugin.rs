//! `workmux plugin …`: what is installed, and what is trusted.

use color_eyre::eyre::Report;

use crate::cli::PluginCommand;
use crate::error::Failure;
use crate::launch::registry;
use crate::plugins::inspect;
use crate::routing;

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
