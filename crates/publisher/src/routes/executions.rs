//! `GET /pulsar/executions`: the tenant's executions, newest first, by state, workflow, lane, time, reason, metadata.

use axum::Json;
use axum::extract::{Query, State};
use bridge_protocol::{Evidence, ExecutionId, Lane, State as Stage, Time, WorkflowId};
use bridge_service::Problem;
use bridge_store::Listed;
use schemars::JsonSchema;
use serde::Serialize;

use super::fields::Fields;
use super::filter;
use crate::answer::failed;
use crate::app::AppState;
use crate::auth::ActsFor;
use crate::cursor::Bound;

const LIMIT: u64 = 50;
pub const MAX_LIMIT: u64 = 1000;
const KNOWN: &[&str] = &[
    "state",
    "workflow_id",
    "lane",
    "since",
    "until",
    "reason",
    "metadata",
    "limit",
    "cursor",
    // Read by `ActsFor`.
    "tenant_id",
];

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ExecutionPage")]
pub struct Page {
    executions: Vec<Line>,
    /// Give it as `cursor` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Only the newest part was searched; `next_cursor` goes on behind it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ListedExecution")]
struct Line {
    execution_id: ExecutionId,
    workflow_id: WorkflowId,
    lane: Lane,
    state: Stage,
    /// What a success rests on; `started`: n8n only said that it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    attempt: u16,
    accepted_at: Time,
    /// Once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed_as: Option<String>,
}

pub async fn handle(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Page>, Problem> {
    let mut fields = Fields::query(query, KNOWN);
    let filter = filter::read(&mut fields);
    let (limit, cursor) = page(&mut fields, LIMIT);
    fields.check()?;
    let shape = serde_json::to_string(&filter).map_err(|_| Problem::internal())?;
    let bound = Bound::new(&app.vault, "executions", &tenant, &shape);
    let before = cursor.map(|text| bound.take_execution(&text)).transpose()?;
    let listed = app.store.list(&tenant, &filter, before, limit).await.map_err(|error| failed(&error))?;
    Ok(Json(Page {
        executions: listed.rows.into_iter().map(Line::from).collect(),
        next_cursor: listed.next.map(|id| bound.give_id(id.uuid())),
        partial: listed.partial,
    }))
}

/// How long a page is and where it begins.
pub fn page(fields: &mut Fields, usual: u64) -> (u16, Option<String>) {
    // Within MAX_LIMIT.
    let limit = fields.whole("limit", 1..=MAX_LIMIT).unwrap_or(usual) as u16;
    (limit, fields.parse("cursor", |text| Ok(text.to_owned())))
}

impl From<Listed> for Line {
    fn from(listed: Listed) -> Self {
        Self {
            execution_id: listed.id,
            workflow_id: listed.workflow,
            lane: listed.lane,
            state: listed.state,
            evidence: listed.evidence,
            attempt: listed.attempt,
            accepted_at: listed.accepted_at,
            // Of one that is tried again, the end of its last attempt stands there.
            finished_at: listed.finished_at.filter(|_| listed.state.is_terminal()),
            reason: listed.reason,
            replayed_as: listed.replayed_as.map(|id| id.to_string()),
        }
    }
}
