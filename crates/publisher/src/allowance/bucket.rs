//! A token bucket in one word: it remembers only when it will be full again, so it needs neither a lock nor a refill.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How fast a bucket fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Nanoseconds a token takes to come back.
    interval: u64,
    burst: u64,
}

/// How a bucket stands after a take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub left: u64,
    pub full_in: Duration,
}

impl Rate {
    pub fn new(per_second: f64, burst: u64) -> Self {
        // A rate of nothing comes to one token in eleven days: the arithmetic stays finite.
        let interval = (1e9 / per_second).clamp(1.0, 1e15) as u64;
        Self { interval, burst: burst.max(1) }
    }

    pub fn burst(self) -> u64 {
        self.burst
    }

    fn span(self, tokens: u64) -> u64 {
        self.interval.saturating_mul(tokens)
    }
}

/// Nanoseconds since its owner's start at which it is full.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes tokens, or says how long to wait for them. More than the bucket holds are lent to a full one: else a large
    /// batch could never pass. The average holds all the same.
    pub fn take(&self, rate: Rate, tokens: u64, now: u64) -> Result<Level, Duration> {
        let room = rate.span(rate.burst);
        let needed = rate.span(tokens.min(rate.burst));
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let missing = full_at.saturating_sub(now);
            (missing.saturating_add(needed) <= room)
                .then(|| now.saturating_add(missing).saturating_add(rate.span(tokens)))
        });
        match taken {
            Ok(full_at) => {
                let missing = full_at.saturating_sub(now).saturating_add(rate.span(tokens));
                let left = room.saturating_sub(missing) / rate.interval;
                Ok(Level { left, full_in: Duration::from_nanos(missing) })
            }
            Err(full_at) => {
                let missing = full_at.saturating_sub(now).saturating_add(needed);
                Err(Duration::from_nanos(missing.saturating_sub(room)))
            }
        }
    }

    /// For what was taken and not used.
    pub fn give_back(&self, rate: Rate, tokens: u64) {
        let _always = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(full_at.saturating_sub(rate.span(tokens)))
        });
    }
}

/// Buckets for keys that anybody may invent: a fixed number of them, found by a hash nobody outside can foresee.
/// Two keys may share one, and are then refused a little early.
pub struct Throttle {
    rate: Option<Rate>,
    buckets: Box<[Bucket]>,
    hash: RandomState,
    started: Instant,
}

const BUCKETS: usize = 8192;

impl Throttle {
    /// 0: no limit.
    pub fn per_minute(requests: u32) -> Self {
        Self {
            rate: (requests > 0).then(|| Rate::new(f64::from(requests) / 60.0, requests.into())),
            buckets: (0..BUCKETS).map(|_| Bucket::default()).collect(),
            hash: RandomState::new(),
            started: Instant::now(),
        }
    }

    /// Err: how long to wait.
    pub fn pass(&self, key: impl Hash) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        self.bucket(key).take(rate, 1, nanos_since(self.started)).map(drop)
    }

    /// For a pass that shall not count.
    pub fn give_back(&self, key: impl Hash) {
        if let Some(rate) = self.rate {
            self.bucket(key).give_back(rate, 1);
        }
    }

    fn bucket(&self, key: impl Hash) -> &Bucket {
        &self.buckets[self.hash.hash_one(key) as usize % BUCKETS]
    }
}

/// 500 years fit.
pub fn nanos_since(start: Instant) -> u64 {
    start.elapsed().as_nanos() as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let (bucket, rate) = (Bucket::default(), Rate::new(2.0, 4));
        for left in (0..4).rev() {
            assert_eq!(bucket.take(rate, 1, SECOND).unwrap().left, left);
        }
        assert_eq!(bucket.take(rate, 1, SECOND).unwrap_err(), Duration::from_millis(500));
        assert_eq!(bucket.take(rate, 1, SECOND + SECOND / 2).unwrap().left, 0);
        assert_eq!(bucket.take(rate, 3, 2 * SECOND).unwrap_err(), Duration::from_secs(1));
        let level = bucket.take(rate, 1, 100 * SECOND).unwrap();
        assert_eq!(level, Level { left: 3, full_in: Duration::from_millis(500) });
    }

    #[test]
    fn what_is_larger_than_the_bucket_waits_for_a_full_one() {
        let (bucket, rate) = (Bucket::default(), Rate::new(1.0, 2));
        assert_eq!(bucket.take(rate, 10, 0).unwrap(), Level { left: 0, full_in: Duration::from_secs(10) });
        assert_eq!(bucket.take(rate, 1, SECOND).unwrap_err(), Duration::from_secs(8));
        assert!(bucket.take(rate, 10, 9 * SECOND).is_err());
        assert!(bucket.take(rate, 10, 10 * SECOND).is_ok());
        bucket.give_back(rate, 10);
        assert_eq!(bucket.take(rate, 2, 10 * SECOND).unwrap().left, 0);
    }

    #[test]
    fn absurd_rates_overflow_nothing() {
        for rate in [Rate::new(0.0, u64::MAX), Rate::new(f64::INFINITY, 0), Rate::new(1e-300, 1)] {
            let bucket = Bucket::default();
            assert!(bucket.take(rate, u64::MAX, u64::MAX).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn invented_keys_take_no_memory_and_each_key_is_limited() {
        let throttle = Throttle::per_minute(3);
        for _ in 0..3 {
            throttle.pass("svc_a").unwrap();
        }
        assert_eq!(throttle.pass("svc_a").unwrap_err(), Duration::from_secs(20));
        tokio::time::advance(Duration::from_secs(20)).await;
        throttle.pass("svc_a").unwrap();
        throttle.give_back("svc_a");
        throttle.pass("svc_a").unwrap();
        assert!((0..1000).all(|_| Throttle::per_minute(0).pass(1).is_ok()));
    }
}
