//! Which topics share a client.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::Credentials;
use crate::client::Keeper;
use crate::config::BusConfig;

/// Ends within this time count together.
const WINDOW: Duration = Duration::from_secs(2);
/// A shard is not thrown away for fewer ends than this.
const FEW: usize = 8;
/// Requests waiting for the socket of one client.
const OUTBOUND: usize = 256;

/// hazard 3: with thousands of consumers on one client, a lost connection makes thousands of new ones. So a client
/// serves a limited number of consumers, and is replaced as a whole.
///
/// hazard 15: such a storm also takes thousands of ephemeral ports, and one of them can be the port that a local
/// broker or bookie needs to start again. Few connections are half of the cure; the other half is to run brokers on
/// ports below 32768, outside the ephemeral range.
pub(super) struct Shards {
    config: Arc<BusConfig>,
    credentials: Credentials,
    /// Ends when the last topic has closed, which is later than the stop: acknowledgements still need it.
    stop: CancellationToken,
    shards: Mutex<Vec<Arc<Shard>>>,
}

pub(super) struct Shard {
    pub(super) keeper: Keeper,
    members: AtomicUsize,
    ends: Mutex<(Instant, u64, usize)>,
}

/// A topic's place in a shard.
pub(super) struct Seat(Arc<Shard>);

impl Shards {
    pub(super) fn new(config: Arc<BusConfig>) -> Self {
        let credentials = config.credentials();
        Self { config, credentials, stop: CancellationToken::new(), shards: Mutex::default() }
    }

    pub(super) fn seat(&self) -> Seat {
        let limit = self.config.consumers_per_client.max(1);
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = shards.iter().find(|shard| shard.members.load(Ordering::Acquire) < limit) {
            shard.members.fetch_add(1, Ordering::AcqRel);
            return Seat(shard.clone());
        }
        let name = format!("consumers-{}", shards.len());
        let shard = Arc::new(Shard {
            keeper: Keeper::start(
                name.into(),
                self.config.clone(),
                self.credentials.clone(),
                OUTBOUND,
                self.stop.child_token(),
            ),
            members: AtomicUsize::new(1),
            ends: Mutex::new((Instant::now(), 0, 0)),
        });
        shards.push(shard.clone());
        Seat(shard)
    }
}

impl Shards {
    /// The credential and the broker are the same for all: one shard's words are good for all.
    pub(super) fn fault(&self) -> Option<Arc<str>> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.iter().find_map(|shard| shard.keeper.fault())
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Seat {
    pub(super) fn keeper(&self) -> &Keeper {
        &self.0.keeper
    }

    /// hazard 4: when many consumers end at once the connection is the cause, and resubscribing each on the same
    /// client would find it dead or half alive.
    pub(super) fn too_many_ended(&self, generation: u64) -> bool {
        let members = self.0.members.load(Ordering::Acquire);
        let mut ends = self.0.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.1 != generation || ends.0.elapsed() > WINDOW {
            *ends = (Instant::now(), generation, 0);
        }
        ends.2 += 1;
        ends.2 >= FEW.max(members / 4)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.members.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(limit: usize) -> Shards {
        let service_url = "pulsar://127.0.0.1:1".into();
        Shards::new(Arc::new(BusConfig { consumers_per_client: limit, service_url, ..BusConfig::default() }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_shard_makes_room_for_the_next_and_freed_seats_are_taken_again() {
        let shards = shards(2);
        let seats: Vec<_> = (0..5).map(|_| shards.seat()).collect();
        assert_eq!(shards.shards.lock().map(|s| s.len()).unwrap_or(0), 3);
        drop(seats);
        let _seat = shards.seat();
        assert_eq!(shards.shards.lock().map(|s| s.len()).unwrap_or(0), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn only_many_ends_close_together_condemn_a_shard() {
        let shards = shards(250);
        let seats: Vec<_> = (0..40).map(|_| shards.seat()).collect();
        for _ in 0..9 {
            assert!(!seats[0].too_many_ended(1));
        }
        assert!(seats[0].too_many_ended(1));
        assert!(!seats[0].too_many_ended(2), "another generation starts from nothing");
        tokio::time::advance(WINDOW * 2).await;
        assert!(!seats[0].too_many_ended(2));
    }
}
