//! `GET /pulsar/tenants/{id}/export?after=&limit=`: a tenant's executions with payloads and results, one JSON object
//! a line, by id. Fewer lines than `limit` are the end.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bridge_protocol::{ExecutionId, Lane, State as Stage, TenantId, Time, WorkflowId};
use bridge_service::Problem;
use bridge_store::{Execution, ExportedRow, ResultBody, StoreError, StoredPayload};
use bytes::Bytes;
use futures::stream;
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::admin::{By, refused, tenant_in_path};
use super::fields::Fields;
use crate::answer::failed;
use crate::app::{App, AppState};
use crate::data_keys;

const LIMIT: u64 = 1000;
const MAX_LIMIT: u64 = 10_000;
/// Rows that are in memory at a time: each may have a payload of the largest size.
const STEP: u64 = 4;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ExportedExecution")]
pub struct Line<'a> {
    execution_id: ExecutionId,
    tenant_id: &'a TenantId,
    workflow_id: &'a WorkflowId,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    lane: Lane,
    state: Stage,
    evidence: Option<bridge_protocol::Evidence>,
    attempt: u16,
    accepted_at: Time,
    deliver_at: Option<Time>,
    expires_at: Option<Time>,
    claimed_at: Option<Time>,
    finished_at: Option<Time>,
    http_status: Option<u16>,
    reason: Option<&'a str>,
    error: Option<&'a str>,
    n8n_execution_id: Option<&'a str>,
    replay_of: Option<String>,
    replayed_as: Option<String>,
    metadata: Option<Box<RawValue>>,
    payload: Option<Box<RawValue>>,
    /// Why there is no payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_missing: Option<String>,
    result: Option<Outcome>,
}

/// What n8n answered, as text.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ExportedResult")]
struct Outcome {
    content_type: Option<String>,
    /// Absent when it cannot be read any more; then `body_missing` says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_missing: Option<String>,
    truncated: bool,
}

impl Outcome {
    async fn open(app: &App, result: ResultBody, execution: &Execution) -> Self {
        let stored = StoredPayload { bytes: result.body, data_key: result.data_key };
        let opened = data_keys::open_result(app, &execution.tenant, execution.id, stored).await;
        let (body, body_missing) = match opened {
            Ok(plain) => (Some(String::from_utf8_lossy(&plain).into_owned()), None),
            Err(problem) => (None, Some(problem.detail().to_owned())),
        };
        Self { content_type: result.content_type, body, body_missing, truncated: result.truncated }
    }
}

pub async fn handle(
    State(app): State<AppState>,
    By(actor): By,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let tenant = tenant_in_path(&id)?;
    let mut fields = Fields::query(query, &["after", "limit"]);
    let after: Option<ExecutionId> = fields.id("after");
    let limit = fields.whole("limit", 1..=MAX_LIMIT).unwrap_or(LIMIT);
    fields.check()?;
    let found = app.store.tenant(&tenant).await.map_err(|error| failed(&error))?;
    if found.is_none() {
        return Err(Problem::not_found(format!("there is no tenant {tenant}; check the name")));
    }
    let note = serde_json::json!({ "after": after, "limit": limit });
    app.store
        .write_audit(&actor, "tenant.export", Some(&tenant), tenant.as_str(), None, Some(note))
        .await
        .map_err(|error| refused(error.into(), format_args!("tenant {tenant}")))?;
    let start = Page { app, tenant, after, left: limit };
    let lines = stream::try_unfold(start, Page::next);
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

struct Page {
    app: AppState,
    tenant: TenantId,
    after: Option<ExecutionId>,
    left: u64,
}

impl Page {
    /// An error ends the answer early: the receiver sees an incomplete body.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        let step = self.left.min(STEP);
        if step == 0 {
            return Ok(None);
        }
        let rows = self.app.store.export(&self.tenant, self.after, step as u16).await.inspect_err(|error| {
            tracing::warn!(tenant_id = %self.tenant, error = error as &dyn std::error::Error, "an export broke off");
        })?;
        let Some(last) = rows.last() else { return Ok(None) };
        self.after = Some(last.execution.id);
        self.left = if (rows.len() as u64) < step { 0 } else { self.left - step };
        let mut lines = Vec::new();
        for row in rows {
            write(&self.app, row, &mut lines).await;
            lines.push(b'\n');
        }
        Ok(Some((lines.into(), self)))
    }
}

async fn write(app: &App, row: ExportedRow, lines: &mut Vec<u8>) {
    let ExportedRow { execution, payload, result } = row;
    let opened = match payload {
        None => Err(data_keys::gone(execution.id).detail().to_owned()),
        Some(stored) => open(app, stored, &execution).await,
    };
    let (payload, payload_missing) = match opened {
        Ok(payload) => (Some(payload), None),
        Err(why) => (None, Some(why)),
    };
    let result = match result {
        Some(result) => Some(Outcome::open(app, result, &execution).await),
        None => None,
    };
    let line = Line {
        execution_id: execution.id,
        tenant_id: &execution.tenant,
        workflow_id: &execution.workflow,
        kind: execution.kind.as_deref(),
        lane: execution.lane,
        state: execution.state,
        evidence: execution.evidence,
        attempt: execution.attempt,
        accepted_at: execution.accepted_at,
        deliver_at: execution.deliver_at,
        expires_at: execution.expires_at,
        claimed_at: execution.claimed_at,
        finished_at: execution.finished_at,
        http_status: execution.http_status,
        reason: execution.reason.as_deref(),
        error: execution.error.as_deref(),
        n8n_execution_id: execution.n8n_execution_id.as_deref(),
        replay_of: execution.replay_of.map(|id| id.to_string()),
        replayed_as: execution.replayed_as.map(|id| id.to_string()),
        metadata: execution.metadata.clone().and_then(|text| RawValue::from_string(text).ok()),
        payload,
        payload_missing,
        result,
    };
    // A struct of texts and raw JSON always serializes.
    if let Err(error) = serde_json::to_writer(&mut *lines, &line) {
        tracing::error!(execution_id = %execution.id, %error, "an execution could not be exported");
    }
}

async fn open(app: &App, stored: StoredPayload, execution: &Execution) -> Result<Box<RawValue>, String> {
    let opened = data_keys::open(app, &execution.tenant, execution.id, stored).await;
    let plain = opened.map_err(|problem| problem.detail().to_owned())?;
    let text = String::from_utf8(plain.into()).map_err(|_| "it is not text".to_owned())?;
    // A line of the export is one line; line breaks in JSON stand only between its tokens.
    let text = if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text };
    RawValue::from_string(text).map_err(|_| "it is not JSON".to_owned())
}
