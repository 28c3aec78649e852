//! What lives and how old the oldest is, and what is at work here: asked from time to time, so that nobody who scrapes
//! waits for Postgres.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bridge_protocol::{Lane, State, Time};
use bridge_service::clock::SharedClock;
use bridge_service::keyring::SharedKeyring;
use bridge_service::measures::{EVERY, UNKNOWN};
use bridge_store::{Living, Store};
use metrics::{counter, gauge};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::app::AppState;
use crate::in_flight::InFlight;

const LIMIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Until the stop. `keyring` with its file: of the key that signs.
pub async fn run(
    store: Store,
    keyring: SharedKeyring,
    file: PathBuf,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match store.living(LIMIT).await {
            Ok(living) => show(&living),
            Err(error) => {
                counter!("bridge_watch_failures_total").increment(1);
                show_unknown();
                tracing::debug!(error = &error as &dyn std::error::Error, "what lives could not be counted");
            }
        }
        let since = signing_since(&keyring, &file).await;
        let age = since.map_or(UNKNOWN, |since| (clock.now() - since).as_seconds_f64().max(0.0));
        gauge!("bridge_signing_key_age_seconds").set(age);
    }
}

/// As the key says it; of one that does not, when its file was changed, which a copy or a restore makes young again.
async fn signing_since(keyring: &SharedKeyring, file: &Path) -> Option<Time> {
    let said = keyring.load().signing_since();
    if said.is_some() {
        return said;
    }
    let changed = tokio::fs::metadata(file).await.and_then(|metadata| metadata.modified());
    changed.ok().map(Time::from)
}

/// Until the stop: what is in hand in this process, beside how much may be.
pub async fn at_work(app: AppState, in_flight: InFlight, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        gauge!("bridge_messages_in_flight").set(in_flight.len() as f64);
        app.budget.show();
        app.native.hooks.show();
    }
}

/// For want of an answer.
fn show_unknown() {
    gauge!("bridge_live_executions_capped").set(UNKNOWN);
    for lane in Lane::ALL.iter().map(|lane| lane.as_str()) {
        for state in State::ALL.iter().filter(|state| !state.is_terminal()) {
            gauge!("bridge_live_executions", "lane" => lane, "state" => state.as_str()).set(UNKNOWN);
        }
        gauge!("bridge_oldest_unclaimed_seconds", "lane" => lane).set(UNKNOWN);
        gauge!("bridge_oldest_running_seconds", "lane" => lane).set(UNKNOWN);
        gauge!("n8n_queue_size", "lane" => lane).set(UNKNOWN);
        gauge!("workflow_active", "lane" => lane).set(UNKNOWN);
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
