//! `GET /pulsar/audit`: every administrative act, oldest first; `GET /pulsar/audit/refusals`: what was turned away,
//! a count for each minute.

use axum::Json;
use axum::extract::{Query, State};
use bridge_protocol::TenantId;
use bridge_service::Problem;
use bridge_store::AuditFilter;
use serde_json::{Value, json};
use std::time::Duration;

use super::admin::DAY;
use super::fields::Fields;
use crate::answer::failed;
use crate::app::AppState;

const LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 1000;

pub async fn list(
    State(app): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Problem> {
    const KNOWN: &[&str] = &["tenant_id", "actor", "action", "after", "since", "until", "limit"];
    let mut fields = Fields::query(query, KNOWN);
    let limit = fields.whole("limit", 1..=MAX_LIMIT).unwrap_or(LIMIT);
    let own = |text: &str| Ok(text.to_owned());
    let filter = AuditFilter {
        tenant: fields.id::<TenantId>("tenant_id"),
        actor: fields.parse("actor", own),
        action: fields.parse("action", own),
        after_id: fields.whole("after", 0..=i64::MAX as u64).map(|id| id as i64),
        since: fields.time("since"),
        until: fields.time("until"),
        limit: limit as u32,
    };
    fields.check()?;
    let rows = app.store.audit(&filter).await.map_err(|error| failed(&error))?;
    let next_after = rows.last().filter(|_| rows.len() as u64 == limit).map(|last| last.id);
    let entries: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            json!({
                "id": row.id, "at": row.at, "actor": row.actor, "action": row.action, "tenant_id": row.tenant,
                "target": row.target, "source": row.source, "before": row.before, "after": row.after,
            })
        })
        .collect();
    Ok(Json(json!({ "entries": entries, "next_after": next_after })))
}

pub async fn refusals(
    State(app): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::query(query, &["since", "limit"]);
    let since = fields.time("since").unwrap_or_else(|| app.clock.now() - Duration::from_secs(DAY));
    let limit = fields.whole("limit", 1..=MAX_LIMIT).unwrap_or(LIMIT);
    fields.check()?;
    let rows = app.store.refusals(since, limit as u32).await.map_err(|error| failed(&error))?;
    let refusals: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            json!({
                "minute": row.minute, "kind": row.kind, "subject": row.subject, "reason": row.reason, "count": row.count,
            })
        })
        .collect();
    Ok(Json(json!({ "refusals": refusals, "since": since })))
}
