//! Announces dead-lettered executions and forged messages on the dead-letter topics, at least once.

use std::sync::Arc;
use std::time::Duration;

use bridge_bus::Outgoing;
use bridge_store::{Notice, Store};
use futures::StreamExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::outbound::Outbound;

const BATCH: u16 = 100;
const AT_ONCE: usize = 16;
/// Notices are for people and dashboards; a topic that refuses them must not spin.
const REST: Duration = Duration::from_secs(2);

pub async fn announce(store: Store, outbound: Arc<Outbound>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let more = outbound.producers.is_up() && round(&store, &outbound).await;
        if !more {
            tokio::select! {
                () = tokio::time::sleep(REST) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// True when there may be more at once.
async fn round(store: &Store, outbound: &Outbound) -> bool {
    let notices = match store.notices(BATCH).await {
        Ok(notices) => notices,
        Err(error) => {
            tracing::warn!(error = %error, "the waiting notices could not be read; they are read again");
            return false;
        }
    };
    let full = notices.len() == usize::from(BATCH);
    let sent: Vec<i64> = futures::stream::iter(notices)
        .map(|notice| async move { send(outbound, &notice).await.then_some(notice.number) })
        .buffer_unordered(AT_ONCE)
        .filter_map(|number| async move { number })
        .collect()
        .await;
    if sent.is_empty() {
        return false;
    }
    metrics::counter!("bridge_notices_announced_total").increment(sent.len() as u64);
    if let Err(error) = store.notices_sent(&sent).await {
        tracing::warn!(error = %error, "announced notices could not be removed; they will be announced again");
        return false;
    }
    full
}

async fn send(outbound: &Outbound, notice: &Notice) -> bool {
    let topic = outbound.names.dead_letter(&notice.tenant, notice.lane);
    let execution = notice.execution.map(|id| id.to_string());
    let body = json!({
        "kind": notice.kind,
        "reason": notice.reason,
        "tenant_id": notice.tenant,
        "lane": notice.lane,
        "execution_id": execution,
        "at": notice.created_at,
        "detail": notice.detail,
    });
    let mut properties = vec![
        ("kind".to_owned(), notice.kind.clone()),
        ("reason".to_owned(), notice.reason.clone()),
        ("tenant_id".to_owned(), notice.tenant.to_string()),
    ];
    properties.extend(execution.map(|id| ("execution_id".to_owned(), id)));
    match outbound.producers.publish(&topic, Outgoing { body: body.to_string(), properties }).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(topic, tenant_id = %notice.tenant, error = %error, "a notice could not be announced; it is tried again");
            false
        }
    }
}
