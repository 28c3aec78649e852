//! `GET /pulsar/status`: a tenant's numbers; `GET /pulsar/admin/status`: the whole bridge with its daemons.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use bridge_protocol::{TenantId, Time};
use bridge_service::Problem;
use bridge_service::heartbeat::ALIVE_WITHIN;
use bridge_store::{MemberRow, Overview};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::admin::DAY;
use super::fields::Fields;
use crate::answer::failed;
use crate::app::AppState;
use crate::auth::ActsFor;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TenantStatus")]
pub struct Numbers {
    /// None: of all tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<TenantId>,
    now: Time,
    /// Executions that have not ended.
    live: u64,
    /// There are more than were counted.
    live_more: bool,
    /// Nothing is overdue without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_due: Option<Time>,
    /// Of the last 24 hours, without those that were discarded.
    dead_letters_24h: u64,
    notices_waiting: u64,
    follow_ups_waiting: u64,
    jobs_running: u64,
    holds: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BridgeStatus")]
pub struct Whole {
    #[serde(flatten)]
    numbers: Numbers,
    /// The revision of the routes and holds that this publisher goes by.
    routes_revision: i64,
    tenants: usize,
    members: Vec<Member>,
}

#[derive(Serialize, JsonSchema)]
pub struct Member {
    id: Uuid,
    kind: String,
    version: String,
    host: String,
    started_at: Time,
    seen_at: Time,
    /// False: it fell silent without a farewell.
    alive: bool,
    detail: serde_json::Value,
}

impl Numbers {
    fn new(tenant_id: Option<TenantId>, seen: Overview) -> Self {
        Self {
            tenant_id,
            now: seen.now,
            live: seen.live,
            live_more: seen.live_more,
            oldest_due: seen.oldest_due,
            dead_letters_24h: seen.dead_letters,
            notices_waiting: seen.notices_waiting,
            follow_ups_waiting: seen.follow_ups_waiting,
            jobs_running: seen.jobs_running,
            holds: seen.holds,
        }
    }
}

impl Member {
    fn new(row: MemberRow, now: Time) -> Self {
        let silent = (now - row.seen_at).to_std().unwrap_or_default();
        Self {
            id: row.id,
            kind: row.kind,
            version: row.version,
            host: row.host,
            started_at: row.started_at,
            seen_at: row.seen_at,
            alive: silent <= ALIVE_WITHIN,
            detail: row.detail,
        }
    }
}

pub async fn tenant(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Numbers>, Problem> {
    Fields::query(query, &["tenant_id"]).check()?;
    let seen = app.store.overview(Some(&tenant)).await.map_err(|error| failed(&error))?;
    Ok(Json(Numbers::new(Some(tenant), seen)))
}

pub async fn whole(
    State(app): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Whole>, Problem> {
    Fields::query(query, &[]).check()?;
    let seen = app.store.overview(None).await.map_err(|error| failed(&error))?;
    let members = app.store.members(Duration::from_secs(DAY)).await.map_err(|error| failed(&error))?;
    let now = seen.now;
    Ok(Json(Whole {
        numbers: Numbers::new(None, seen),
        routes_revision: app.routes.load().revision(),
        tenants: app.directory.snapshot().tenants.len(),
        members: members.into_iter().map(|row| Member::new(row, now)).collect(),
    }))
}
