//! The canary: an execution of the operator's own tenant through every lane, the whole way round, and back to this very
//! API. It says whether an execution that is accepted now would be fired soon. What the bridge itself does about its
//! health never waits for it.

use std::time::Duration;

use bridge_protocol::{ExecutionId, Lane, PayloadHash, State, TenantId, WorkflowId};
use bridge_service::Problem;
use bridge_service::config::Canary;
use bridge_service::trace;
use bytes::Bytes;
use futures::future::join_all;
use metrics::{counter, gauge, histogram};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field, info_span};

use crate::accept::{self, Candidate, Fate, open_tenant};
use crate::answer::failed;
use crate::app::AppState;
use crate::parse::{Publish, Schedule};

/// What one round found out about a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok(Duration),
    Failed,
    Lost,
    /// Another publisher flies this round's.
    Anothers,
}

/// Until the stop; at once when it is off.
pub async fn run(app: AppState, settings: Canary, stop: CancellationToken) {
    let Ok(tenant) = TenantId::parse(&settings.tenant) else { return };
    if !settings.enabled {
        return;
    }
    for lane in &settings.lanes {
        // Before the first success its age counts from here.
        gauge!("bridge_canary_last_success_seconds", "lane" => lane.as_str()).set(now(&app));
    }
    let mut ticks = tokio::time::interval(settings.interval_s.get());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let round = settings.lanes.iter().map(|lane| fly(&app, &settings, &tenant, *lane));
        stop.run_until_cancelled(join_all(round)).await;
    }
}

async fn fly(app: &AppState, settings: &Canary, tenant: &TenantId, lane: Lane) {
    // The root of its trace, as a request is of another's.
    let span = info_span!(
        parent: None,
        "canary",
        otel.name = format_args!("canary {lane}"),
        otel.kind = "internal",
        execution.id = field::Empty,
        tenant.id = tenant.as_str(),
        workflow.id = Canary::WORKFLOW,
        lane = lane.as_str(),
        error.type = field::Empty,
        otel.status_code = field::Empty,
    );
    let outcome = match round_trip(app, settings, tenant, lane).instrument(span.clone()).await {
        Ok(outcome) => outcome,
        Err(problem) => {
            tracing::warn!(
                tenant_id = %tenant, lane = lane.as_str(), why = problem.detail(), "the canary did not start"
            );
            Outcome::Failed
        }
    };
    let label = match outcome {
        Outcome::Anothers => return,
        Outcome::Failed => {
            trace::failed(&span, "failed");
            "failed"
        }
        Outcome::Lost => {
            trace::failed(&span, "lost");
            "lost"
        }
        Outcome::Ok(took) => {
            histogram!("bridge_canary_seconds", "lane" => lane.as_str()).record(took.as_secs_f64());
            gauge!("bridge_canary_last_success_seconds", "lane" => lane.as_str()).set(now(app));
            "ok"
        }
    };
    counter!("bridge_canary_total", "lane" => lane.as_str(), "outcome" => label).increment(1);
}

async fn round_trip(
    app: &AppState,
    settings: &Canary,
    tenant: &TenantId,
    lane: Lane,
) -> Result<Outcome, Problem> {
    open_tenant(app, tenant)?;
    // Whoever is first in a round has its key; the other publishers find it taken.
    let round = app.clock.now().timestamp() / settings.interval_s.get().as_secs().max(1) as i64;
    let publish = canary(tenant, lane, round);
    let (share, place) = (app.budget.take(publish.payload.len())?, app.waiters.place()?);
    let begun = Instant::now();
    let candidate = Candidate::canary(app, publish)?;
    Span::current().record("execution.id", field::display(candidate.id));
    let (candidate, fate) = accept::one(app, candidate, share).await?;
    match fate {
        Fate::New => {}
        Fate::Replayed(_) | Fate::KeyConflict(_) => return Ok(Outcome::Anothers),
        Fate::TenantClosed => return Err(accept::closed(tenant, None)),
    }
    let id = candidate.id;
    place.at(tenant, id).wait(begun + settings.timeout_s.get()).await;
    let took = begun.elapsed();
    let ended = state(app, tenant, id).await?;
    let outcome = match ended {
        Some(State::Succeeded) => return Ok(Outcome::Ok(took)),
        Some(state) if state.is_terminal() => Outcome::Failed,
        _ => Outcome::Lost,
    };
    tracing::warn!(
        execution_id = %id, tenant_id = %tenant, lane = lane.as_str(), state = ended.map(State::as_str),
        took_ms = took.as_millis() as u64, "the canary did not come back well"
    );
    Ok(outcome)
}

async fn state(app: &AppState, tenant: &TenantId, id: ExecutionId) -> Result<Option<State>, Problem> {
    let read = async { app.store.result(tenant, id).await.map_err(|error| failed(&error)) };
    Ok(app.waiters.in_turn(read).await?.map(|row| row.state))
}

fn canary(tenant: &TenantId, lane: Lane, round: i64) -> Publish {
    let payload = Bytes::from(json!({ "canary": lane.as_str(), "round": round }).to_string());
    let key = format!("canary:{lane}:{round}");
    Publish {
        psh: PayloadHash::of(&payload),
        digest: PayloadHash::of(key.as_bytes()).0,
        tenant: tenant.clone(),
        workflow: workflow(),
        kind: None,
        lane: Some(lane),
        completion: None,
        payload,
        schedule: Schedule::default(),
        metadata: None,
        idempotency_key: Some(key),
        warnings: Vec::new(),
    }
}

fn workflow() -> WorkflowId {
    // Unwrap safety: a constant, and a test parses it.
    WorkflowId::parse(Canary::WORKFLOW).expect("the canary's workflow id is well-formed")
}

fn now(app: &AppState) -> f64 {
    app.clock.now().timestamp() as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_one_canary_for_each_lane() {
        let tenant = TenantId::parse("bridge-canary").unwrap();
        let keys: std::collections::BTreeSet<_> = (0..2)
            .flat_map(|round| Lane::ALL.iter().map(move |lane| (round, *lane)))
            .map(|(round, lane)| canary(&tenant, lane, round).idempotency_key.unwrap())
            .collect();
        assert_eq!(keys.len(), 8);
        let (one, again) = (canary(&tenant, Lane::Ai, 1), canary(&tenant, Lane::Ai, 1));
        assert_eq!((one.digest, one.lane), (again.digest, Some(Lane::Ai)));
    }
}
