//! Writing the end down.

use std::time::Duration;

use bridge_fire::{Fence, Next, Settlement};
use bridge_protocol::{ExecutionId, Reason, State};
use bridge_service::Problem;
use bridge_service::steps::STEPS;
use bridge_service::trace;
use bridge_store::{Ended, Ending, Finished, ResultBody};
use http::StatusCode;
use tokio::time::Instant;
use uuid::Uuid;

use super::Fired;
use crate::accept::Candidate;
use crate::app::App;
use crate::results::{self, Outcome};

/// How long an end is written at least, however late it is.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The end is written; who reads the answer here has it in any case.
pub(super) async fn record(
    app: &App,
    candidate: &Candidate,
    claim_id: Uuid,
    mut settlement: Settlement,
    (begun, lease_ends): (Instant, Instant),
) -> Result<Fired, Problem> {
    let (id, tenant) = (candidate.id, &candidate.publish.tenant);
    let mut fired = Fired { outcome: outcome(app, &settlement), warning: None };
    if let Some(result) = result_of(&mut settlement) {
        fired.outcome.put(&result.body, result.content_type.clone(), result.truncated);
        match results::at_rest(app, tenant, id, result.clone()).await {
            Ok(sealed) => *result = sealed,
            Err(problem) => {
                // The end counts more than its result; in the clear it is never stored.
                forget_result(&mut settlement);
                fired.warning = Some(format!("the result is not kept: {}", problem.detail()));
            }
        }
    }
    let state = fired.outcome.state;
    let reason = fired.outcome.reason.clone().unwrap_or_default();
    tracing::info!(
        target: STEPS, step = "ended", execution_id = %id, tenant_id = tenant.as_str(),
        trace_id = candidate.traceparent().and_then(trace::trace_id), workflow_id = candidate.publish.workflow.as_str(),
        lane = candidate.decision.lane.as_str(), attempt = 1, state = state.as_str(), reason, status = fired.outcome.http_status, error = fired.outcome.error.as_deref(), "native execution ended"
    );
    let (lane, evidence) = (candidate.decision.lane, fired.outcome.evidence);
    let ended = Ended { lane, state, reason: bad_end(&settlement), evidence, took: begun.elapsed() };
    let fence = Fence { tenant: tenant.clone(), id, attempt: 1, claim_id };
    // Beyond the lease the timer has the word, and whoever leaves has no more time.
    let left = match app.native.hard.is_cancelled() {
        true => Duration::ZERO,
        false => lease_ends.saturating_duration_since(Instant::now()),
    };
    let patience = app.native.write_patience.min(left.max(LAST_WORD));
    match settlement.write(&app.store, fence, patience).await {
        Ok(Finished::Done) => {
            metrics::counter!("bridge_native_total", "outcome" => state.as_str()).increment(1);
            ended.count();
            app.waiters.ended(tenant, id);
        }
        Ok(Finished::LostFence(now)) => {
            metrics::counter!("bridge_native_total", "outcome" => "lost").increment(1);
            tracing::warn!(execution_id = %id, tenant_id = %tenant, state = ?now, "a native execution was ended by somebody else while it was fired");
            return Err(lost(id, now));
        }
        Err(error) => {
            metrics::counter!("bridge_native_total", "outcome" => "unwritten").increment(1);
            tracing::error!(
                error = &error as &dyn std::error::Error, execution_id = %id, tenant_id = %tenant,
                "the end of a native execution could not be written; its timer ends it with an unknown outcome"
            );
            fired.warning = Some(UNWRITTEN.to_owned());
        }
    }
    Ok(fired)
}

fn bad_end(settlement: &Settlement) -> Option<Reason> {
    match &settlement.next {
        Next::End(Ending::Failed { reason, .. } | Ending::DeadLettered(reason)) => Some(*reason),
        _ => None,
    }
}

const UNWRITTEN: &str = "the webhook answered, but the database did not take its end: it will be shown as failed with \
                         an unknown outcome";

fn outcome(app: &App, settlement: &Settlement) -> Outcome {
    let (state, evidence, reason) = match &settlement.next {
        Next::End(Ending::Succeeded { evidence, .. }) => (State::Succeeded, Some(*evidence), None),
        Next::End(Ending::Failed { reason, .. }) => (State::Failed, None, Some(*reason)),
        // Not made by `once` and `failed`.
        Next::End(Ending::DeadLettered(reason)) => (State::DeadLettered, None, Some(*reason)),
        _ => (State::Running, None, None),
    };
    Outcome {
        state,
        evidence,
        attempt: 1,
        result: None,
        content_type: None,
        encoding: None,
        truncated: false,
        error: settlement.error.clone(),
        reason: reason.map(|reason| reason.as_str().to_owned()),
        http_status: settlement.http_status,
        n8n_execution_id: settlement.n8n_execution_id.clone(),
        finished_at: Some(app.clock.now()),
    }
}

fn result_of(settlement: &mut Settlement) -> Option<&mut ResultBody> {
    match &mut settlement.next {
        Next::End(Ending::Succeeded { result, .. } | Ending::Failed { result, .. }) => result.as_mut(),
        _ => None,
    }
}

fn forget_result(settlement: &mut Settlement) {
    if let Next::End(Ending::Succeeded { result, .. } | Ending::Failed { result, .. }) = &mut settlement.next
    {
        *result = None;
    }
}

fn lost(id: ExecutionId, state: Option<State>) -> Problem {
    let name = state.map_or("gone", State::as_str);
    let detail = format!(
        "execution {id} was ended as {name} while its webhook was at work; what the workflow did meanwhile is not recorded"
    );
    let problem = Problem::new(StatusCode::CONFLICT, "already-ended", "Already ended", detail).about(id);
    match state {
        Some(state) => problem.with_state(name, state.allowed()),
        None => problem,
    }
}
