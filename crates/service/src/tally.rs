//! Refused logins and rejected messages, counted per minute: whoever tries a million keys leaves one row.

use crate::clock::SharedClock;
use bridge_protocol::Time;
use bridge_store::{Refused, Store, StoreError};
use metrics::counter;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const FLUSH_EVERY: Duration = Duration::from_secs(5);
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// Distinct counters between two flushes; beyond, subjects are counted together.
const DISTINCT: usize = 1_000;
const OTHER: &str = "other";
/// What is kept of a subject or a reason: both may come from a caller.
const LONGEST: usize = 128;

/// Counters in memory; clones share them.
#[derive(Clone)]
pub struct Tally {
    clock: SharedClock,
    counts: Arc<Mutex<HashMap<Key, u64>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    minute: i64,
    kind: &'static str,
    subject: String,
    reason: String,
}

impl Tally {
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, counts: Arc::default() }
    }

    /// `kind` is `login` or `message`; `reason` comes from a closed set.
    pub fn add(&self, kind: &'static str, subject: &str, reason: &str) {
        let minute = self.clock.now().timestamp().div_euclid(60);
        self.count(Key { minute, kind, subject: cut(subject), reason: cut(reason) }, 1);
    }

    fn count(&self, mut key: Key, by: u64) {
        let mut counts = self.lock();
        if counts.len() >= DISTINCT && !counts.contains_key(&key) {
            OTHER.clone_into(&mut key.subject);
            // Should reasons ever come in thousands, they are counted together too.
            if counts.len() >= 2 * DISTINCT && !counts.contains_key(&key) {
                OTHER.clone_into(&mut key.reason);
            }
        }
        *counts.entry(key).or_default() += by;
    }

    /// Writes the counts down every few seconds, and a last time at the stop.
    pub async fn run(self, store: Store, stop: CancellationToken) {
        loop {
            let stopped = stop.run_until_cancelled(tokio::time::sleep(FLUSH_EVERY)).await.is_none();
            self.flush(|refused| {
                let store = store.clone();
                async move { store.add_refusals(&refused).await }
            })
            .await;
            if stopped {
                return;
            }
        }
    }

    /// What could not be written is kept for the next time. An answer that was lost may count twice.
    async fn flush<F: Future<Output = Result<(), StoreError>>>(&self, write: impl FnOnce(Vec<Refused>) -> F) {
        let counts = std::mem::take(&mut *self.lock());
        if counts.is_empty() {
            return;
        }
        let rows = counts
            .iter()
            .map(|(key, count)| Refused {
                minute: Time::from_timestamp(key.minute * 60, 0).unwrap_or_default(),
                kind: key.kind,
                subject: key.subject.clone(),
                reason: key.reason.clone(),
                count: *count,
            })
            .collect();
        let written = timeout(FLUSH_LIMIT, write(rows)).await;
        let written = written.unwrap_or(Err(StoreError::TimedOut { name: "refusals", after: FLUSH_LIMIT }));
        if let Err(error) = written {
            counter!("bridge_tally_failures_total").increment(1);
            tracing::debug!(error = &error as &dyn std::error::Error, "refusals are kept in memory");
            counts.into_iter().for_each(|(key, count)| self.count(key, count));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Postgres takes no NUL, and a log no line breaks.
fn cut(text: &str) -> String {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn tally() -> (Tally, Arc<ManualClock>) {
        let clock = ManualClock::at(Time::from_timestamp(1_800_000_030, 0).unwrap());
        (Tally::new(clock.clone()), clock)
    }

    async fn flushed(tally: &Tally) -> Vec<Refused> {
        let mut rows = Vec::new();
        tally
            .flush(|written| {
                rows = written;
                std::future::ready(Ok(()))
            })
            .await;
        rows.sort_by(|a, b| (a.minute, &a.subject).cmp(&(b.minute, &b.subject)));
        rows
    }

    #[tokio::test]
    async fn counts_are_per_minute_and_survive_a_failed_write() {
        let (tally, clock) = tally();
        tally.add("login", "svc_a", "unknown");
        tally.add("login", "svc_a", "unknown");
        clock.advance(Duration::from_secs(60));
        tally.add("login", "svc_a\0\n", "unknown");
        tally
            .flush(|_| std::future::ready(Err(StoreError::TimedOut { name: "test", after: Duration::ZERO })))
            .await;
        let rows = flushed(&tally).await;
        assert_eq!((rows[0].count, rows[0].subject.as_str()), (2, "svc_a"));
        assert_eq!((rows[1].count, rows[1].subject.as_str()), (1, "svc_a??"));
        assert_eq!((rows[1].minute - rows[0].minute).num_seconds(), 60);
        assert_eq!(rows[0].minute.timestamp() % 60, 0);
        assert!(flushed(&tally).await.is_empty());
    }

    #[tokio::test]
    async fn a_flood_of_subjects_is_counted_together() {
        let (tally, _) = tally();
        for number in 0..5_000 {
            tally.add("login", &format!("{}{number}", "é".repeat(100)), &format!("reason {}", number % 7));
        }
        for number in 0..5_000 {
            tally.add("login", &format!("client {number}"), &format!("reason {}", number % 7));
        }
        let rows = flushed(&tally).await;
        assert!(rows.len() <= DISTINCT + 7, "{}", rows.len());
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 10_000);
        assert!(rows.iter().all(|row| row.subject.len() <= LONGEST));
    }
}
