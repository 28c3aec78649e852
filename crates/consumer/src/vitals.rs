//! The daemon's own pulse: is Postgres there, how old is the oldest due timer, and what the heartbeat says beside the
//! keys and the directory.

use std::sync::Arc;
use std::time::Duration;

use bridge_service::health::{HealthSlot, Status};
use bridge_webhook::BreakerState;
use metrics::gauge;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::works::Works;

const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_LIMIT: Duration = Duration::from_secs(15);
/// Breakers named in the heartbeat.
const BREAKERS_SHOWN: usize = 50;

pub async fn run(works: Arc<Works>, postgres: HealthSlot) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        gauge!("bridge_breakers_open").set(works.slots.breakers().open_count() as f64);
        gauge!("bridge_global_slots_free").set(works.slots.free() as f64);
        match timeout(LOOK_LIMIT, works.store.pulse()).await {
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
            Err(_) => postgres.set(Status::Down, format!("no answer from Postgres within {LOOK_LIMIT:?}")),
        }
    }
}

/// For `bridgectl status`.
pub fn detail(works: &Works) -> Value {
    let listed = works.slots.breakers().list();
    let open = listed.into_iter().filter(|listing| listing.state != BreakerState::Closed);
    let breakers: Vec<_> = open
        .take(BREAKERS_SHOWN)
        .map(|listing| {
            json!({
                "endpoint": listing.endpoint.to_string(),
                "failures": listing.failures,
                "retry_after_ms": listing.retry_after.as_millis() as u64,
            })
        })
        .collect();
    json!({ "slots_free": works.slots.free(), "breakers": breakers })
}
