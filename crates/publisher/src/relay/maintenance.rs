//! Partitions ahead, retention behind; and the end of results whose tenants keep them shorter.

use std::time::Duration;

use bridge_service::clock::SharedClock;
use bridge_store::Store;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(3600);
const AFTER_AN_ERROR: Duration = Duration::from_secs(60);

pub async fn maintain(store: Store, clock: SharedClock, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let rest = match store.maintain(clock.now()).await {
            Ok(done) => {
                if !done.created.is_empty() || !done.dropped.is_empty() || !done.kept.is_empty() {
                    tracing::info!(created = ?done.created, dropped = ?done.dropped, kept = ?done.kept, keys_forgotten = done.keys_forgotten, "partitions maintained");
                }
                EVERY
            }
            Err(error) => {
                tracing::error!(error = %error, cause = ?std::error::Error::source(&error), "partitions could not be maintained; publishing stops when the last one ahead is full");
                metrics::counter!("bridge_store_maintenance_errors_total").increment(1);
                AFTER_AN_ERROR
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Results a statement removes, and how often the next ones are looked for.
const RESULTS: u32 = 1000;
const RESULTS_EVERY: Duration = Duration::from_secs(60);

/// Every publisher does so; two of them only find less.
pub async fn expire_results(store: Store, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match store.expire_results(RESULTS).await {
            Ok(removed) => {
                metrics::counter!("bridge_results_expired_total").increment(removed);
                if removed >= u64::from(RESULTS) {
                    continue;
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "results past their time to live could not be removed; it is tried again"
                );
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RESULTS_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}
