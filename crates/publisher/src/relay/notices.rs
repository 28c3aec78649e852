//! Announces dead-lettered executions and forged messages on the dead-letter topics, at least once. A notice is signed
//! as every message is, so that whoever reads the topic can believe it.

use std::sync::Arc;
use std::time::Duration;

use bridge_bus::Outgoing;
use bridge_protocol::{Notice as Claims, SignError, VERSION};
use bridge_store::{Notice, Store};
use futures::StreamExt;
use serde_json::{Map, Value, json};
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
    let body = match signed(outbound, notice, &topic) {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error, topic, tenant_id = %notice.tenant,
                "a notice could not be signed; it is tried again"
            );
            return false;
        }
    };
    let mut properties = vec![
        ("kind".to_owned(), notice.kind.clone()),
        ("reason".to_owned(), notice.reason.clone()),
        ("tenant_id".to_owned(), notice.tenant.to_string()),
        ("lane".to_owned(), notice.lane.as_str().to_owned()),
    ];
    properties.extend(notice.execution.map(|id| ("execution_id".to_owned(), id.to_string())));
    match outbound.producers.publish(&topic, Outgoing { body, properties }).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(topic, tenant_id = %notice.tenant, error = %error, "a notice could not be announced; it is tried again");
            false
        }
    }
}

fn signed(outbound: &Outbound, notice: &Notice, topic: &str) -> Result<String, SignError> {
    let now = outbound.clock.now().timestamp();
    let lifetime = outbound.lifetime.as_secs() as i64;
    let mut claims = claims(notice, topic, &outbound.issuer, now, now.saturating_add(lifetime));
    match outbound.keys.sign(&claims) {
        // It is for people; what happened to which execution is said without it.
        Err(SignError::TooLong(_)) => {
            claims.detail = Map::new();
            outbound.keys.sign(&claims)
        }
        signed => signed,
    }
}

fn claims(notice: &Notice, topic: &str, issuer: &str, iat: i64, exp: i64) -> Claims {
    let mut detail = match &notice.detail {
        Value::Object(detail) => detail.clone(),
        Value::Null => Map::new(),
        other => Map::from_iter([("detail".to_owned(), other.clone())]),
    };
    detail.insert("lane".to_owned(), json!(notice.lane));
    detail.insert("at".to_owned(), json!(notice.created_at));
    Claims {
        v: VERSION,
        iss: issuer.to_owned(),
        aud: topic.to_owned(),
        sub: notice.execution,
        tid: notice.tenant.clone(),
        iat,
        exp,
        // The row's number: an announcement that is repeated is the same one.
        jti: format!("notice.{}", notice.number),
        kind: notice.kind.clone(),
        reason: notice.reason.clone(),
        detail,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bridge_protocol::{Lane, TenantId};

    use super::*;

    #[test]
    fn a_notice_says_what_happened_to_which_execution_and_is_the_same_when_it_is_repeated() {
        let notice = Notice {
            number: 7,
            tenant: TenantId::parse("acme").unwrap(),
            lane: Lane::Ai,
            execution: Some("01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()),
            kind: "dead_lettered".to_owned(),
            reason: "permanent_answer".to_owned(),
            detail: json!({ "attempt": 1 }),
            created_at: "2026-01-31T09:00:00Z".parse().unwrap(),
        };
        let made = |iat| claims(&notice, "persistent://acme/w/t", "bridge", iat, iat + 60);
        assert_eq!((made(1).jti, made(1).sub), (made(2).jti, notice.execution));
        assert_eq!(
            serde_json::to_value(made(1)).unwrap()["detail"],
            json!({ "attempt": 1, "lane": "ai", "at": "2026-01-31T09:00:00Z" })
        );
    }
}
