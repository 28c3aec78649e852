//! What lives, and how old the oldest is: asked from time to time, so that nobody who scrapes waits for Postgres.

use std::path::PathBuf;
use std::time::Duration;

use bridge_protocol::{Lane, State, Time};
use bridge_service::clock::SharedClock;
use bridge_service::measures::EVERY;
use bridge_store::{Living, Store};
use metrics::{counter, gauge};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(5);

/// Until the stop. `keyring`: the file whose key signs.
pub async fn run(store: Store, keyring: PathBuf, clock: SharedClock, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match store.living(LIMIT).await {
            Ok(living) => show(&living),
            Err(error) => {
                counter!("bridge_watch_failures_total").increment(1);
                tracing::debug!(error = &error as &dyn std::error::Error, "what lives could not be counted");
            }
        }
        let changed = tokio::fs::metadata(&keyring).await.and_then(|metadata| metadata.modified());
        if let Ok(changed) = changed {
            let age = (clock.now() - Time::from(changed)).as_seconds_f64();
            gauge!("bridge_signing_key_age_seconds").set(age.max(0.0));
        }
    }
}

fn show(living: &Living) {
    gauge!("bridge_live_executions_capped").set(f64::from(u8::from(living.capped)));
    for lane in Lane::ALL {
        let of = |state| living.lives.iter().find(|lives| (lives.lane, lives.state) == (*lane, state));
        let count = |state| of(state).map_or(0.0, |lives| lives.count as f64);
        let here = || living.lives.iter().filter(|lives| lives.lane == *lane);
        let name = lane.as_str();
        for state in State::ALL.iter().filter(|state| !state.is_terminal()) {
            gauge!("bridge_live_executions", "lane" => name, "state" => state.as_str()).set(count(*state));
        }
        let unclaimed = here().map(|lives| lives.unclaimed_for).max().unwrap_or_default();
        gauge!("bridge_oldest_unclaimed_seconds", "lane" => name).set(unclaimed.as_secs_f64());
        let running = here().map(|lives| lives.running_for).max().unwrap_or_default();
        gauge!("bridge_oldest_running_seconds", "lane" => name).set(running.as_secs_f64());
        gauge!("n8n_queue_size", "lane" => name).set(count(State::Accepted) + count(State::Retrying));
        gauge!("workflow_active", "lane" => name).set(count(State::Running) + count(State::Waiting));
    }
}
