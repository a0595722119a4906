//! Guards that a test of workmux can switch off, to show that the test is able to fail: the plugin's half of
//! `host/src/mutant.rs`. Without the feature `mutants`, which is not for backends, the answer is a constant `false`.

/// Whether the guard of this name is switched off in this process.
#[cfg(feature = "mutants")]
pub(crate) fn off(guard: &str) -> bool {
    std::env::var("WORKMUX_MUTANT").unwrap_or_default().split(',').any(|name| name == guard)
}

/// Whether the guard of this name is switched off in this process: never, in this build.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub(crate) const fn off(_guard: &str) -> bool {
    false
}
