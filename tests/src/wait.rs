//! Waiting for something that gives no event: often enough to be quick, never without end.

use std::time::{Duration, Instant};

/// How long a test waits for what must happen. Only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` sees something.
///
/// # Panics
/// When [`PATIENCE`] is over, with `what` was waited for.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "waited {} s for {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `look` says yes.
///
/// # Panics
/// As [`wait_for`].
pub fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    wait_for(what, || look().then_some(()));
}
