//! `POST /pulsar/executions/{id}/replay`: the payload once more, as a new execution. The old one keeps its state.

use axum::extract::{Path, State};
use bridge_protocol::{ExecutionId, Mode, PayloadHash, TenantId};
use bridge_service::directory::Tenant;
use bridge_service::payload_key::SEALED_OVERHEAD;
use bridge_service::{Problem, trace};
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
    one(&app, &tenant, id, By::Caller { key, traceparent: traceparent(&headers) }).await
}

/// Who asks for it.
pub enum By<'a> {
    Caller {
        key: Option<String>,
        traceparent: Option<&'a str>,
    },
    /// It tries again under the same key until all of it is done.
    Job {
        key: String,
    },
}

/// For a request as for a job: by the same rules, within the same allowances.
pub async fn one(
    app: &AppState,
    tenant: &TenantId,
    id: ExecutionId,
    by: By<'_>,
) -> Result<(Metered, Published), Refusal> {
    let share = app.budget.take(0)?;
    let open = open_tenant(app, tenant)?;
    let found = app.store.execution(tenant, id).await.map_err(|error| failed(&error))?;
    let old = found.ok_or_else(|| no_such_execution(id))?;
    if !old.state.is_terminal() {
        return Err(live(&old).into());
    }
    let metered = app.allowances.pass(&open, 1)?;
    match replay(app, &open, old, by, share).await {
        Ok(published) => Ok((metered, published)),
        Err(problem) => Err(Refusal { metered, problem }),
    }
}

async fn replay(
    app: &AppState,
    tenant: &Tenant,
    old: Execution,
    by: By<'_>,
    mut share: Share,
) -> Result<Published, Problem> {
    let id = old.id;
    let copied = app.store.replayable(&tenant.id, id).await.map_err(|error| failed(&error))?;
    let copied = copied.ok_or_else(|| no_such_execution(id))?;
    let size = copied.payload.ok_or_else(|| data_keys::gone(id))?;
    // What the tenant may not, or what does not fit, is not read either.
    let bytes = size.bytes.saturating_sub(if size.sealed { SEALED_OVERHEAD } else { 0 });
    let charge = app.allowances.charge(tenant, bytes, app.clock.now())?;
    share.grow_to(size.bytes)?;
    let stored = app.store.payload(&tenant.id, id).await.map_err(|error| failed(&error))?;
    let stored = stored.ok_or_else(|| data_keys::gone(id))?;
    let payload = data_keys::open(app, &tenant.id, id, stored).await?;

    let reason = reason(&old);
    let (first, caused_by) = (old.traceparent.clone(), old.caused_by);
    let (key, traceparent, by_job) = match by {
        By::Caller { key, traceparent } => (key, traceparent, false),
        By::Job { key } => (Some(key), None, true),
    };
    let again = again(old, payload, copied.psh, key);
    let mut candidate = Candidate::charged(app, again, charge, traceparent)?.caused_by(caused_by);
    candidate.decision.reason = reason;
    let (candidate, fate) = accept::one(app, candidate, share).await?;
    if let Fate::New = fate {
        let current = tracing::Span::current();
        current.record("execution.replay_of", tracing::field::display(id));
        // Of the original's trace nothing is taken over but the way back to it.
        trace::part(&current, first.as_deref(), &tenant.id, id, "replayed");
    }
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
        // A dead letter without the note would be replayed by the next job as well.
        if by_job {
            return Err(failed(&error));
        }
    }
    let mut answer = Published::new(app, candidate, fate).await?;
    answer.replay_of = Some(id);
    Ok(answer)
}

/// Why it goes the way it goes, and what was decided for the first of all the replays.
fn reason(old: &Execution) -> String {
    const FIRST: &str = "first decided: ";
    let first =
        old.decided_because.split_once(FIRST).map_or(old.decided_because.as_str(), |(_, first)| first);
    let way = match old.mode {
        Mode::Native => ", through the queue although that one was native",
        Mode::Pulsar => "",
    };
    format!("a replay of {}, on its lane{way}; {FIRST}{first}", old.id)
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
