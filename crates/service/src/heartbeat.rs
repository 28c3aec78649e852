//! What each daemon says of itself in `members`: that it lives, which keys, which directory and which routes it has
//! loaded. An operator's change is in force when every live member has said its revision, so a change is said at once.

use crate::clock::entropy;
use crate::directory::Directory;
use crate::routing::Routing;
use bridge_store::{Member, Store, StoreError};
use metrics::counter;
use rand::Rng;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A member that was silent for this long does not count as alive.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(15);
/// Whoever needs every member's word waits for a silent one this long: it may have lost the database only, and go on
/// with what it knew.
pub const HEARD_WITHIN: Duration = Duration::from_secs(60);
const BEAT_EVERY: Duration = Duration::from_secs(5);
const BEAT_LIMIT: Duration = Duration::from_secs(5);
/// How often the keys are compared with what was said last.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After a beat that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Beats until the stop, then takes its row back. `kind` is `publisher` or `consumer`; `detail` gives more fields for `bridgectl status`, an
/// object; `keys`, `masters`, `directory` and `routes` are added to it.
pub async fn run(
    store: Store,
    kind: &'static str,
    keys: impl Fn() -> Vec<String>,
    directory: Directory,
    routing: Routing,
    detail: impl Fn() -> Value,
    stop: CancellationToken,
) {
    let mut id = [0; 16];
    entropy().fill_bytes(&mut id);
    let (id, host) = (uuid::Builder::from_random_bytes(id).into_uuid(), host());
    let (mut revisions, mut routes) = (directory.changes(), routing.changes());
    let beating = async {
        let mut said = None::<Said>;
        let mut next = Instant::now();
        loop {
            let now = Said {
                keys: keys(),
                directory: *revisions.borrow_and_update(),
                routes: *routes.borrow_and_update(),
            };
            if said.as_ref() != Some(&now) || next <= Instant::now() {
                let detail = with(detail(), &now, &directory);
                let member =
                    Member { id, kind, version: env!("CARGO_PKG_VERSION"), host: host.clone(), detail };
                match beat(&store, &member).await {
                    Ok(()) => (said, next) = (Some(now), Instant::now() + BEAT_EVERY),
                    Err(error) => {
                        counter!("bridge_heartbeat_failures_total").increment(1);
                        tracing::debug!(error = &error as &dyn std::error::Error, "no heartbeat");
                        tokio::time::sleep(AGAIN_AFTER).await;
                        continue;
                    }
                }
            }
            // A sender that is gone ends `changed` at once; directory and routing live as long as this task.
            let moved = async {
                tokio::select! {
                    moved = revisions.changed() => moved,
                    moved = routes.changed() => moved,
                }
            };
            let _look = timeout(LOOK_EVERY.min(next - Instant::now()), moved).await;
        }
    };
    stop.run_until_cancelled(beating).await;
    if !matches!(timeout(BEAT_LIMIT, store.leave(id)).await, Ok(Ok(()))) {
        tracing::debug!("the heartbeat could not be taken back; others wait for it a little longer");
    }
}

async fn beat(store: &Store, member: &Member) -> Result<(), StoreError> {
    let limit = StoreError::TimedOut { name: "beat", after: BEAT_LIMIT };
    timeout(BEAT_LIMIT, store.beat(member)).await.unwrap_or(Err(limit))
}

/// What others wait for, and what must therefore be said when it moves.
#[derive(PartialEq)]
struct Said {
    keys: Vec<String>,
    directory: i64,
    routes: i64,
}

fn with(detail: Value, now: &Said, directory: &Directory) -> Value {
    let mut fields = match detail {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    fields.insert("keys".to_owned(), json!(now.keys));
    // Fixed as long as the process lives, so that no change of them has to be said.
    fields.insert("masters".to_owned(), json!(directory.vault().ids().collect::<Vec<_>>()));
    fields.insert("directory".to_owned(), json!(now.directory));
    fields.insert("routes".to_owned(), json!(now.routes));
    Value::Object(fields)
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}
