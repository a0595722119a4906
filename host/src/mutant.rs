//! Guards that a test can switch off, to show that the test is able to fail.
//!
//! A guard asks `mutant::off("p14_links")` and skips itself when that is true. In a release build the feature
//! `mutants` is absent and the answer is a constant `false`; with it, `WORKMUX_MUTANT` holds the names (comma
//! separated) of the guards to skip. `tests` checks that a release binary does not contain the variable's name.

/// Whether the guard of this name is switched off in this process.
#[cfg(feature = "mutants")]
pub fn off(guard: &str) -> bool {
    static OFF: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    OFF.get_or_init(|| std::env::var("WORKMUX_MUTANT").unwrap_or_default()).split(',').any(|name| name == guard)
}

/// Whether the guard of this name is switched off in this process: never, in this build.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn off(_guard: &str) -> bool {
    false
}

/// What the guest program needs in its environment to skip the same guards.
#[cfg(feature = "mutants")]
pub fn for_guest() -> Vec<(String, workmux_plugin_api::Word)> {
    let off = std::env::var_os("WORKMUX_MUTANT").map(|off| ("WORKMUX_MUTANT".to_owned(), off.into()));
    off.into_iter().collect()
}

/// What the guest program needs in its environment to skip the same guards: nothing, in this build.
#[cfg(not(feature = "mutants"))]
pub const fn for_guest() -> Vec<(String, workmux_plugin_api::Word)> {
    Vec::new()
}
