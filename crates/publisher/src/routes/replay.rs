//! `POST /pulsar/executions/{id}/replay`: the payload once more, as a new execution. The old one keeps its state.

use axum::extract::{Path, State};
use bridge_protocol::{ExecutionId, PayloadHash, TenantId};
use bridge_service::Problem;
use bridge_service::directory::Tenant;
use bridge_store::Execution;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::accept::{self, Candidate, Fate, open_tenant};
use crate::allowance::{Metered, Refusal};
use crate::answer::{Published, failed, no_such_execution};
use crate::app::AppState;
use crate::auth::ActsFor;
use crate::budget::Share;
use crate::data_keys;
use crate::observe::traceparent;
use crate::parse::{self, Publish, Schedule};
use crate::routes::{execution::short, publish::header_key};

pub async fn handle(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<(Metered, Published), Refusal> {
    let id: ExecutionId = id.parse().map_err(|_| no_such_execution(short(&id)))?;
    let key = header_key(&headers)?.map(parse::checked_header_key).transpose()?.flatten();
    one(&app, &tenant, id, key, traceparent(&headers)).await
}

/// For a request as for a job: by the same rules, within the same allowances.
pub async fn one(
    app: &AppState,
    tenant: &TenantId,
    id: ExecutionId,
    key: Option<String>,
    traceparent: Option<&str>,
) -> Result<(Metered, Published), Refusal> {
    let share = app.budget.take(0)?;
    let open = open_tenant(app, tenant)?;
    let found = app.store.execution(tenant, id).await.map_err(|error| failed(&error))?;
    let old = found.ok_or_else(|| no_such_execution(id))?;
    if !old.state.is_terminal() {
        return Err(live(&old).into());
    }
    let metered = app.allowances.pass(&open, 1)?;
    match replay(app, &open, old, key, share, traceparent).await {
        Ok(published) => Ok((metered, published)),
        Err(problem) => Err(Refusal { metered, problem }),
    }
}

async fn replay(
    app: &AppState,
    tenant: &Tenant,
    old: Execution,
    key: Option<String>,
    mut share: Share,
    traceparent: Option<&str>,
) -> Result<Published, Problem> {
    let id = old.id;
    let copied = app.store.replayable(&tenant.id, id).await.map_err(|error| failed(&error))?;
    let copied = copied.ok_or_else(|| no_such_execution(id))?;
    let stored = copied.payload.ok_or_else(|| data_keys::gone(id))?;
    share.grow_to(stored.bytes.len())?;
    let payload = data_keys::open(app, &tenant.id, id, stored).await?;

    let again = again(old, payload, copied.psh, key);
    let mut candidate = Candidate::new(app, tenant, again, traceparent)?;
    candidate.decision.reason = format!("a replay of {id}, on its lane");
    let (candidate, fate) = accept::one(app, candidate, share).await?;
    // A repetition notes it too: whoever died after the accept could not.
    let new = match fate {
        Fate::New => Some(candidate.id),
        Fate::Replayed(before) => Some(before),
        Fate::KeyConflict(_) | Fate::TenantClosed => None,
    };
    if let Some(new) = new
        && let Err(error) = app.store.link_replay(&tenant.id, id, new).await
    {
        // The new execution is durable; only the note on both sides is missing.
        tracing::warn!(execution_id = %new, tenant_id = %tenant.id, replay_of = %id, error = &error as &dyn std::error::Error, "a replay could not be noted");
    }
    let mut answer = Published::new(app, candidate, fate).await?;
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
        completion: Some(old.completion),
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
    Problem::new(StatusCode::CONFLICT, "still-live", "Execution has not ended", detail)
        .about(old.id)
        .with_state(old.state.as_str(), old.state.allowed())
}
