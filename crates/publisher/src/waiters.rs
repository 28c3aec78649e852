//! Callers that wait for an execution's end. However many they are, one look at the database a tick serves all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bridge_protocol::{ExecutionId, TenantId};
use bridge_service::Problem;
use bridge_store::{Store, StoreError};
use http::StatusCode;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Between two looks: few waiters are answered quickly, thousands cost little.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// Each waiter slows the looks down by so much: 5,000 of them are looked at once a second.
const FOR_EACH: Duration = Duration::from_micros(200);
/// A look may take a twentieth of the time.
const DUTY: u32 = 20;
/// But after a slow look nobody is kept without news for longer than this.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// Results that are read at once, fewer than the connections for it: thousands that are told of one end come one after
/// another.
const READS: usize = 4;
/// For one look, and for a read.
const LIMIT: Duration = Duration::from_secs(5);

type Key = (TenantId, ExecutionId);

/// A handle; clones share the waiters.
#[derive(Clone)]
pub struct Waiters {
    bells: Arc<Bells>,
    places: Arc<Semaphore>,
    limit: usize,
    reads: Arc<Semaphore>,
    /// How long the turn to read may take.
    turn: Duration,
    /// Waiting ends with it: a stopping publisher sends its callers away with what is known.
    stop: CancellationToken,
}

#[derive(Default)]
struct Bells {
    waiting: Mutex<HashMap<Key, Bell>>,
    first: Notify,
}

struct Bell {
    ring: watch::Sender<bool>,
    seats: usize,
}

/// The right to wait. Taken before anything is written, so that nobody is refused after it.
pub struct Place {
    waiters: Waiters,
    _permit: OwnedSemaphorePermit,
}

/// Somebody who waits; gives its place back when it is dropped, also by a caller that hangs up.
pub struct Waiter {
    place: Place,
    key: Key,
    bell: watch::Receiver<bool>,
}

impl Waiters {
    pub fn new(limit: usize, turn: Duration, stop: CancellationToken) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(limit));
        Self { bells: Arc::default(), places, limit, reads: Arc::new(Semaphore::new(READS)), turn, stop }
    }

    /// Reads a result in its turn, within a limit: a read that never returns must not keep its turn for ever.
    pub async fn in_turn<T>(&self, read: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        let Ok(_turn) = tokio::time::timeout(self.turn, self.reads.acquire()).await else {
            return Err(slow());
        };
        tokio::time::timeout(LIMIT, read).await.unwrap_or_else(|_| Err(slow()))
    }

    /// # Errors
    /// 503 when as many wait as may.
    pub fn place(&self) -> Result<Place, Problem> {
        match self.places.clone().try_acquire_owned() {
            Ok(permit) => Ok(Place { waiters: self.clone(), _permit: permit }),
            Err(_) => Err(full()),
        }
    }

    /// Whoever writes an end here says so; the others are found by the next look.
    pub fn ended(&self, tenant: &TenantId, id: ExecutionId) {
        if let Some(bell) = self.bells.lock().remove(&(tenant.clone(), id)) {
            bell.ring.send_replace(true);
        }
    }

    /// Looks for ends until the stop.
    pub async fn run(self, store: Store) {
        let stop = self.stop.clone();
        let looking = async {
            loop {
                let asked = self.bells.keys();
                let callers = self.limit - self.places.available_permits();
                metrics::gauge!("bridge_waiting_callers").set(callers as f64);
                if asked.is_empty() {
                    self.bells.first.notified().await;
                    continue;
                }
                let took = self.look(&store, &asked).await;
                tokio::time::sleep(rest(asked.len(), took)).await;
            }
        };
        stop.run_until_cancelled(looking).await;
    }

    async fn look(&self, store: &Store, asked: &[Key]) -> Duration {
        let began = Instant::now();
        metrics::counter!("bridge_waiter_looks_total").increment(1);
        let limit = StoreError::TimedOut { name: "ended", after: LIMIT };
        let looked = tokio::time::timeout(LIMIT, store.ended(asked)).await.unwrap_or(Err(limit));
        match looked {
            Ok(ended) => ended.iter().for_each(|(tenant, id)| self.ended(tenant, *id)),
            Err(error) => {
                metrics::counter!("bridge_waiter_look_errors_total").increment(1);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    waiting = asked.len(),
                    "it is not known which executions have ended; the waiting callers wait on"
                );
            }
        }
        began.elapsed()
    }
}

/// How long until the next look.
fn rest(waiting: usize, took: Duration) -> Duration {
    let count = u32::try_from(waiting).unwrap_or(u32::MAX);
    FOR_EACH.saturating_mul(count).clamp(SHORTEST, LONGEST).max(took.saturating_mul(DUTY)).min(LONGEST_REST)
}

fn slow() -> Problem {
    let detail =
        "the result could not be read in time: the database is slow or away, or too many ask; ask again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "database-unavailable", "Database unavailable", detail)
        .retry_after(LIMIT)
}

impl Bells {
    // No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Bell>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> Vec<Key> {
        self.lock().keys().cloned().collect()
    }
}

impl Place {
    /// From now on an end is noticed. Look at the execution after this: it may have ended before.
    pub fn at(self, tenant: &TenantId, id: ExecutionId) -> Waiter {
        let key = (tenant.clone(), id);
        let (bell, first) = {
            let mut waiting = self.waiters.bells.lock();
            let first = waiting.is_empty();
            let bell = waiting
                .entry(key.clone())
                .or_insert_with(|| Bell { ring: watch::Sender::new(false), seats: 0 });
            bell.seats += 1;
            (bell.ring.subscribe(), first)
        };
        if first {
            self.waiters.bells.first.notify_one();
        }
        Waiter { place: self, key, bell }
    }
}

impl Waiter {
    /// True when the execution has ended; false at the deadline or when the publisher stops.
    pub async fn wait(&mut self, deadline: Instant) -> bool {
        let stop = self.place.waiters.stop.clone();
        let rung = stop.run_until_cancelled(timeout_at(deadline, self.bell.wait_for(|rung| *rung))).await;
        matches!(rung, Some(Ok(Ok(_))))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // One that has rung is out of the table; a bell under its name is somebody else's.
        if *self.bell.borrow() {
            return;
        }
        let mut waiting = self.place.waiters.bells.lock();
        if let Some(bell) = waiting.get_mut(&self.key)
            && !*bell.ring.borrow()
            && bell.ring.subscribe().same_channel(&self.bell)
        {
            bell.seats -= 1;
            if bell.seats == 0 {
                waiting.remove(&self.key);
            }
        }
    }
}

fn full() -> Problem {
    metrics::counter!("bridge_waiters_refused_total").increment(1);
    let detail = "as many callers wait for results as may; repeat the request after the Retry-After time, or ask \
                  without waiting";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-waiters", "Too many waiters", detail)
        .retry_after(Duration::from_secs(2))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        let mut rng = rand::rng();
        (TenantId::parse(&format!("t{number}")).unwrap(), ExecutionId::new(chrono::Utc::now(), &mut rng))
    }

    fn waiters(limit: usize) -> Waiters {
        Waiters::new(limit, LIMIT, CancellationToken::new())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_for_an_execution_are_told_and_nobody_else() {
        let (waiters, ours, other) = (waiters(3), key(1), key(2));
        let mut seats: Vec<Waiter> =
            [&ours, &ours, &other].map(|key| waiters.place().unwrap().at(&key.0, key.1)).into();
        assert_eq!(waiters.bells.keys().len(), 2);
        waiters.ended(&ours.0, ours.1);
        assert!(seats[0].wait(soon()).await && seats[1].wait(soon()).await);
        assert!(!seats[2].wait(soon()).await, "its time is over");
        drop(seats);
        assert!(waiters.bells.keys().is_empty());
        assert_eq!(waiters.places.available_permits(), 3);
    }

    #[tokio::test]
    async fn who_goes_away_frees_its_place_and_too_many_are_refused() {
        let (waiters, ours) = (waiters(2), key(1));
        let one = waiters.place().unwrap().at(&ours.0, ours.1);
        let two = waiters.place().unwrap().at(&ours.0, ours.1);
        assert_eq!(waiters.place().err().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(one);
        assert_eq!(waiters.bells.keys().len(), 1, "the other waits on");
        drop(two);
        assert!(waiters.bells.keys().is_empty());
        assert!(waiters.place().is_ok());
    }

    #[tokio::test]
    async fn one_that_leaves_late_does_not_take_away_a_newcomers_bell() {
        let (waiters, ours) = (waiters(4), key(1));
        let old = waiters.place().unwrap().at(&ours.0, ours.1);
        waiters.ended(&ours.0, ours.1);
        let mut new = waiters.place().unwrap().at(&ours.0, ours.1);
        drop(old);
        waiters.ended(&ours.0, ours.1);
        assert!(new.wait(soon()).await);
    }

    #[tokio::test]
    async fn a_stop_ends_the_waiting() {
        let (waiters, ours) = (waiters(1), key(1));
        let mut seat = waiters.place().unwrap().at(&ours.0, ours.1);
        waiters.stop.cancel();
        assert!(!seat.wait(Instant::now() + Duration::from_secs(3600)).await);
    }

    #[test]
    fn many_waiters_and_slow_looks_make_looks_rare() {
        let ms = Duration::from_millis;
        assert_eq!(rest(1, ms(1)), ms(100));
        assert_eq!(rest(2_500, ms(5)), ms(500));
        assert_eq!(rest(50_000, ms(20)), ms(1000));
        assert_eq!(rest(50_000, ms(200)), ms(4000));
        assert_eq!(rest(1, LIMIT), LONGEST_REST, "one slow look does not silence all for minutes");
    }
}
