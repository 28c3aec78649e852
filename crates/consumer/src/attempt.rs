//! One attempt at an execution: slot, claim, fire, record.

use bridge_protocol::{Reason, WorkflowId};
use bridge_service::clock::jitter;
use bridge_service::failpoint::hit;
use bridge_webhook::Slot;
use tracing::Span;

use crate::claim::{self, Held};
use crate::fire;
use crate::job::{Aim, End, Job};
use crate::outcome::Settlement;
use crate::payload;
use crate::record::record;
use crate::schedule::{self, park};
use crate::works::{LONGEST_PARK, Works};

pub async fn run(works: &Works, job: &Job) -> End {
    let guess = job.hint.clone().or_else(|| WorkflowId::parse("unnamed").ok());
    let Some(guess) = guess else { return End::Settled };
    let aim = match Aim::of(&works.routes, &job.tenant, guess, job.lane) {
        Ok(aim) => aim,
        Err(error) => {
            tracing::error!(
                execution_id = %job.id, tenant_id = %job.tenant, %error,
                "the route's webhook_url is not a URL: the execution waits until it is corrected"
            );
            return park(works, job, works.settings.slot_wait, LONGEST_PARK, "route").await;
        }
    };
    let slot = match schedule::slot(works, job, &aim).await {
        Ok(slot) => slot,
        Err(end) => return end,
    };
    hit("consumer.slotted");
    let mut held = match claim::claim(works, job, &aim).await {
        Ok(held) => held,
        Err(end) => return end,
    };
    hit("consumer.claimed");
    Span::current().record("workflow.id", tracing::field::display(&held.claimed.workflow));
    let settlement = use_claim(works, job, aim, slot, &mut held).await;
    record(works, job, &held, settlement).await
}

/// From here on the attempt is spent: every path ends in a settlement.
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
    // Its room in memory is held to the end of the attempt.
    let loaded = match payload::load(works, job, held, &aim).await {
        Ok(loaded) => loaded,
        Err(settlement) => return settlement,
    };
    // Whoever takes over a lapsed lease must not meet a request that was sent within it.
    if held.remaining() < aim.target.timeout {
        let delay = aim.target.retry.delay(attempt, None, jitter());
        return Settlement::retry(&aim.target, attempt, delay, "the claim took too long; nothing was sent");
    }
    let fired = match Box::pin(fire::fire(works, job, &aim, slot, held, loaded.bytes)).await {
        Ok(fired) => fired,
        // It came up after the claim.
        Err(bar) => {
            let delay = aim.target.retry.delay(attempt, None, jitter());
            return Settlement::retry(&aim.target, attempt, delay, &format!("nothing was sent: {bar}"));
        }
    };
    hit("consumer.fired");
    Settlement::of(&fired, &aim.target, attempt, works.settings.max_result_bytes, jitter())
}

/// Beyond this, opening or hashing a payload takes a worker long enough to be noticed by others.
const HEAVY: usize = 256 << 10;

/// Work over all of a payload; the runtime's other tasks move elsewhere while a large one is at it.
pub fn heavy<T>(size: usize, work: impl FnOnce() -> T) -> T {
    if size < HEAVY { work() } else { tokio::task::block_in_place(work) }
}
