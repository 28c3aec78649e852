//! Figures that both daemons take from time to time: who is there, what is open, what runs out.

use crate::clock::SharedClock;
use crate::expiry::Expiries;
use crate::heartbeat::ALIVE_WITHIN;
use bridge_store::{Store, StoreError};
use metrics::gauge;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

pub const EVERY: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(5);

/// Until the stop.
pub async fn run(store: Store, expiries: Expiries, clock: SharedClock, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for pool in store.pools() {
            for (state, connections) in [("idle", pool.idle), ("used", pool.used)] {
                gauge!("bridge_store_pool_connections", "pool" => pool.name, "state" => state)
                    .set(f64::from(connections));
            }
        }
        for (kind, end) in expiries.read().await {
            let left = (end - clock.now()).as_seconds_f64();
            gauge!("bridge_credential_expires_seconds", "kind" => kind).set(left);
        }
        if let Err(error) = members(&store).await {
            // Readiness says that Postgres is away; the figures stay as they were.
            tracing::debug!(error = &error as &dyn std::error::Error, "the daemons could not be counted");
        }
    }
}

async fn members(store: &Store) -> Result<(), StoreError> {
    let limit = StoreError::TimedOut { name: "live_members", after: LIMIT };
    let live = timeout(LIMIT, store.live_members(ALIVE_WITHIN)).await.unwrap_or(Err(limit))?;
    for daemon in ["publisher", "consumer"] {
        let there = live.iter().filter(|member| member.kind == daemon).count();
        gauge!("bridge_members", "daemon" => daemon).set(there as f64);
    }
    Ok(())
}
