//! Tells workflows of bad ends: each is an execution of its own, accepted once however often it is tried.

use std::time::Duration;

use bridge_protocol::{ExecutionId, PayloadHash, TenantId};
use bridge_service::Problem;
use bridge_store::FollowUp;
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::accept::{self, Candidate, Fate};
use crate::app::AppState;
use crate::parse::{Publish, Schedule, own_key};

const BATCH: u16 = 100;
const REST: Duration = Duration::from_secs(1);
/// After what the database or the memory's bound did not allow.
const AFTER_AN_ERROR: Duration = Duration::from_secs(5);

pub async fn tell(app: AppState, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let rest = round(&app).await;
        if let Some(rest) = rest {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// One round; how long to rest, or none when more may wait.
async fn round(app: &AppState) -> Option<Duration> {
    let waiting = match app.store.follow_ups(BATCH).await {
        Ok(waiting) => waiting,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the bad ends to be told could not be read; they are read again"
            );
            return Some(AFTER_AN_ERROR);
        }
    };
    let full = waiting.len() == usize::from(BATCH);
    let mut told: Vec<(TenantId, ExecutionId)> = Vec::with_capacity(waiting.len());
    let (mut held_up, mut unroutable) = (false, Vec::new());
    for bad in waiting {
        let key = (bad.tenant.clone(), bad.id);
        match tell_one(app, bad).await {
            Ok(outcome) => {
                metrics::counter!("bridge_follow_ups_total", "outcome" => outcome).increment(1);
                told.push(key);
            }
            // A person can correct what stands against it: until then it must not stand in the others' way.
            Err(problem) if problem.status() == StatusCode::BAD_REQUEST => {
                metrics::counter!("bridge_follow_ups_total", "outcome" => "unroutable").increment(1);
                tracing::error!(
                    execution_id = %key.1, tenant_id = %key.0, why = problem.detail(),
                    "the on_failure workflow cannot be told of a bad end until its route is corrected; it is tried again"
                );
                unroutable.push(key);
            }
            Err(problem) => {
                held_up = true;
                tracing::warn!(
                    execution_id = %key.1, tenant_id = %key.0, why = problem.detail(),
                    "a bad end could not be told yet; it is tried again"
                );
            }
        }
    }
    if !unroutable.is_empty()
        && let Err(error) = app.store.put_off_follow_ups(&unroutable).await
    {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "bad ends that cannot be told could not be put off"
        );
        return Some(AFTER_AN_ERROR);
    }
    if !told.is_empty()
        && let Err(error) = app.store.followed_up(&told).await
    {
        // Told again, the same execution is found by its key.
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "bad ends that were told could not be removed"
        );
        return Some(AFTER_AN_ERROR);
    }
    match (held_up, full) {
        (true, _) => Some(AFTER_AN_ERROR),
        (false, true) => None,
        (false, false) => Some(REST),
    }
}

/// What became of it, when it need not be tried again.
async fn tell_one(app: &AppState, bad: FollowUp) -> Result<&'static str, Problem> {
    let (id, tenant) = (bad.id, bad.tenant.clone());
    let traceparent = bad.traceparent.clone();
    let publish = telling(bad);
    let share = app.budget.take(publish.payload.len())?;
    let candidate = Candidate::telling(app, publish, id, traceparent.as_deref())?;
    let (candidate, fate) = accept::one(app, candidate, share).await?;
    Ok(match fate {
        Fate::New => {
            tracing::info!(
                execution_id = %candidate.id, tenant_id = %tenant, caused_by = %id, workflow_id = %candidate.publish.workflow,
                "the on_failure workflow is told of a bad end"
            );
            "told"
        }
        Fate::Replayed(_) => "told_before",
        // Only this loop can make such keys; whoever made this one has told something of the same end.
        Fate::KeyConflict(_) => "key_taken",
        Fate::TenantClosed => return Err(accept::closed(&tenant, None)),
    })
}

/// The request that tells it.
fn telling(bad: FollowUp) -> Publish {
    let body = json!({
        "event": "execution.ended_badly",
        "execution_id": bad.id,
        "tenant_id": bad.tenant,
        "workflow_id": bad.workflow,
        "lane": bad.lane,
        "state": bad.state,
        "reason": bad.reason,
        "error": bad.error,
        "attempts": bad.attempt,
        "http_status": bad.http_status,
        "accepted_at": bad.accepted_at,
        "finished_at": bad.finished_at,
    });
    let payload = Bytes::from(body.to_string());
    let key = own_key(format_args!("on-failure:{}", bad.id));
    Publish {
        psh: PayloadHash::of(&payload),
        // The key alone stands for it: what is told of an end may be told in other words by a later version.
        digest: PayloadHash::of(key.as_bytes()).0,
        tenant: bad.tenant,
        workflow: bad.on_failure,
        kind: None,
        lane: None,
        completion: None,
        payload,
        schedule: Schedule::default(),
        metadata: Some(json!({ "on_failure_of": bad.id }).to_string()),
        idempotency_key: Some(key),
        warnings: Vec::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bridge_protocol::{Lane, State, WorkflowId};

    use super::*;

    #[test]
    fn a_bad_end_is_told_with_all_that_is_known_and_the_same_each_time() {
        let bad = || FollowUp {
            tenant: TenantId::parse("acme").unwrap(),
            id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
            workflow: WorkflowId::parse("lead").unwrap(),
            lane: Lane::Ai,
            state: State::DeadLettered,
            reason: Some("attempts_exhausted".to_owned()),
            error: Some("the webhook answered 500".to_owned()),
            attempt: 5,
            on_failure: WorkflowId::parse("alarm").unwrap(),
            http_status: Some(500),
            accepted_at: "2026-01-31T09:00:00Z".parse().unwrap(),
            finished_at: Some("2026-01-31T09:05:00Z".parse().unwrap()),
            traceparent: None,
        };
        let told = telling(bad());
        assert_eq!(
            (told.workflow.as_str(), told.idempotency_key.as_deref()),
            ("alarm", Some(" on-failure:01890a5d-ac96-774b-bcce-b302099a8057"))
        );
        let payload: serde_json::Value = serde_json::from_slice(&told.payload).unwrap();
        assert_eq!(
            (&payload["workflow_id"], &payload["state"], &payload["attempts"], &payload["reason"]),
            (&json!("lead"), &json!("dead_lettered"), &json!(5), &json!("attempts_exhausted"))
        );
        assert_eq!(told.digest, telling(bad()).digest);
    }
}
