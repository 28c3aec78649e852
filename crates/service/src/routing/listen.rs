//! The connection on which Postgres tells of changes. It may break at any time: the poll stands behind it.

use bridge_store::{Store, StoreError};
use metrics::{counter, gauge};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// For the connection to be there.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);
/// Between two tries; a connection that breaks at once must not spin.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A connection that is not there is said this often.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Calls `heard` after every change, and whenever one may have been missed.
pub(super) async fn forever(store: &Store, heard: impl Fn()) {
    gauge!("bridge_changes_listening").set(0.0);
    let mut said = None::<Instant>;
    loop {
        let Err(error) = listen(store, &heard).await;
        gauge!("bridge_changes_listening").set(0.0);
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "changes of routes and tenants are not heard of at once; they are found by looking, a poll later"
            );
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn listen(store: &Store, heard: &impl Fn()) -> Result<std::convert::Infallible, StoreError> {
    let limit = StoreError::TimedOut { name: "listen", after: CONNECT_LIMIT };
    let mut changes = timeout(CONNECT_LIMIT, store.listen()).await.unwrap_or(Err(limit))?;
    gauge!("bridge_changes_listening").set(1.0);
    // What changed before the connection was there was told to nobody.
    heard();
    loop {
        changes.next().await?;
        counter!("bridge_changes_heard_total").increment(1);
        heard();
    }
}
