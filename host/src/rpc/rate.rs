//! How often something may happen.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::limits::Rate;

/// A bucket that fills at a steady rate up to its burst; each use takes one from it.
pub(super) struct Bucket {
    rate: Rate,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, state: Mutex::new((f64::from(rate.burst), Instant::now())) }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let refilled = state.0 + now.duration_since(state.1).as_secs_f64() * self.rate.per_second;
        *state = (refilled.min(f64::from(self.rate.burst)), now);
        let some = state.0 >= 1.0;
        if some {
            state.0 -= 1.0;
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p40_a_burst_then_the_steady_rate() {
        let bucket = Bucket::new(Rate { burst: 40, per_second: 20.0 });
        assert_eq!((0..100).filter(|_| bucket.take()).count(), 40);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!((0..100).filter(|_| bucket.take()).count(), 10);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((0..100).filter(|_| bucket.take()).count(), 40);
    }
}
