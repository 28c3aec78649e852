//! `GET /pulsar/tenants?limit=&after=`: every tenant, by id.

use axum::Json;
use axum::extract::{Query, State};
use bridge_protocol::{TenantId, Time};
use bridge_service::Problem;
use bridge_store::{TenantLimits, TenantRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::fields::Fields;
use crate::answer::failed;
use crate::app::AppState;

const LIMIT: u64 = 100;
pub const MAX_LIMIT: u64 = 1000;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TenantPage")]
pub struct Page {
    tenants: Vec<Shown>,
    /// Give it as `after` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<TenantId>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Tenant")]
pub struct Shown {
    pub tenant_id: TenantId,
    pub state: &'static str,
    pub limits: TenantLimits,
    pub created_at: Time,
    pub changed_at: Time,
}

impl From<TenantRecord> for Shown {
    fn from(record: TenantRecord) -> Self {
        Self {
            tenant_id: record.id,
            state: record.state.as_str(),
            limits: record.limits,
            created_at: record.created_at,
            changed_at: record.changed_at,
        }
    }
}

pub async fn handle(
    State(app): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Page>, Problem> {
    let mut fields = Fields::query(query, &["limit", "after"]);
    let limit = fields.whole("limit", 1..=MAX_LIMIT).unwrap_or(LIMIT);
    let after: Option<TenantId> = fields.id("after");
    fields.check()?;
    // Within MAX_LIMIT.
    let found = app.store.tenants(after.as_ref(), limit as u32).await.map_err(|error| failed(&error))?;
    let next_after = found.last().filter(|_| found.len() as u64 == limit).map(|last| last.id.clone());
    Ok(Json(Page { tenants: found.into_iter().map(Shown::from).collect(), next_after }))
}
