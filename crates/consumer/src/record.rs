//! Writes down how an attempt ended. Only what is committed is acknowledged.

use bridge_protocol::Evidence;
use bridge_service::failpoint::hit;
use bridge_store::{Ending, Finish, Finished, Reschedule, Why, WriteError};
use metrics::counter;
use tracing::Span;

use crate::claim::Held;
use crate::job::{End, Job};
use crate::outcome::{Next, Settlement};
use crate::works::Works;

pub async fn record(works: &Works, job: &Job, held: &Held, settlement: Settlement) -> End {
    let patience = works.settings.write_patience;
    let attempt = held.claimed.attempt;
    let (lane, state, reason) = labels(held, &settlement);
    let may_repeat = settlement.may_repeat;
    log(job, held, state, reason, &settlement);
    let (tenant, id, claim_id) = (job.tenant.clone(), job.id, held.claim_id);
    let Settlement { next, http_status, error, n8n_execution_id, .. } = settlement;
    let written = match next {
        Next::End(ending) => {
            let row = Finish { tenant, id, attempt, claim_id, ending, http_status, error, n8n_execution_id };
            works.store.finish(row, patience).await
        }
        Next::Retry(after) => {
            let why = Why::Retry { claim_id, http_status, error };
            works.store.reschedule(Reschedule { tenant, id, attempt, after, why }, patience).await
        }
    };
    match written {
        Ok(Finished::Done) => {
            hit("consumer.finished");
            counter!("bridge_attempts_total", "lane" => lane, "state" => state, "reason" => reason)
                .increment(1);
            if may_repeat {
                counter!("bridge_attempts_repeated_unknown_total").increment(1);
            }
            End::Settled
        }
        Ok(Finished::LostFence(state)) => {
            counter!("bridge_fences_lost_total").increment(1);
            tracing::warn!(
                execution_id = %job.id, tenant_id = %job.tenant, message_id = %job.message_id, attempt, ?state,
                "the attempt ended after its lease was taken away; its outcome is not recorded"
            );
            End::Settled
        }
        Err(error) => unwritten("outcome", job, &error),
    }
}

fn labels(held: &Held, settlement: &Settlement) -> (&'static str, &'static str, &'static str) {
    let (state, reason) = match &settlement.next {
        Next::Retry(_) => ("retrying", "none"),
        // n8n only said that it began: shown and counted apart.
        Next::End(Ending::Succeeded { evidence: Evidence::Started, .. }) => ("succeeded", "started"),
        Next::End(Ending::Succeeded { .. }) => ("succeeded", "response"),
        Next::End(Ending::Failed(reason)) => ("failed", reason.as_str()),
        Next::End(Ending::DeadLettered(reason)) => ("dead_lettered", reason.as_str()),
    };
    (held.claimed.lane.as_str(), state, reason)
}

fn log(job: &Job, held: &Held, state: &str, reason: &str, settlement: &Settlement) {
    let (execution_id, tenant_id, workflow_id) = (job.id, &job.tenant, &held.claimed.workflow);
    let (message_id, attempt) = (&job.message_id, held.claimed.attempt);
    let (status, error) = (settlement.http_status, settlement.error.as_deref());
    match &settlement.next {
        Next::End(Ending::Succeeded { .. }) => tracing::info!(
            %execution_id, %tenant_id, %workflow_id, message_id, attempt, status, evidence = reason, "execution succeeded"
        ),
        Next::Retry(after) => {
            Span::current().record("error.type", "retry");
            tracing::info!(
                %execution_id, %tenant_id, %workflow_id, message_id, attempt, status, error,
                after_ms = after.as_millis() as u64, "attempt failed; another follows"
            );
        }
        Next::End(_) => {
            Span::current().record("error.type", reason);
            tracing::warn!(
                %execution_id, %tenant_id, %workflow_id, message_id, attempt, status, error, reason, state,
                "execution ended without success"
            );
        }
    }
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
