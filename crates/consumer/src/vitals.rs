//! The daemon's own pulse: is Postgres there, how old is the oldest due timer, and the heartbeat that
//! `bridgectl status` shows.

use std::sync::Arc;
use std::time::Duration;

use bridge_service::health::{HealthSlot, Status};
use bridge_store::{Member, Pulse, StoreError};
use bridge_webhook::BreakerState;
use metrics::gauge;
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::claim::random_id;
use crate::works::Works;

const BEAT_EVERY: Duration = Duration::from_secs(5);
const BEAT_LIMIT: Duration = Duration::from_secs(15);
/// Breakers named in the heartbeat.
const BREAKERS_SHOWN: usize = 50;

pub async fn run(works: Arc<Works>, postgres: HealthSlot) {
    let (id, host) = (random_id(), host());
    let mut ticks = tokio::time::interval(BEAT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let breakers = works.slots.breakers();
        gauge!("bridge_breakers_open").set(breakers.open_count() as f64);
        gauge!("bridge_global_slots_free").set(works.slots.free() as f64);
        match timeout(BEAT_LIMIT, beat(&works, id, &host)).await {
            Ok(Ok(pulse)) => {
                // A dead publisher shows here: nobody rings the timers.
                let oldest = pulse.oldest_due.and_then(|due| (pulse.now - due).to_std().ok());
                gauge!("bridge_oldest_due_timer_seconds").set(oldest.unwrap_or_default().as_secs_f64());
                let standby = if pulse.synchronous_standby { "" } else { "no synchronous standby" };
                postgres.set(Status::Ok, standby);
            }
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "Postgres is not well");
                let cause =
                    std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                postgres.set(Status::Down, format!("{error}{cause}"));
            }
            Err(_) => postgres.set(Status::Down, format!("no answer from Postgres within {BEAT_LIMIT:?}")),
        }
    }
}

async fn beat(works: &Works, id: Uuid, host: &str) -> Result<Pulse, StoreError> {
    let pulse = works.store.pulse().await?;
    let breakers: Vec<_> = works
        .slots
        .breakers()
        .list()
        .into_iter()
        .filter(|listing| listing.state != BreakerState::Closed)
        .take(BREAKERS_SHOWN)
        .map(|listing| {
            json!({
                "endpoint": listing.endpoint.to_string(),
                "failures": listing.failures,
                "retry_after_ms": listing.retry_after.as_millis() as u64,
            })
        })
        .collect();
    let detail = json!({
        "keys": works.keyring.load().kids(),
        "slots_free": works.slots.free(),
        "breakers": breakers,
    });
    let version = env!("CARGO_PKG_VERSION");
    works.store.beat(&Member { id, kind: "consumer", version, host: host.to_owned(), detail }).await?;
    Ok(pulse)
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}
