//! Latencies in microseconds, kept in a histogram of three significant digits.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        // Unwrap safety: three digits is inside the range (0 to 5) that the histogram takes.
        Self(Histogram::new(3).expect("three significant digits"))
    }
}

impl Latencies {
    pub fn record(&mut self, micros: u64) {
        self.0 += micros.max(1);
    }

    pub fn summary(&self) -> Summary {
        Summary {
            count: self.0.len(),
            p50: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            max: self.0.max(),
        }
    }
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub count: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |micros: u64| micros as f64 / 1000.0;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", ms(self.p50), ms(self.p99), ms(self.max))
    }
}
