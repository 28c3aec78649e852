//! One attempt at an execution: slot, claim, fire, record.

use bridge_fire::{Aim, Attempt, Settlement};
use bridge_protocol::{Completion, Reason, WorkflowId};
use bridge_service::clock::jitter;
use bridge_service::failpoint::hit;
use bridge_service::trace;
use bridge_webhook::Slot;
use metrics::histogram;
use tracing::Span;

use crate::claim::{self, Held};
use crate::job::{End, Job};
use crate::payload;
use crate::record::record;
use crate::schedule;
use crate::works::Works;

pub async fn run(works: &Works, job: &Job) -> End {
    let guess = job.hint.clone().or_else(|| WorkflowId::parse("unnamed").ok());
    let Some(guess) = guess else { return End::Settled };
    let (aim, slot) = match schedule::slot(works, job, &guess).await {
        Ok(right) => right,
        Err(end) => return end,
    };
    hit("consumer.slotted");
    let mut held = match claim::claim(works, job, &aim).await {
        Ok(held) => held,
        Err(end) => return end,
    };
    hit("consumer.claimed");
    let span = Span::current();
    span.record("workflow.id", held.claimed.workflow.as_str());
    if job.traceparent.as_deref().and_then(trace::trace_id).is_none() {
        // The message lost its way; the execution knows where it came from.
        trace::part(&span, held.claimed.traceparent.as_deref(), &job.tenant, job.id, "continued");
    }
    let settlement = use_claim(works, job, aim, slot, &mut held).await;
    record(works, job, &held, settlement).await
}

/// From here on the attempt is counted: every path ends in a settlement, and one that sent nothing gives it back.
async fn use_claim(works: &Works, job: &Job, aim: Aim, slot: Slot, held: &mut Held) -> Settlement {
    let claimed = &held.claimed;
    let (aim, slot) = if claimed.workflow == aim.workflow && claimed.lane == job.lane {
        (aim, slot)
    } else {
        // The hint was wrong: the limits that count are those of the workflow that was claimed.
        drop(slot);
        match schedule::slot_after_claim(works, job, held).await {
            Ok(right) => right,
            Err(settlement) => return settlement,
        }
    };
    if claimed.attempt > aim.target.retry.max_attempts {
        return Settlement::dead(Reason::AttemptsExhausted, "claimed beyond the route's max_attempts");
    }
    let attempt = claimed.attempt;
    let callback_url = match held.callback_url(works, job) {
        Ok(url) => url,
        Err(why) => return unsent(works, "callback", why),
    };
    // Its room in memory is held to the end of the attempt.
    let loaded = match payload::load(works, job, held, &aim).await {
        Ok(loaded) => loaded,
        Err(settlement) => return settlement,
    };
    // Whoever takes over a lapsed lease must not meet a request that was sent within it.
    if held.remaining() < aim.target.timeout {
        return unsent(works, "lease", "the claim took too long");
    }
    let claimed = &held.claimed;
    let facts = Attempt {
        tenant: &job.tenant,
        execution: job.id,
        workflow: &claimed.workflow,
        lane: claimed.lane,
        attempt,
        accepted_at: claimed.accepted_at,
        metadata: claimed.metadata.as_deref(),
        traceparent: job.traceparent.as_deref().or(claimed.traceparent.as_deref()),
        callback_url: callback_url.as_deref(),
    };
    if attempt == 1 && !works.hooks.is_canary(&job.tenant) {
        histogram!("bridge_accept_to_fire_seconds", "lane" => claimed.lane.as_str())
            .record(held.waited().as_secs_f64());
    }
    let fired = match Box::pin(works.hooks.fire(&facts, &aim, slot, loaded.bytes)).await {
        Ok(fired) => fired,
        // It came up after the claim.
        Err(bar) => return unsent(works, bar.as_str(), &bar.to_string()),
    };
    hit("consumer.fired");
    let settlement = Settlement::of(&fired, &aim.target, attempt, works.settings.max_result_bytes, jitter());
    match held.claimed.completion {
        Completion::Response => settlement,
        Completion::Callback => settlement.by_callback(aim.target.callback_timeout),
    }
}

/// A hold, a suspension or a lack of this consumer's is nobody's attempt. As after a parking, the timer brings it again.
pub fn unsent(works: &Works, why: &'static str, error: &str) -> Settlement {
    Settlement::unsent(works.settings.slot_wait.mul_f64(0.5 + jitter()), why, error)
}
