//! Figures that both daemons take from time to time: who is there, what is open, what runs out.

use crate::clock::SharedClock;
use crate::expiry::Expiries;
use crate::heartbeat::ALIVE_WITHIN;
use bridge_protocol::Time;
use bridge_store::{Pulse, Store, StoreError};
use metrics::{counter, gauge, histogram};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

pub const EVERY: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(5);
/// For one look at how Postgres is: long enough for a busy one, short enough for whoever asks about readiness.
const PULSE_LIMIT: Duration = Duration::from_secs(15);
/// What a gauge shows that could not be read. The value before it would go on saying that all is well; of several
/// daemons' figures Prometheus takes one that is known, and no alert calls this one good.
pub const UNKNOWN: f64 = f64::NAN;
const DAEMONS: [&str; 2] = ["publisher", "consumer"];

/// Until the stop.
pub async fn run(store: Store, expiries: Expiries, clock: SharedClock, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = BTreeSet::new();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for pool in store.pools() {
            for (state, connections) in [("idle", pool.idle), ("used", pool.used)] {
                gauge!("bridge_store_pool_connections", "pool" => pool.name, "state" => state)
                    .set(f64::from(connections));
            }
            gauge!("bridge_store_pool_connections_max", "pool" => pool.name).set(f64::from(pool.most));
        }
        for (pool, waited) in store.pool_waits(LIMIT).await {
            histogram!("bridge_store_pool_wait_seconds", "pool" => pool).record(waited.as_secs_f64());
        }
        show_expiries(&expiries.read().await, clock.now(), &mut shown);
        let counted = members(&store);
        let Some(counted) = stop.run_until_cancelled(counted).await else { return };
        if let Err(error) = counted {
            counter!("bridge_measure_failures_total", "what" => "members").increment(1);
            for daemon in DAEMONS {
                gauge!("bridge_members", "daemon" => daemon).set(UNKNOWN);
            }
            tracing::debug!(error = &error as &dyn std::error::Error, "the daemons could not be counted");
        }
    }
}

/// What was shown and has no end any more, or cannot be read, must not count down for ever.
fn show_expiries(ends: &[(&'static str, Time)], now: Time, shown: &mut BTreeSet<&'static str>) {
    for (kind, end) in ends {
        shown.insert(kind);
        gauge!("bridge_credential_expires_seconds", "kind" => *kind).set((*end - now).as_seconds_f64());
    }
    for kind in shown.iter().filter(|kind| ends.iter().all(|(still, _)| still != *kind)) {
        gauge!("bridge_credential_expires_seconds", "kind" => *kind).set(UNKNOWN);
    }
}

/// How Postgres is, with the age of the oldest due timer: a dead publisher shows there, because nobody rings them.
///
/// # Errors
/// When Postgres does not answer in time; then nobody knows that age.
pub async fn pulse(store: &Store) -> Result<Pulse, StoreError> {
    let limit = StoreError::TimedOut { name: "pulse", after: PULSE_LIMIT };
    let pulse = timeout(PULSE_LIMIT, store.pulse()).await.unwrap_or(Err(limit));
    let overdue = match &pulse {
        Ok(pulse) => pulse.oldest_due.map_or(0.0, |due| (pulse.now - due).as_seconds_f64().max(0.0)),
        Err(_) => {
            counter!("bridge_measure_failures_total", "what" => "pulse").increment(1);
            UNKNOWN
        }
    };
    gauge!("bridge_oldest_due_timer_seconds").set(overdue);
    pulse
}

async fn members(store: &Store) -> Result<(), StoreError> {
    let limit = StoreError::TimedOut { name: "live_members", after: LIMIT };
    let live = timeout(LIMIT, store.live_members(ALIVE_WITHIN)).await.unwrap_or(Err(limit))?;
    for daemon in DAEMONS {
        let there = live.iter().filter(|member| member.kind == daemon).count();
        gauge!("bridge_members", "daemon" => daemon).set(there as f64);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::{Config, Role};

    fn store() -> Store {
        // A port that nobody listens on, and a short wait for a connection to it.
        let entries = [
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
            ("BRIDGE_DATABASE__STATEMENT_TIMEOUT_MS", "200"),
        ];
        let entries = entries.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (config, _) = Config::load_for(Role::Operator, None, entries.into_iter()).unwrap();
        Store::open(config.store("test")).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_not_shown_as_it_was() {
        let recorder = crate::telemetry::detached_recorder().unwrap();
        let handle = recorder.handle();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        metrics::with_local_recorder(&recorder, || {
            gauge!("bridge_oldest_due_timer_seconds").set(0.0);
            runtime.block_on(async { pulse(&store()).await }).unwrap_err();
        });
        let text = handle.render();
        assert!(text.contains("\nbridge_oldest_due_timer_seconds NaN\n"), "{text}");
        assert!(text.contains("bridge_measure_failures_total{what=\"pulse\"} 1"), "{text}");
    }

    #[test]
    fn a_token_without_an_end_takes_the_old_ones_back() {
        let recorder = crate::telemetry::detached_recorder().unwrap();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let (now, mut shown) = (Time::UNIX_EPOCH, BTreeSet::new());
            let end = now + chrono::TimeDelta::seconds(60);
            show_expiries(&[("broker_token", end)], now, &mut shown);
            assert!(handle.render().contains("{kind=\"broker_token\"} 60"), "{}", handle.render());
            show_expiries(&[], now, &mut shown);
            assert!(handle.render().contains("{kind=\"broker_token\"} NaN"), "{}", handle.render());
        });
    }
}
