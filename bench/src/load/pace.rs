//! When the next request is due.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Closed loop: due at once, until time or count is over. Open loop: request k is due at
/// start + k / rate whether or not the earlier ones have been answered, and is measured from
/// that time, so that a stall is charged to every request it delayed.
pub struct Pace {
    start: Instant,
    taken: Cell<u64>,
    count: u64,
    kind: Kind,
}

enum Kind {
    Closed { until: Instant },
    Open { interval: Duration, due: Arc<Semaphore> },
}

impl Pace {
    pub fn start(limit: Duration, rate: Option<u32>, count: Option<u64>) -> Self {
        let start = Instant::now();
        let count = count.unwrap_or(u64::MAX);
        let Some(rate) = rate else {
            return Self { start, taken: Cell::new(0), count, kind: Kind::Closed { until: start + limit } };
        };
        let count = count.min(u64::from(rate).saturating_mul(limit.as_secs()));
        let interval = Duration::from_secs(1) / rate;
        let due = Arc::new(Semaphore::new(0));
        let metronome = due.clone();
        // The runtime's timers tick by the millisecond, a sleeping thread by some 50 µs.
        std::thread::spawn(move || beat(start, interval, count, &metronome));
        Self { start, taken: Cell::new(0), count, kind: Kind::Open { interval, due } }
    }

    pub fn started(&self) -> Instant {
        self.start
    }

    /// The due time of the next request, when it has come; None when the run is over.
    pub async fn next(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Closed { until } => {
                let now = Instant::now();
                let taken = self.taken.get();
                (now < *until && taken < self.count).then(|| self.taken.set(taken + 1))?;
                Some(now)
            }
            Kind::Open { interval, due } => {
                due.acquire().await.ok()?.forget();
                let number = self.taken.get();
                self.taken.set(number + 1);
                if number + 1 == self.count {
                    due.close();
                }
                Some(self.start + due_after(*interval, number))
            }
        }
    }
}

fn due_after(interval: Duration, number: u64) -> Duration {
    Duration::from_nanos(u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).saturating_mul(number))
}

#[allow(clippy::disallowed_methods, reason = "a thread of its own, not one of the runtime's")]
fn beat(start: Instant, interval: Duration, count: u64, due: &Semaphore) {
    for number in 0..count {
        let at = start + due_after(interval, number);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        due.add_permits(1);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_open_loop_is_due_by_its_schedule() {
        let pace = Pace::start(Duration::from_secs(1), Some(1000), Some(3));
        let start = pace.started();
        for number in 0..3 {
            assert_eq!(pace.next().await, Some(start + Duration::from_millis(number)));
        }
        assert_eq!(pace.next().await, None);
    }

    #[tokio::test]
    async fn a_closed_loop_ends_by_count() {
        let pace = Pace::start(Duration::from_secs(60), None, Some(2));
        assert!(pace.next().await.is_some());
        assert!(pace.next().await.is_some());
        assert!(pace.next().await.is_none());
    }
}
