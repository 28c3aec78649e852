//! `/pulsar/dead-letters`: what ended without success and waits for a person; and putting one away with a note.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use bridge_protocol::{ExecutionId, Lane, Reason, TenantId, Time, WorkflowId};
use bridge_service::Problem;
use bridge_store::{DeadLetter, DeadLetterFilter};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::admin::{By, conflict};
use super::execution::short;
use super::executions::page;
use super::fields::Fields;
use crate::answer::failed;
use crate::app::AppState;
use crate::auth::ActsFor;
use crate::cursor::Bound;

const LIMIT: u64 = 50;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetterPage")]
pub struct Page {
    dead_letters: Vec<Shown>,
    /// Give it as `cursor` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Only the newest part was searched; `next_cursor` goes on behind it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetter")]
pub struct Shown {
    execution_id: ExecutionId,
    workflow_id: WorkflowId,
    lane: Lane,
    /// One of a closed set.
    reason: String,
    attempt: u16,
    dead_lettered_at: Time,
    /// What the webhook answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed_as: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded: Option<Discarded>,
}

#[derive(Serialize, JsonSchema)]
struct Discarded {
    at: Time,
    by: String,
    note: String,
}

impl From<DeadLetter> for Shown {
    fn from(letter: DeadLetter) -> Self {
        Self {
            execution_id: letter.id,
            workflow_id: letter.workflow,
            lane: letter.lane,
            reason: letter.reason,
            attempt: letter.attempt,
            dead_lettered_at: letter.at,
            http_status: letter.http_status,
            error: letter.error,
            replayed_as: letter.replayed_as.map(|id| id.to_string()),
            discarded: letter.discarded.map(|it| Discarded { at: it.at, by: it.by, note: it.note }),
        }
    }
}

pub async fn list(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Page>, Problem> {
    const KNOWN: &[&str] = &["lane", "workflow_id", "reason", "discarded", "limit", "cursor", "tenant_id"];
    let mut fields = Fields::query(query, KNOWN);
    let filter = DeadLetterFilter {
        lane: fields.id("lane"),
        workflow: fields.id("workflow_id"),
        reason: fields.id::<Reason>("reason"),
        include_discarded: fields.flag("discarded").unwrap_or(false),
    };
    let (limit, cursor) = page(&mut fields, LIMIT);
    fields.check()?;
    let shape = json!([filter.lane, filter.workflow, filter.reason, filter.include_discarded]).to_string();
    let bound = Bound::new(&app.vault, "dead-letters", &tenant, &shape);
    let before = cursor.map(|text| bound.take_execution(&text)).transpose()?;
    let found = app.store.dead_letters(&tenant, &filter, before, limit).await;
    let found = found.map_err(|error| failed(&error))?;
    Ok(Json(Page {
        dead_letters: found.rows.into_iter().map(Shown::from).collect(),
        next_cursor: found.next.map(|id| bound.give_id(id.uuid())),
        partial: found.partial,
    }))
}

pub async fn get(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Problem> {
    let known: ExecutionId = id.parse().map_err(|_| none(&id))?;
    let found = app.store.dead_letter(&tenant, known).await.map_err(|error| failed(&error))?;
    found.map(|letter| Json(letter.into())).ok_or_else(|| none(&id))
}

pub async fn discard(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let known: ExecutionId = id.parse().map_err(|_| none(&id))?;
    let mut fields = Fields::body(&app, request, &["note"]).await?;
    let note = fields.need("note", |text| match text.trim() {
        text if text.len() <= 500 => Ok(text.to_owned()),
        _ => Err("must have at most 500 bytes".to_owned()),
    });
    let Some(note) = note else { return Err(fields.refuse()) };
    fields.check()?;
    let done = app.store.discard(&actor, &tenant, known, &note).await.map_err(|error| failed(&error))?;
    let Some(changed) = done else { return Err(no_dead_letter(&app, &tenant, known).await) };
    Ok(Json(json!({ "execution_id": known, "discarded": true, "changed": changed })))
}

/// An execution that is none says what it is; what does not exist says nothing.
async fn no_dead_letter(app: &AppState, tenant: &TenantId, id: ExecutionId) -> Problem {
    let state = match app.store.execution(tenant, id).await {
        Ok(Some(execution)) => execution.state,
        Ok(None) => return none(&id.to_string()),
        Err(error) => return failed(&error),
    };
    let allowed = state.allowed().join(", ");
    conflict(format!("execution {id} is {state} and no dead letter; what it allows is: {allowed}"))
        .about(id)
        .with_state(state.as_str(), state.allowed())
}

/// The same for one that does not exist and one of another tenant.
fn none(id: &str) -> Problem {
    let id = short(id);
    Problem::not_found(format!(
        "there is no dead letter {id} of this tenant; GET /pulsar/dead-letters lists them"
    ))
}
