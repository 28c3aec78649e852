//! `POST /pulsar/executions/{id}/cancel`: ends what lives. What is being fired right now may still run.

use axum::Json;
use axum::extract::{Path, Request, State};
use bridge_protocol::{ExecutionId, State as Stage, TenantId};
use bridge_service::Problem;
use bridge_service::steps::STEPS;
use bridge_store::{Actor, CancelOutcome};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::admin::By;
use super::execution::short;
use super::fields::Fields;
use crate::answer::{failed, no_such_execution};
use crate::app::{App, AppState};
use crate::auth::ActsFor;

#[derive(Debug, Serialize, JsonSchema)]
pub struct Cancelled {
    execution_id: ExecutionId,
    state: Stage,
    /// The state it had.
    was: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

pub async fn handle(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Cancelled>, Problem> {
    let id: ExecutionId = id.parse().map_err(|_| no_such_execution(short(&id)))?;
    let mut fields = Fields::body(&app, request, &["reason"]).await?;
    let reason = note(&mut fields, "reason");
    fields.check()?;
    let done = app.store.cancel_one(&actor.who, &tenant, id, &[], reason.as_deref()).await;
    match done.map_err(|error| failed(&error))? {
        None => Err(no_such_execution(id)),
        Some(CancelOutcome::Ended(state) | CancelOutcome::Spared(state)) => Err(ended(id, state)),
        Some(CancelOutcome::Cancelled { from }) => {
            tracing::info!(
                target: STEPS, step = "ended", execution_id = %id, tenant_id = tenant.as_str(),
                state = Stage::Cancelled.as_str(), was = from.as_str(), "cancelled"
            );
            metrics::counter!("bridge_cancelled_total", "was" => from.as_str()).increment(1);
            written_down(&app, &actor, &tenant, id, from, reason.as_deref()).await;
            Ok(Json(Cancelled { execution_id: id, state: Stage::Cancelled, was: from, note: caveat(from) }))
        }
    }
}

/// It is cancelled, whether or not that can be written down: its own record says by whom, too.
async fn written_down(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    id: ExecutionId,
    from: Stage,
    reason: Option<&str>,
) {
    let before = json!({ "state": from.as_str() });
    let after = json!({ "state": Stage::Cancelled.as_str(), "reason": reason });
    let (target, action) = (id.to_string(), "execution.cancel");
    let done = app.store.write_audit(actor, action, Some(tenant), &target, Some(before), Some(after)).await;
    if let Err(error) = done {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, execution_id = %id, tenant_id = %tenant, "a cancellation is missing in the audit log");
    }
}

/// What a person writes down about what he does.
pub fn note(fields: &mut Fields, name: &'static str) -> Option<String> {
    fields.parse(name, |text| match text.trim() {
        text if text.len() <= 500 => Ok(text.to_owned()),
        _ => Err("must have at most 500 bytes".to_owned()),
    })
}

fn caveat(from: Stage) -> Option<&'static str> {
    match from {
        Stage::Running => Some(
            "best effort: its webhook was being called, and the workflow may run to its end; its answer is not kept",
        ),
        Stage::Waiting => Some("the workflow was started and may run to its end; its report is refused"),
        _ => None,
    }
}

fn ended(id: ExecutionId, state: Stage) -> Problem {
    let allowed = state.allowed().join(", ");
    let detail =
        format!("execution {id} is {state} and cannot be cancelled any more; what it allows is: {allowed}");
    Problem::new(StatusCode::CONFLICT, "not-cancellable", "Execution has ended", detail)
        .about(id)
        .with_state(state.as_str(), state.allowed())
}
