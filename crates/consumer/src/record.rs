//! Writes down how an attempt ended. Only what is committed is acknowledged.

use bridge_fire::{Fence, Next, Settlement};
use bridge_protocol::{Completion, Evidence, State};
use bridge_service::directory::Tenant;
use bridge_service::failpoint::hit;
use bridge_service::steps::STEPS;
use bridge_service::trace;
use bridge_store::{Ended, Ending, Finished, WriteError};
use metrics::counter;
use tracing::Span;

use crate::claim::Held;
use crate::job::{End, Job};
use crate::works::Works;

pub async fn record(works: &Works, job: &Job, held: &Held, settlement: Settlement) -> End {
    let attempt = held.claimed.attempt;
    let (lane, state, reason) = labels(held, &settlement);
    let unsent = match settlement.next {
        Next::Unsent { why, .. } => Some(why),
        _ => None,
    };
    let (may_repeat, ended) = (settlement.may_repeat, end(held, &settlement));
    log(job, held, state, reason, &settlement);
    let settlement = seal(works, job, settlement);
    let fence = Fence { tenant: job.tenant.clone(), id: job.id, attempt, claim_id: held.claim_id };
    match settlement.write(&works.store, fence, works.settings.write_patience).await {
        Ok(Finished::Done) => {
            hit("consumer.finished");
            match unsent {
                Some(why) => counter!("bridge_parks_total", "reason" => why).increment(1),
                None => {
                    let attempts = counter!("bridge_attempts_total", "lane" => lane, "state" => state, "reason" => reason);
                    attempts.increment(1);
                }
            }
            ended.iter().filter(|_| !works.hooks.is_canary(&job.tenant)).for_each(Ended::count);
            if may_repeat {
                counter!("bridge_attempts_repeated_unknown_total").increment(1);
            }
            End::Settled
        }
        Ok(Finished::LostFence(state)) => {
            lost(job, held, state);
            End::Settled
        }
        Err(error) => unwritten("outcome", job, &error),
    }
}

/// Somebody else has written its end, or an attempt of its own.
fn lost(job: &Job, held: &Held, state: Option<State>) {
    let (execution_id, tenant_id, attempt) = (job.id, &job.tenant, held.claimed.attempt);
    let message_id = &job.message_id;
    match state {
        // The workflow reported before n8n answered: what it said is the end, and this answer adds nothing.
        Some(State::Succeeded | State::Failed) if held.claimed.completion == Completion::Callback => {
            counter!("bridge_callbacks_first_total").increment(1);
            tracing::info!(
                %execution_id, %tenant_id, message_id, attempt, ?state,
                "the workflow had reported before its webhook answered"
            );
        }
        Some(State::Cancelled) => {
            counter!("bridge_fences_lost_total").increment(1);
            tracing::info!(
                %execution_id, %tenant_id, message_id, attempt,
                "the execution was cancelled while its webhook was at work; the answer is not recorded"
            );
        }
        _ => {
            counter!("bridge_fences_lost_total").increment(1);
            tracing::warn!(
                %execution_id, %tenant_id, message_id, attempt, ?state,
                "the attempt ended after its lease was taken away; its outcome is not recorded"
            );
        }
    }
}

/// A result is stored as its payload is: of a tenant that never had a key nothing is sealed. But nothing is stored in
/// the clear because a key is missing.
fn seal(works: &Works, job: &Job, settlement: Settlement) -> Settlement {
    if !works.settings.seal_results {
        return settlement;
    }
    let tenant = works.tenant(&job.tenant);
    let key = tenant.as_deref().and_then(Tenant::sealing_key);
    if let Some(key) = key {
        settlement.sealed(key, &job.tenant, job.id)
    } else if tenant.is_some_and(|tenant| tenant.sealing_key_gone().is_none()) {
        settlement
    } else {
        tracing::error!(
            execution_id = %job.id, tenant_id = %job.tenant,
            "the result is not kept: the key that seals the tenant's results cannot be opened here"
        );
        settlement.without_result()
    }
}

fn labels(held: &Held, settlement: &Settlement) -> (&'static str, &'static str, &'static str) {
    let (state, reason) = match &settlement.next {
        Next::Retry(_) => ("retrying", "none"),
        Next::Wait(_) => ("waiting", "none"),
        Next::Unsent { why, .. } if held.claimed.attempt > 1 => ("retrying", *why),
        Next::Unsent { why, .. } => ("accepted", *why),
        // n8n only said that it began: shown and counted apart.
        Next::End(Ending::Succeeded { evidence: Evidence::Started, .. }) => ("succeeded", "started"),
        Next::End(Ending::Succeeded { .. }) => ("succeeded", "response"),
        Next::End(Ending::Failed { reason, .. }) => ("failed", reason.as_str()),
        Next::End(Ending::DeadLettered(reason)) => ("dead_lettered", reason.as_str()),
    };
    (held.claimed.lane.as_str(), state, reason)
}

/// The attempt's canonical line: what it made of the execution.
fn log(job: &Job, held: &Held, state: &str, reason: &str, settlement: &Settlement) {
    let (execution_id, tenant_id, workflow_id) = (job.id, &job.tenant, &held.claimed.workflow);
    let (message_id, attempt, lane) = (&job.message_id, held.claimed.attempt, held.claimed.lane.as_str());
    let trace_id = job.traceparent.as_deref().and_then(trace::trace_id);
    let (status, error) = (settlement.http_status, settlement.error.as_deref());
    let took_ms = held.age().as_millis() as u64;
    on_span(state, reason, settlement);
    match &settlement.next {
        Next::End(Ending::Succeeded { .. }) => tracing::info!(
            target: STEPS, step = "ended", %execution_id, %tenant_id, trace_id, %workflow_id, lane, attempt, message_id,
            state, evidence = reason, status, took_ms, "execution succeeded"
        ),
        Next::Wait(within) => tracing::info!(
            target: STEPS, step = "waiting", %execution_id, %tenant_id, trace_id, %workflow_id, lane, attempt, message_id,
            state, status, took_ms, within_s = within.as_secs(), "the workflow has begun; its callback is waited for"
        ),
        Next::Unsent { after, .. } => tracing::info!(
            %execution_id, %tenant_id, %workflow_id, lane, attempt, message_id, error, after_ms = after.as_millis() as u64,
            "nothing was sent; the attempt is given back"
        ),
        Next::Retry(after) => {
            tracing::info!(
                target: STEPS, step = "retrying", %execution_id, %tenant_id, trace_id, %workflow_id, lane, attempt,
                message_id, state, status, error, took_ms, after_ms = after.as_millis() as u64,
                "attempt failed; another follows"
            );
        }
        Next::End(_) => {
            tracing::warn!(
                target: STEPS, step = "ended", %execution_id, %tenant_id, trace_id, %workflow_id, lane, attempt, message_id,
                state, reason, status, error, took_ms, "execution ended without success"
            );
        }
    }
}

fn on_span(state: &str, reason: &str, settlement: &Settlement) {
    let span = Span::current();
    span.record("execution.state", state);
    match (&settlement.next, settlement.http_status) {
        (Next::Retry(_), Some(status @ 400..)) => trace::failed(&span, &status.to_string()),
        (Next::Retry(_), Some(_)) => trace::failed(&span, "unexpected_answer"),
        (Next::Retry(_), None) => trace::failed(&span, "no_answer"),
        (Next::End(Ending::Failed { .. } | Ending::DeadLettered(_)), _) => trace::failed(&span, reason),
        (Next::End(Ending::Succeeded { .. }) | Next::Wait(_) | Next::Unsent { .. }, _) => {}
    }
}

/// The end that a settlement writes, if it is one.
fn end(held: &Held, settlement: &Settlement) -> Option<Ended> {
    let (state, reason, evidence) = match &settlement.next {
        Next::Retry(_) | Next::Wait(_) | Next::Unsent { .. } => return None,
        Next::End(Ending::Succeeded { evidence, .. }) => (State::Succeeded, None, Some(*evidence)),
        Next::End(Ending::Failed { reason, .. }) => (State::Failed, Some(*reason), None),
        Next::End(Ending::DeadLettered(reason)) => (State::DeadLettered, Some(*reason), None),
    };
    Some(Ended { lane: held.claimed.lane, state, reason, evidence, took: held.age() })
}

/// Postgres did not take it. Out of reach for longer than the patience: the broker brings the message
/// again. Any other failure would only repeat itself: the execution's timer, which is still there,
/// tries again later and ever more seldom.
pub fn unwritten(what: &'static str, job: &Job, error: &WriteError) -> End {
    counter!("bridge_writes_failed_total", "what" => what).increment(1);
    let end = match error {
        WriteError::Unavailable { .. } => End::Unrecorded,
        _ => End::Settled,
    };
    tracing::error!(
        error = error as &dyn std::error::Error, what, execution_id = %job.id, tenant_id = %job.tenant,
        message_id = %job.message_id, redelivered = end == End::Unrecorded,
        "Postgres did not take it; the execution is safe and is tried again"
    );
    end
}
