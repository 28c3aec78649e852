//! Delays that differ between processes and between topics, so that a thousand retries do not come at once.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

/// Keyed by the process; the delays only need to be spread, not to be unpredictable.
#[derive(Clone, Default)]
pub(crate) struct Jitter(RandomState);

impl Jitter {
    /// Between 0 and 1, steady for the same key.
    pub(crate) fn fraction(&self, key: impl Hash) -> f64 {
        (self.0.hash_one(key) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Exponential from `base` to `max`, then somewhere between half of that and the whole.
    pub(crate) fn backoff(&self, key: impl Hash, attempt: u32, base: Duration, max: Duration) -> Duration {
        let whole = base.saturating_mul(1 << attempt.min(16)).min(max);
        whole.mul_f64(0.5 + 0.5 * self.fraction((key, attempt)))
    }

    /// Anywhere in `[0, span)`.
    pub(crate) fn within(&self, key: impl Hash, span: Duration) -> Duration {
        span.mul_f64(self.fraction(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_grows_and_stays_below_its_maximum() {
        let jitter = Jitter::default();
        let (base, max) = (Duration::from_millis(100), Duration::from_secs(10));
        for attempt in 0..40 {
            let delay = jitter.backoff("topic", attempt, base, max);
            assert!(delay <= max && delay >= base / 2, "{attempt}: {delay:?}");
        }
        assert!(jitter.backoff("topic", 20, base, max) >= max / 2);
    }
}
