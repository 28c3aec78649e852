//! The daemon's own pulse: is Postgres there, and what the heartbeat says beside the keys and the directory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bridge_bus::Subscriptions;
use bridge_service::health::{HealthSlot, Status};
use bridge_service::measures;
use bridge_webhook::BreakerState;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::works::Works;

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Breakers named in the heartbeat.
const BREAKERS_SHOWN: usize = 50;
const HOLDS_SHOWN: usize = 50;
const TOPICS_SHOWN: usize = 200;

pub async fn run(works: Arc<Works>, postgres: HealthSlot) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        works.hooks.show();
        match measures::pulse(&works.store).await {
            Ok(pulse) => {
                let standby = if pulse.synchronous_standby { "" } else { "no synchronous standby" };
                postgres.set(Status::Ok, standby);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "Postgres is not well");
                let cause =
                    std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                postgres.set(Status::Down, format!("{error}{cause}"));
            }
        }
    }
}

/// For `bridgectl status`, and for whoever asks why an execution does not move.
pub fn detail(works: &Works, subscriptions: &Subscriptions) -> Value {
    let wall = works.hooks.clock.now();
    let listed = works.hooks.slots.breakers().list();
    let open = listed.into_iter().filter(|listing| listing.state != BreakerState::Closed);
    let breakers: Vec<_> = open
        .take(BREAKERS_SHOWN)
        .map(|listing| {
            json!({
                "endpoint": listing.endpoint.to_string(),
                "host": listing.endpoint.host(),
                "until": wall + listing.retry_after,
                "failures": listing.failures,
                "retry_after_ms": listing.retry_after.as_millis() as u64,
            })
        })
        .collect();
    let holds: Vec<_> = works.holds.list(Instant::now(), HOLDS_SHOWN);
    let holds: Vec<_> =
        holds.into_iter().map(|(tenant, id)| json!({ "tenant_id": tenant, "id": id })).collect();
    let topics = subscriptions.health();
    let lost = topics.iter().filter(|topic| !topic.connected);
    let lost: BTreeSet<&str> = lost.map(|topic| &*topic.logical).collect();
    json!({
        "slots_free": works.hooks.slots.free(),
        "breakers": breakers,
        "holds": holds,
        "topics": topics.len(),
        // By name: there are few. The others are connected.
        "topics_lost": lost.iter().take(TOPICS_SHOWN).collect::<Vec<_>>(),
        "topics_lost_count": lost.len(),
    })
}
