//! `POST /pulsar/executions/{id}/replay`: the payload once more, as a new execution. The old one keeps its state.

use axum::extract::{Path, State};
use bridge_protocol::{ExecutionId, PayloadHash};
use bridge_service::Problem;
use bridge_store::{Execution, Replayable};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::accept::{self, Candidate, Fate};
use crate::answer::{Published, failed, no_such_execution};
use crate::app::AppState;
use crate::auth::Caller;
use crate::observe::traceparent;
use crate::parse::{self, Publish, Schedule};
use crate::routes::{execution::short, publish::header_key};

pub async fn handle(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Published, Problem> {
    let id: ExecutionId = id.parse().map_err(|_| no_such_execution(short(&id)))?;
    let key = header_key(&headers)?.map(parse::checked_header_key).transpose()?.flatten();
    let mut share = app.budget.take(0)?;
    let found = app.store.execution(&caller.tenant, id).await.map_err(|error| failed(&error))?;
    let old = found.ok_or_else(|| no_such_execution(id))?;
    if !old.state.is_terminal() {
        return Err(live(&old));
    }
    let copied = app.store.replayable(&caller.tenant, id).await.map_err(|error| failed(&error))?;
    let Some(Replayable { payload: Some(payload), psh, .. }) = copied else { return Err(gone(id)) };
    share.grow_to(payload.len())?;

    let tenant = old.tenant.clone();
    let mut candidate = Candidate::new(&app, again(old, payload, psh, key), traceparent(&headers))?;
    candidate.decision.reason = format!("a replay of {id}, on its lane");
    let (candidate, fate) = accept::one(&app, candidate, share).await?;
    if let Fate::New = fate
        && let Err(error) = app.store.link_replay(&tenant, id, candidate.id).await
    {
        // The new execution is durable; only the note on both sides is missing.
        tracing::warn!(execution_id = %candidate.id, tenant_id = %tenant, replay_of = %id, error = &error as &dyn std::error::Error, "a replay could not be noted");
    }
    let mut answer = Published::new(&app, candidate, fate).await?;
    answer.replay_of = Some(id);
    Ok(answer)
}

/// The old request once more, without its schedule: it is wanted now.
fn again(old: Execution, payload: Bytes, psh: PayloadHash, key: Option<String>) -> Publish {
    // The key stands for "this replay of this execution".
    let digest = PayloadHash::of(format!("replay {}", old.id).as_bytes()).0;
    Publish {
        tenant: old.tenant,
        workflow: old.workflow,
        kind: old.kind,
        lane: Some(old.lane),
        payload,
        psh,
        schedule: Schedule::default(),
        metadata: old.metadata,
        idempotency_key: key,
        digest,
        warnings: Vec::new(),
    }
}

fn live(old: &Execution) -> Problem {
    let detail = format!(
        "execution {} is {}; it can be replayed once it has ended. Until then it would only run twice",
        old.id, old.state
    );
    Problem::new(StatusCode::CONFLICT, "still-live", "Execution has not ended", detail).about(old.id)
}

fn gone(id: ExecutionId) -> Problem {
    let detail =
        format!("the payload of execution {id} is past its retention; publish it again from its source");
    Problem::new(StatusCode::GONE, "payload-gone", "Payload gone", detail).about(id)
}
