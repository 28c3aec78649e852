//! When a failed attempt is repeated.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const MOST_ATTEMPTS: u16 = 1000;
const LONGEST_WAIT_MS: u64 = 86_400_000;

/// Exponential backoff with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    pub max_attempts: u16,
    pub base_ms: u64,
    pub factor: f64,
    pub max_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 5, base_ms: 1000, factor: 2.0, max_ms: 300_000 }
    }
}

impl RetryPolicy {
    /// How long to wait after `attempt` (from 1) failed: a random share of the backoff, added to
    /// what the answer asked for, and never more than the policy's maximum.
    pub fn delay(&self, attempt: u16, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let max = Duration::from_millis(self.max_ms);
        let steps = i32::from(attempt.saturating_sub(1));
        let backoff_ms = (self.base_ms as f64 * self.factor.powi(steps)).min(self.max_ms as f64);
        let share = backoff_ms * jitter.clamp(0.0, 1.0) / 1000.0;
        // Not a number or beyond a Duration: the longest wait is the safe one.
        let backoff = Duration::try_from_secs_f64(share).unwrap_or(max);
        retry_after.unwrap_or(Duration::ZERO).saturating_add(backoff).min(max)
    }

    /// What is wrong with the policy: the field at fault and what to do about it.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if !(1..=MOST_ATTEMPTS).contains(&self.max_attempts) {
            faults.push(("max_attempts", format!("must be 1 to {MOST_ATTEMPTS}")));
        }
        if !(1.0..=100.0).contains(&self.factor) {
            faults.push(("factor", format!("must be 1 to 100, not {}", self.factor)));
        }
        if self.max_ms > LONGEST_WAIT_MS {
            faults.push(("max_ms", format!("must be {LONGEST_WAIT_MS} (a day) or less")));
        }
        if self.base_ms > self.max_ms {
            faults
                .push(("base_ms", format!("{} is more than max_ms {}; lower it", self.base_ms, self.max_ms)));
        }
        faults
    }
}
