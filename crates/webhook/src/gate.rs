//! Caps by key: so many at once for one workflow, for one host. First come, first served, with a
//! bounded queue that turns newcomers away as soon as their turn cannot come in time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Everyone may queue for this many places, whatever the cap is.
const MIN_WAITERS: usize = 64;
/// Beyond it, the queue may be this many times the cap.
const WAITERS_PER_PLACE: usize = 3;

/// One entry per key in use; the last one out removes it.
#[derive(Debug)]
pub(crate) struct Gates<K> {
    entries: Arc<Mutex<HashMap<K, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    places: Arc<Semaphore>,
    limit: usize,
    /// Places to take away as they are given back, after the cap was lowered.
    surplus: usize,
    held: usize,
    waiting: usize,
    /// The last time a place changed hands.
    progress: Instant,
    /// A moving average of how long a place is held.
    hold: Duration,
}

impl<K> Clone for Gates<K> {
    fn clone(&self) -> Self {
        Self { entries: Arc::clone(&self.entries) }
    }
}

impl<K: Eq + Hash + Clone> Gates<K> {
    pub(crate) fn new() -> Self {
        Self { entries: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry>> {
        // No code in this file panics while it holds the lock; its data is valid in any case.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, or `None` when there is none before the deadline, or no hope of one.
    pub(crate) async fn enter(&self, key: &K, limit: usize, deadline: Instant) -> Option<Place<K>> {
        let now = Instant::now();
        let (places, seat) = {
            let mut entries = self.lock();
            let entry = entries.entry(key.clone()).or_insert_with(|| Entry::new(limit, now));
            entry.resize(limit);
            if !entry.has_room() && entry.is_hopeless(deadline.duration_since(now), now) {
                return None;
            }
            entry.waiting += 1;
            (Arc::clone(&entry.places), Seat { gates: self.clone(), key: key.clone() })
        };
        let permit = timeout_at(deadline, places.acquire_owned()).await.ok()?.ok()?;
        Some(seat.take(permit))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn leave(&self, key: &K, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(key) {
            change(entry);
            if entry.held == 0 && entry.waiting == 0 {
                entries.remove(key);
            }
        }
    }
}

impl Entry {
    fn new(limit: usize, now: Instant) -> Self {
        let places = Arc::new(Semaphore::new(limit));
        Self { places, limit, surplus: 0, held: 0, waiting: 0, progress: now, hold: Duration::ZERO }
    }

    fn resize(&mut self, limit: usize) {
        if limit > self.limit {
            let more = limit - self.limit;
            let kept = more.min(self.surplus);
            self.surplus -= kept;
            self.places.add_permits(more - kept);
        } else if limit < self.limit {
            let fewer = self.limit - limit;
            self.surplus += fewer - self.places.forget_permits(fewer);
        }
        self.limit = limit;
    }

    fn has_room(&self) -> bool {
        self.waiting == 0 && self.places.available_permits() > 0
    }

    /// Queued people must wait for `waiting / limit` rounds. A gate where nothing moves (every place
    /// held by a webhook that hangs) is judged by how long it has stood still.
    fn is_hopeless(&self, patience: Duration, now: Instant) -> bool {
        if self.waiting >= MIN_WAITERS.max(self.limit * WAITERS_PER_PLACE) {
            return true;
        }
        let still = now.duration_since(self.progress);
        let round = self.hold.max(still);
        let rounds = self.waiting as f64 / self.limit.max(1) as f64;
        still + round.mul_f64(rounds) > patience
    }
}

/// Somebody who waits. Dropping it (deadline, cancellation) leaves the queue.
struct Seat<K: Eq + Hash + Clone> {
    gates: Gates<K>,
    key: K,
}

impl<K: Eq + Hash + Clone> Seat<K> {
    fn take(self, permit: OwnedSemaphorePermit) -> Place<K> {
        let since = Instant::now();
        self.gates.leave(&self.key, |entry| {
            entry.held += 1;
            entry.progress = since;
        });
        // The seat's own drop now takes it out of the queue; the place keeps the entry alive.
        Place { gates: self.gates.clone(), key: self.key.clone(), permit: Some(permit), since }
    }
}

impl<K: Eq + Hash + Clone> Drop for Seat<K> {
    fn drop(&mut self) {
        self.gates.leave(&self.key, |entry| entry.waiting -= 1);
    }
}

/// A place that is held; dropping it passes it on.
#[derive(Debug)]
pub(crate) struct Place<K: Eq + Hash + Clone> {
    gates: Gates<K>,
    key: K,
    permit: Option<OwnedSemaphorePermit>,
    since: Instant,
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let now = Instant::now();
        let held = now.duration_since(self.since);
        let permit = self.permit.take();
        self.gates.leave(&self.key, |entry| {
            entry.held -= 1;
            entry.progress = now;
            entry.hold = if entry.hold.is_zero() { held } else { (entry.hold * 7 + held) / 8 };
            match permit {
                Some(permit) if entry.surplus > 0 => {
                    entry.surplus -= 1;
                    permit.forget();
                }
                permit => drop(permit),
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn within(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_waited_for_and_the_entry_goes_with_the_last_one() {
        let gates = Gates::new();
        let first = gates.enter(&"w", 1, within(5)).await.unwrap();
        assert!(gates.enter(&"w", 1, within(5)).await.is_none(), "the cap is one");
        let other = gates.clone();
        let waiter = tokio::spawn(async move { other.enter(&"w", 1, within(5)).await.is_some() });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiter.await.unwrap());
        assert_eq!(gates.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_and_a_stuck_gate_refuses_at_once() {
        let gates = Gates::new();
        let _held = gates.enter(&"w", 1, within(5)).await.unwrap();
        let waiters: Vec<_> = (0..MIN_WAITERS)
            .map(|_| {
                let gates = gates.clone();
                tokio::spawn(async move { gates.enter(&"w", 1, within(5)).await.is_some() })
            })
            .collect();
        while gates.lock()[&"w"].waiting < MIN_WAITERS {
            tokio::task::yield_now().await;
        }
        let before = Instant::now();
        assert!(gates.enter(&"w", 1, within(5)).await.is_none());
        assert_eq!(Instant::now(), before, "refused without waiting");
        for waiter in waiters {
            assert!(!waiter.await.unwrap());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        let before = Instant::now();
        assert!(gates.enter(&"w", 1, within(5)).await.is_none(), "nothing has moved for six seconds");
        assert_eq!(Instant::now(), before, "refused without waiting");
        assert_eq!(gates.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cap_can_be_raised_and_lowered_while_it_is_in_use() {
        let gates = Gates::new();
        let first = gates.enter(&"w", 2, within(5)).await.unwrap();
        let second = gates.enter(&"w", 2, within(5)).await.unwrap();
        assert!(gates.enter(&"w", 1, within(1)).await.is_none());
        drop(first);
        assert!(gates.enter(&"w", 1, within(1)).await.is_none(), "one of one is still held");
        let third = gates.enter(&"w", 2, within(1)).await.unwrap();
        drop((second, third));
        assert_eq!(gates.len(), 0);
    }
}
