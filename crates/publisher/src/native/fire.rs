//! The one attempt that is made, and what the answer makes of it.

use bridge_fire::{Attempt, Next, Settlement};
use bridge_protocol::Reason;
use bridge_store::{Ending, ResultBody};
use bridge_webhook::FireResult;
use bytes::Bytes;
use tokio::time::Instant;

use super::Ready;
use crate::accept::Candidate;
use crate::app::App;

pub(super) async fn fire(
    app: &App,
    candidate: &Candidate,
    ready: Ready,
    payload: Bytes,
    lease_ends: Instant,
) -> Settlement {
    let Ready { aim, slot } = ready;
    // Its timer must not end it while a request is under way that was sent within the lease.
    if lease_ends.saturating_duration_since(Instant::now()) < aim.target.timeout {
        return Settlement::failed(Reason::AttemptsExhausted, "accepting it took too long; nothing was sent");
    }
    let hard = &app.native.hard;
    if hard.is_cancelled() {
        return Settlement::failed(
            Reason::AttemptsExhausted,
            "nothing was sent: the publisher was asked to leave",
        );
    }
    let publish = &candidate.publish;
    let attempt = Attempt {
        tenant: &publish.tenant,
        execution: candidate.id,
        workflow: &publish.workflow,
        lane: candidate.decision.lane,
        attempt: 1,
        accepted_at: app.clock.now(),
        metadata: publish.metadata.as_deref(),
        traceparent: candidate.traceparent(),
        callback_url: None,
    };
    let answered = Box::pin(app.native.hooks.fire(&attempt, &aim, slot, payload));
    let Some(answered) = hard.run_until_cancelled(answered).await else {
        return Settlement::failed(Reason::UnknownOutcome, CUT);
    };
    match answered {
        Ok(fired) => with_answer(Settlement::once(&fired, &aim.target, app.limits.result_bytes), fired, app),
        Err(bar) => Settlement::failed(Reason::AttemptsExhausted, &format!("nothing was sent: {bar}")),
    }
}

/// The caller's is the webhook's answer, also when it is a refusal.
fn with_answer(mut settlement: Settlement, fired: FireResult, app: &App) -> Settlement {
    if let Next::End(Ending::Failed { result: result @ None, .. }) = &mut settlement.next
        && let FireResult::Answered(answer) = fired
        && !answer.body.is_empty()
    {
        let kept = answer.body.len().min(app.limits.result_bytes);
        *result = Some(ResultBody {
            content_type: answer.content_type,
            truncated: answer.truncated || kept < answer.body.len(),
            body: answer.body.slice(..kept),
            data_key: None,
        });
    }
    settlement
}

const CUT: &str =
    "the publisher was asked to leave, and the webhook had not answered when publisher.drain_ms was over";
