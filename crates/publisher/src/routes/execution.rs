//! `GET /pulsar/executions/{id}`: one execution with its timeline.

use axum::Json;
use axum::extract::{Path, State};
use bridge_protocol::{
    Completion, Evidence, ExecutionId, Lane, Mode, State as Stage, TenantId, Time, WorkflowId,
};
use bridge_service::{Problem, trace};
use bridge_store::{Attempt, Execution, TenantState};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::answer::{Links, RouteTaken, failed, no_such_execution};
use crate::app::{App, AppState};
use crate::auth::ActsFor;
use crate::waiting::{Known, WaitingOn, waiting_on};

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Execution")]
pub struct Shown {
    execution_id: ExecutionId,
    tenant_id: TenantId,
    workflow_id: WorkflowId,
    #[serde(rename = "type")]
    kind: Option<String>,
    lane: Lane,
    topic: String,
    state: Stage,
    evidence: Option<Evidence>,
    /// What the state means where the word alone misleads.
    summary: Option<&'static str>,
    waiting_on: Option<WaitingOn>,
    mode: Mode,
    completion: Completion,
    attempt: u16,
    attempts: Vec<AttemptShown>,
    accepted_at: Time,
    deliver_at: Option<Time>,
    expires_at: Option<Time>,
    due_at: Option<Time>,
    published_at: Option<Time>,
    claimed_at: Option<Time>,
    lease_until: Option<Time>,
    finished_at: Option<Time>,
    message_id: Option<String>,
    http_status: Option<u16>,
    reason: Option<String>,
    error: Option<String>,
    n8n_execution_id: Option<String>,
    route: RouteTaken,
    trace: Option<Trace>,
    metadata: Option<Box<RawValue>>,
    replay_of: Option<String>,
    replayed_as: Option<String>,
    /// The workflow that is told when this ends badly.
    on_failure: Option<WorkflowId>,
    /// The execution whose bad end this one tells of.
    caused_by: Option<String>,
    links: Links,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
struct AttemptShown {
    attempt: u16,
    claimed_at: Option<Time>,
    finished_at: Option<Time>,
    http_status: Option<u16>,
    outcome: Option<String>,
    error: Option<String>,
    message_id: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Trace {
    id: String,
    sampled: bool,
    /// Its page, where the operator has named a Jaeger.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

pub async fn handle(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Problem> {
    // What is no id at all cannot exist either.
    let id: ExecutionId = id.parse().map_err(|_| no_such_execution(short(&id)))?;
    let found = app.store.execution(&tenant, id).await.map_err(|error| failed(&error))?;
    let execution = found.ok_or_else(|| no_such_execution(id))?;
    let waiting_on = ask_why(&app, &execution).await;
    Ok(Json(show(&app, execution, waiting_on)))
}

/// A caller's text is not repeated at length.
pub fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

async fn ask_why(app: &App, execution: &Execution) -> Option<WaitingOn> {
    // Nobody is asked for what has ended.
    let members = if execution.state.is_terminal() { None } else { app.members.alive().await };
    let suspended = {
        let directory = app.directory.snapshot();
        directory.tenant(&execution.tenant).is_some_and(|tenant| tenant.state == TenantState::Suspended)
    };
    let known = Known {
        routes: &app.routes.load(),
        members: members.as_deref(),
        suspended,
        topic: &app.names.topic(&execution.tenant, execution.lane),
        now: app.clock.now(),
    };
    waiting_on(execution, &known)
}

fn show(app: &App, execution: Execution, waiting_on: Option<WaitingOn>) -> Shown {
    let mut attempts: Vec<AttemptShown> = execution.attempts.iter().map(AttemptShown::from).collect();
    let recorded = attempts.iter().any(|attempt| attempt.attempt == execution.attempt);
    if execution.attempt > 0 && !recorded {
        attempts.push(last_attempt(&execution));
    }
    let traceparent = execution.traceparent.as_deref();
    Shown {
        topic: app.names.topic(&execution.tenant, execution.lane),
        links: Links::new(app, execution.id),
        execution_id: execution.id,
        tenant_id: execution.tenant,
        workflow_id: execution.workflow,
        kind: execution.kind,
        lane: execution.lane,
        state: execution.state,
        evidence: execution.evidence,
        summary: (execution.evidence == Some(Evidence::Started)).then_some("started, outcome unknown"),
        waiting_on,
        mode: execution.mode,
        completion: execution.completion,
        attempt: execution.attempt,
        attempts,
        accepted_at: execution.accepted_at,
        deliver_at: execution.deliver_at,
        expires_at: execution.expires_at,
        due_at: execution.due_at,
        published_at: execution.published_at,
        claimed_at: execution.claimed_at,
        lease_until: execution.lease_until.filter(|_| execution.state == Stage::Running),
        finished_at: execution.finished_at,
        message_id: execution.message_id,
        http_status: execution.http_status,
        reason: execution.reason,
        error: execution.error,
        n8n_execution_id: execution.n8n_execution_id,
        route: RouteTaken {
            mode: execution.mode.as_str(),
            decided_by: execution.decided_by,
            reason: execution.decided_because,
        },
        trace: traceparent.and_then(|text| {
            let id = trace::trace_id(text)?.to_owned();
            let page = |base: &String| format!("{}/trace/{id}", base.trim_end_matches('/'));
            let url = app.jaeger_url.as_ref().map(page);
            Some(Trace { id, sampled: text.trim_end().ends_with('1'), url })
        }),
        metadata: execution.metadata.and_then(|text| RawValue::from_string(text).ok()),
        replay_of: execution.replay_of.map(|id| id.to_string()),
        replayed_as: execution.replayed_as.map(|id| id.to_string()),
        on_failure: execution.on_failure,
        caused_by: execution.caused_by.map(|id| id.to_string()),
    }
}

/// The attempt under way, or the last one, stands on the execution itself.
fn last_attempt(execution: &Execution) -> AttemptShown {
    AttemptShown {
        attempt: execution.attempt,
        claimed_at: execution.claimed_at,
        finished_at: execution.finished_at,
        http_status: execution.http_status,
        outcome: execution.state.is_terminal().then(|| execution.state.as_str().to_owned()),
        error: execution.error.clone(),
        message_id: execution.message_id.clone(),
    }
}

impl From<&Attempt> for AttemptShown {
    fn from(attempt: &Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            claimed_at: attempt.claimed_at,
            finished_at: Some(attempt.finished_at),
            http_status: attempt.http_status,
            outcome: Some(attempt.outcome.clone()),
            error: attempt.error.clone(),
            message_id: attempt.message_id.clone(),
        }
    }
}
