//! What the user is told of an import, wherever it happened: at the end of a run, or for a run that was killed.

use crate::git::Imported;

/// Tells the user what needs their attention.
pub(super) fn report(imported: &Imported) {
    for conflict in &imported.conflicts {
        crate::ui::warning(&conflict.to_string());
    }
    for warning in &imported.warnings {
        crate::ui::warning(warning);
    }
    for note in &imported.notes {
        crate::ui::note(note);
    }
    if let Some(kept) = &imported.kept {
        crate::ui::note(&format!("the sandbox's git directory is kept in {}", crate::text::quote(kept.as_os_str())));
    }
}
