//! When a message may go on: a slot within the wait, or the message is parked and its permit freed.

use std::time::Duration;

use bridge_fire::{Aim, Bar, Settlement};
use bridge_protocol::WorkflowId;
use bridge_service::clock::jitter;
use bridge_service::steps::STEPS;
use bridge_service::trace;
use bridge_store::{Finished, Reschedule, Why};
use bridge_webhook::{NoSlotReason, Slot};
use metrics::counter;
use tokio::time::Instant;

use crate::attempt::unsent;
use crate::claim::Held;
use crate::job::{End, Job};
use crate::record::unwritten;
use crate::works::{LONGEST_PARK, Works};

/// The right to fire now, in the way that the routes of now say.
pub async fn slot(works: &Works, job: &Job, workflow: &WorkflowId) -> Result<(Aim, Slot), End> {
    let wait = works.settings.slot_wait;
    loop {
        let aim = match works.hooks.aim(&job.tenant, workflow.clone(), job.lane) {
            Ok(aim) => aim,
            Err(error) => {
                tracing::error!(
                    execution_id = %job.id, tenant_id = %job.tenant, %error,
                    "the route's webhook_url is not a URL: the execution waits until it is corrected"
                );
                return Err(park(works, job, wait, LONGEST_PARK, "route").await);
            }
        };
        admit(works, job, &aim).await?;
        let acquiring = works.hooks.slot(&aim, Instant::now() + wait);
        match works.soft.run_until_cancelled(acquiring).await {
            None => return Err(End::Leaving),
            Some(Err(none)) => return Err(park_for(works, job, none.reason).await),
            // While it waited it got another route: the slot may be of the wrong endpoint.
            Some(Ok(_)) if works.hooks.has_moved(&job.tenant, &aim) => {}
            Some(Ok(slot)) => {
                // A hold or a suspension that came while it waited.
                admit(works, job, &aim).await?;
                return Ok((aim, slot));
            }
        }
    }
}

async fn park_for(works: &Works, job: &Job, none: NoSlotReason) -> End {
    let wait = works.settings.slot_wait;
    match none {
        // At the probe's time and a little after, however often it was parked before.
        NoSlotReason::Breaker { retry_after } => {
            let after = retry_after + retry_after.min(wait).mul_f64(jitter());
            park(works, job, after, after, none.as_str()).await
        }
        _ => park(works, job, wait.mul_f64(0.5 + jitter()), LONGEST_PARK, none.as_str()).await,
    }
}

/// Parks what must not be fired at present.
async fn admit(works: &Works, job: &Job, aim: &Aim) -> Result<(), End> {
    let bar = || works.hooks.bar(&job.tenant, aim);
    let Some(found) = bar() else { return Ok(()) };
    say(works, job, aim, &found);
    let end = park(works, job, works.settings.slot_wait, LONGEST_PARK, found.as_str()).await;
    if end == End::Settled && bar().is_none() {
        // Lifted while it was being parked: whoever let the tenant's executions go did not see this one.
        return Err(put_off(works, job, Duration::ZERO, Duration::ZERO).await);
    }
    Err(end)
}

fn say(works: &Works, job: &Job, aim: &Aim, found: &Bar) {
    match found {
        // Somebody's wish.
        Bar::Inactive | Bar::Suspended => {}
        Bar::Held { id, .. } => works.holds.met(&job.tenant, id, Instant::now()),
        Bar::Credential(error) => tracing::warn!(
            execution_id = %job.id, tenant_id = %job.tenant, workflow_id = %aim.workflow, %error,
            "the execution waits for its credential; no attempt is spent"
        ),
        Bar::Secret | Bar::Unknown | Bar::MasterKey(_) => {
            if works.said.may_say(&job.tenant, Instant::now()) {
                tracing::error!(
                    execution_id = %job.id, tenant_id = %job.tenant, why = %found,
                    "the tenant's executions wait; no attempt is spent"
                );
            }
        }
    }
}

/// Spends no attempt: the timer publishes the message again. Each further time doubles the wait, up to
/// `longest`.
async fn park(works: &Works, job: &Job, after: Duration, longest: Duration, why: &'static str) -> End {
    counter!("bridge_parks_total", "reason" => why).increment(1);
    // Debug: what is held is put off again and again.
    tracing::debug!(
        target: STEPS, step = "parked", execution_id = %job.id, tenant_id = %job.tenant,
        trace_id = job.traceparent.as_deref().and_then(trace::trace_id), lane = job.lane.as_str(), attempt = job.attempt,
        message_id = job.message_id, reason = why, after_ms = after.as_millis() as u64, "put off; no attempt is spent"
    );
    put_off(works, job, after, longest).await
}

async fn put_off(works: &Works, job: &Job, after: Duration, longest: Duration) -> End {
    let row = Reschedule {
        tenant: job.tenant.clone(),
        id: job.id,
        attempt: job.attempt,
        after,
        why: Why::Park { longest },
    };
    match works.store.reschedule(row, works.settings.write_patience).await {
        Ok(Finished::Done) => End::Settled,
        Ok(Finished::LostFence(state)) => {
            tracing::debug!(execution_id = %job.id, tenant_id = %job.tenant, ?state, "nothing to park: it has moved on");
            End::Settled
        }
        Err(error) => unwritten("park", job, &error),
    }
}

/// The claim named another workflow than the message's property did. It waits for the right slot as long as its lease
/// lets it, or gives its attempt back: the next message names the right one.
pub async fn slot_after_claim(works: &Works, job: &Job, held: &Held) -> Result<(Aim, Slot), Settlement> {
    counter!("bridge_wrong_hints_total").increment(1);
    let claimed = &held.claimed;
    let aim = works.hooks.aim(&job.tenant, claimed.workflow.clone(), claimed.lane);
    let aim = match aim {
        Ok(aim) => aim,
        Err(error) => {
            return Err(unsent(works, "route", &format!("the route's webhook_url is not a URL: {error}")));
        }
    };
    if let Some(bar) = works.hooks.bar(&job.tenant, &aim) {
        return Err(unsent(works, bar.as_str(), &bar.to_string()));
    }
    let Some(deadline) = held.latest_send(aim.target.timeout) else {
        return Err(unsent(works, "lease", "the lease leaves no time to fire this workflow"));
    };
    match works.hooks.slot(&aim, deadline).await {
        Ok(slot) => Ok((aim, slot)),
        Err(none) => {
            let (why, error) = (none.reason.as_str(), none.to_string());
            Err(match none.reason {
                NoSlotReason::Breaker { retry_after } => Settlement::unsent(retry_after, why, &error),
                _ => unsent(works, why, &error),
            })
        }
    }
}
