//! From a checked request to a durable execution: decide the route, write it, hand it off.

use bridge_protocol::{Decision, ExecutionId};
use bridge_service::clock::entropy;
use bridge_service::problem::FieldError;
use bridge_service::{Problem, failpoint, trace};
use bridge_store::{Accepted, Idempotency, NewExecution, WriteError};
use http::StatusCode;
use std::collections::HashSet;
use std::time::Duration;
use tracing::Instrument;

use crate::app::AppState;
use crate::budget::Share;
use crate::handoff::Slot;
use crate::outbound::Message;
use crate::parse::{Publish, invalid};

/// An execution that is about to be written, with its place in the hand-off.
pub struct Candidate {
    pub publish: Publish,
    pub decision: Decision,
    pub id: ExecutionId,
    traceparent: Option<String>,
    slot: Option<Slot>,
}

/// What became of it.
#[derive(Debug)]
pub enum Fate {
    New,
    /// The idempotency key named this execution already.
    Replayed(ExecutionId),
    KeyConflict(ExecutionId),
}

impl Candidate {
    /// `traceparent` is the caller's; the current span stands in for it when traces are on.
    pub fn new(app: &AppState, publish: Publish, traceparent: Option<&str>) -> Result<Self, Problem> {
        let routes = app.routes.load();
        let decision = routes
            .decide(&publish.tenant, &publish.workflow, publish.kind.as_deref(), publish.lane)
            .map_err(|error| {
                invalid(vec![FieldError { field: "workflow_id".into(), message: error.to_string() }])
            })?;
        // What waits for its time needs no hand-off; its timer publishes it.
        let slot = publish.schedule.deliver_at.is_none().then(|| app.handoff.reserve()).flatten();
        let id = ExecutionId::new(app.clock.now(), &mut entropy());
        Ok(Self { publish, decision, id, traceparent: trace::inject_or(traceparent), slot })
    }

    fn row(&self, app: &AppState) -> NewExecution {
        let publish = &self.publish;
        NewExecution {
            id: self.id,
            tenant: publish.tenant.clone(),
            workflow: publish.workflow.clone(),
            lane: self.decision.lane,
            kind: publish.kind.clone(),
            payload: publish.payload.clone(),
            psh: publish.psh,
            metadata: publish.metadata.clone(),
            traceparent: self.traceparent.clone(),
            idempotency: publish
                .idempotency_key
                .clone()
                .map(|key| Idempotency { key, digest: publish.digest }),
            deliver_at: publish.schedule.deliver_at,
            expires_at: publish.schedule.expires_at,
            // Without a place in the hand-off the relay has to see it at once.
            due_in: if self.slot.is_some() { app.limits.patience } else { Duration::ZERO },
            handed_off: self.slot.is_some(),
            decided_by: self.decision.decided_by,
            decided_because: self.decision.reason.clone(),
        }
    }

    fn settle(&mut self, accepted: Accepted) -> Fate {
        let slot = self.slot.take();
        let (publish, decision) = (&self.publish, &self.decision);
        let (outcome, fate) = match accepted {
            Accepted::New => ("new", Fate::New),
            Accepted::Replayed(id) => ("replayed", Fate::Replayed(id)),
            Accepted::KeyConflict(id) => ("conflict", Fate::KeyConflict(id)),
        };
        metrics::counter!("bridge_publish_total", "lane" => decision.lane.as_str(), "outcome" => outcome)
            .increment(1);
        if let Fate::New = fate {
            tracing::debug!(
                execution_id = %self.id, tenant_id = %publish.tenant, workflow_id = %publish.workflow,
                lane = %decision.lane, mode = %decision.mode, decided_by = decision.decided_by,
                reason = decision.reason, trace_id = self.traceparent.as_deref().and_then(trace::trace_id), "accepted"
            );
            if let Some(slot) = slot {
                slot.send(Message {
                    tenant: publish.tenant.clone(),
                    id: self.id,
                    workflow: publish.workflow.clone(),
                    lane: decision.lane,
                    attempt: 1,
                    psh: publish.psh,
                    traceparent: self.traceparent.clone(),
                });
            }
        }
        fate
    }
}

/// Accepts one. Runs on a task of its own: a caller that hangs up neither stops it nor frees its memory too early.
pub async fn one(
    app: &AppState,
    mut candidate: Candidate,
    share: Share,
) -> Result<(Candidate, Fate), Problem> {
    let app = app.clone();
    on_its_own(async move {
        let accepted =
            app.store.accept(candidate.row(&app), app.limits.accept_patience).await.map_err(refused)?;
        failpoint::hit("publisher.accepted");
        let fate = candidate.settle(accepted);
        drop(share);
        Ok((candidate, fate))
    })
    .await
}

/// Accepts many in one transaction: all become durable or none.
pub async fn all(
    app: &AppState,
    mut candidates: Vec<Candidate>,
    share: Share,
) -> Result<Vec<(Candidate, Fate)>, Problem> {
    let app = app.clone();
    on_its_own(async move {
        let (firsts, repeats) = by_first_use_of_a_key(&candidates);
        let mut fates: Vec<Option<Fate>> = candidates.iter().map(|_| None).collect();
        // A key's first use decides what it stands for; the repeats only find it there, and write nothing.
        for part in [firsts, repeats] {
            let rows: Vec<NewExecution> = part.iter().map(|index| candidates[*index].row(&app)).collect();
            if rows.is_empty() {
                continue;
            }
            let accepted = app.store.accept_all(rows, app.limits.accept_patience).await.map_err(refused)?;
            failpoint::hit("publisher.accepted");
            for (index, accepted) in part.into_iter().zip(accepted) {
                fates[index] = Some(candidates[index].settle(accepted));
            }
        }
        drop(share);
        let settled = candidates.into_iter().zip(fates);
        Ok(settled.filter_map(|(candidate, fate)| Some((candidate, fate?))).collect())
    })
    .await
}

fn by_first_use_of_a_key(candidates: &[Candidate]) -> (Vec<usize>, Vec<usize>) {
    let mut used = HashSet::new();
    (0..candidates.len()).partition(|index| {
        candidates[*index].publish.idempotency_key.as_deref().is_none_or(|key| used.insert(key))
    })
}

async fn on_its_own<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "accepting an execution failed in an unforeseen way");
            Err(Problem::internal())
        }
    }
}

pub fn refused(error: WriteError) -> Problem {
    let reason = match error {
        WriteError::Unavailable { .. } => "postgres_unavailable",
        WriteError::BadRow { .. } => "bad_row",
        _ => "failed",
    };
    metrics::counter!("bridge_publish_refused_total", "reason" => reason).increment(1);
    tracing::warn!(%error, "an execution was not accepted");
    match error {
        WriteError::Unavailable { .. } => unavailable(),
        WriteError::BadRow { .. } => {
            let detail = "the database refuses this request's text; remove unusual characters or numbers from metadata";
            Problem::new(StatusCode::BAD_REQUEST, "invalid-request", "Invalid request", detail)
        }
        _ => Problem::internal(),
    }
}

/// Whether the execution was written is not known; a key makes the repetition safe.
pub fn unavailable() -> Problem {
    let detail = "the database is out of reach; repeat the request after the Retry-After time, with an \
                  idempotency_key so that it cannot be accepted twice";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "database-unavailable", "Database unavailable", detail)
        .retry_after(Duration::from_secs(5))
}
