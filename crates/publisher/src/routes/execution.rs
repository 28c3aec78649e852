//! `GET /pulsar/executions/{id}`: one execution with its timeline.

use axum::Json;
use axum::extract::{Path, State};
use bridge_protocol::{Evidence, ExecutionId, Lane, State as Stage, TenantId, Time, WorkflowId};
use bridge_service::{Problem, trace};
use bridge_store::{Attempt, Execution};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::answer::{Links, RouteTaken, failed, no_such_execution};
use crate::app::{App, AppState};
use crate::auth::ActsFor;

#[derive(Debug, Serialize)]
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
    links: Links,
}

#[derive(Debug, Serialize)]
struct AttemptShown {
    attempt: u16,
    claimed_at: Option<Time>,
    finished_at: Option<Time>,
    http_status: Option<u16>,
    outcome: Option<String>,
    error: Option<String>,
    message_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Trace {
    id: String,
    sampled: bool,
}

/// Why nothing happens right now.
#[derive(Debug, Serialize)]
struct WaitingOn {
    kind: &'static str,
    since: Option<Time>,
    until: Option<Time>,
    detail: String,
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
    let now = app.clock.now();
    Ok(Json(show(&app, execution, now)))
}

/// A caller's text is not repeated at length.
pub fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn show(app: &App, execution: Execution, now: Time) -> Shown {
    let waiting_on = waiting_on(&execution, now);
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
            mode: bridge_protocol::Mode::Pulsar.as_str(),
            decided_by: execution.decided_by,
            reason: execution.decided_because,
        },
        trace: traceparent.and_then(|text| {
            let id = trace::trace_id(text)?.to_owned();
            Some(Trace { id, sampled: text.trim_end().ends_with('1') })
        }),
        metadata: execution.metadata.and_then(|text| RawValue::from_string(text).ok()),
        replay_of: execution.replay_of.map(|id| id.to_string()),
        replayed_as: execution.replayed_as.map(|id| id.to_string()),
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

fn waiting_on(execution: &Execution, now: Time) -> Option<WaitingOn> {
    let since = execution.attempts.last().map_or(execution.accepted_at, |attempt| attempt.finished_at);
    let (kind, until, detail) = match execution.state {
        Stage::Accepted | Stage::Retrying if execution.parks > 0 => (
            "concurrency",
            execution.due_at,
            format!(
                "parked {} times: no free slot for its workflow or host, or its endpoint is failing",
                execution.parks
            ),
        ),
        Stage::Accepted if execution.deliver_at.is_some_and(|at| at > now) => {
            ("delay", execution.deliver_at, "delivered at the time it was asked for".to_owned())
        }
        Stage::Retrying if execution.due_at.is_some_and(|at| at > now) => {
            ("retry", execution.due_at, format!("attempt {} failed; the next one follows", execution.attempt))
        }
        Stage::Accepted | Stage::Retrying => {
            ("pulsar", None, "on its way through the topic to a consumer".to_owned())
        }
        _ => return None,
    };
    Some(WaitingOn { kind, since: Some(since), until, detail })
}
