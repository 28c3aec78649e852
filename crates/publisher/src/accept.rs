//! From a checked request to a durable execution: decide the route, write it, hand it off.

use bridge_protocol::{Asked, Completion, Decision, ExecutionId, Mode, TenantId};
use bridge_service::clock::entropy;
use bridge_service::directory::Tenant;
use bridge_service::problem::FieldError;
use bridge_service::steps::STEPS;
use bridge_service::{Problem, failpoint, trace};
use bridge_store::{Accepted, Idempotency, NativeClaim, NewExecution, TenantState, WriteError};
use http::StatusCode;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;
use uuid::Uuid;

use crate::access::not_ready;
use crate::allowance::Charge;
use crate::app::{App, AppState};
use crate::budget::Share;
use crate::handoff::Slot;
use crate::outbound::Message;
use crate::parse::{Publish, invalid};
use crate::sealing::seal;

/// An execution that is about to be written, with its place in the hand-off.
pub struct Candidate {
    pub publish: Publish,
    pub decision: Decision,
    pub id: ExecutionId,
    traceparent: Option<String>,
    slot: Option<Slot>,
    /// The key that sealed the payload.
    pub(crate) data_key: Option<Uuid>,
    charge: Option<Charge>,
    /// The execution whose bad end this one tells of.
    caused_by: Option<ExecutionId>,
    /// It is born running, and fired here.
    pub(crate) native: Option<NativeClaim>,
}

/// What a request may become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its caller waits for the answer: it may be fired at once.
    Either,
    /// One of many, or nobody waits: always through the broker.
    Queued,
}

/// What became of it.
#[derive(Debug)]
pub enum Fate {
    New,
    /// The idempotency key named this execution already.
    Replayed(ExecutionId),
    KeyConflict(ExecutionId),
    /// The tenant was suspended or marked as deleting a moment ago; nothing was written.
    TenantClosed,
}

/// The tenant, when it may publish.
pub fn open_tenant(app: &App, id: &TenantId) -> Result<Arc<Tenant>, Problem> {
    let snapshot = app.directory.snapshot();
    match snapshot.tenant(id) {
        Some(tenant) if tenant.state == TenantState::Active => Ok(tenant.clone()),
        Some(tenant) => Err(closed(id, Some(tenant.state))),
        None if !app.directory.is_loaded() => Err(not_ready()),
        None => {
            let detail = format!("there is no tenant {id}; create it with `bridgectl tenant create {id}`");
            Err(Problem::new(StatusCode::FORBIDDEN, "unknown-tenant", "Unknown tenant", detail))
        }
    }
}

/// The database may know of it before the directory: then the state is not told.
pub fn closed(id: &TenantId, state: Option<TenantState>) -> Problem {
    metrics::counter!("bridge_publish_refused_total", "reason" => "tenant_suspended").increment(1);
    let detail = match state {
        Some(TenantState::Deleting) => format!("tenant {id} is being deleted; it accepts nothing any more"),
        Some(TenantState::Suspended) => format!("tenant {id} is suspended; ask the operator to resume it"),
        Some(TenantState::Active) | None => {
            format!("tenant {id} was suspended or deleted a moment ago; ask the operator to resume it")
        }
    };
    Problem::new(StatusCode::FORBIDDEN, "tenant-suspended", "Tenant suspended", detail)
}

impl Candidate {
    /// Goes through the broker. `traceparent` is the caller's; the current span stands in for it when traces are on.
    pub fn new(
        app: &AppState,
        tenant: &Tenant,
        publish: Publish,
        traceparent: Option<&str>,
    ) -> Result<Self, Problem> {
        let charge = app.allowances.charge(tenant, publish.payload.len(), app.clock.now())?;
        Self::decided(app, publish, Way::Queued, Some(charge), traceparent)
    }

    /// The same for a request whose caller waits: its route may have it fired at once.
    pub fn single(
        app: &AppState,
        tenant: &Tenant,
        publish: Publish,
        traceparent: Option<&str>,
    ) -> Result<Self, Problem> {
        let charge = app.allowances.charge(tenant, publish.payload.len(), app.clock.now())?;
        Self::decided(app, publish, Way::Either, Some(charge), traceparent)
    }

    /// Through the broker, for what was charged already.
    pub fn charged(
        app: &AppState,
        publish: Publish,
        charge: Charge,
        traceparent: Option<&str>,
    ) -> Result<Self, Problem> {
        Self::decided(app, publish, Way::Queued, Some(charge), traceparent)
    }

    /// Of the operator's own tenant: no quota stops it, and it always goes the whole way.
    pub fn canary(app: &AppState, publish: Publish) -> Result<Self, Problem> {
        Self::decided(app, publish, Way::Queued, None, None)
    }

    /// Tells of another's bad end. It is no request of the tenant's, so no quota stops it.
    pub fn telling(
        app: &AppState,
        publish: Publish,
        of: ExecutionId,
        traceparent: Option<&str>,
    ) -> Result<Self, Problem> {
        let told = Self::decided(app, publish, Way::Queued, None, traceparent)?;
        Ok(Self { caused_by: Some(of), ..told })
    }

    fn decided(
        app: &AppState,
        publish: Publish,
        way: Way,
        charge: Option<Charge>,
        traceparent: Option<&str>,
    ) -> Result<Self, Problem> {
        let decision = decide(app, &publish, way)?;
        // What waits for its time needs no hand-off, its timer publishes it; and what is native never gets there.
        let handed_off = publish.schedule.deliver_at.is_none() && decision.mode == Mode::Pulsar;
        let slot = handed_off.then(|| app.handoff.reserve()).flatten();
        Ok(Self {
            id: ExecutionId::new(app.clock.now(), &mut entropy()),
            traceparent: trace::inject_or(traceparent),
            publish,
            decision,
            slot,
            data_key: None,
            charge,
            caused_by: None,
            native: None,
        })
    }

    /// It cannot be fired here and now.
    pub fn queue_instead(&mut self, app: &App, why: &str) {
        self.decision.mode = Mode::Pulsar;
        self.decision.reason.push_str(&format!("; through the queue after all: {why}"));
        self.slot = app.handoff.reserve();
    }

    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    pub(crate) fn row(&self, app: &App) -> NewExecution {
        let publish = &self.publish;
        NewExecution {
            id: self.id,
            tenant: publish.tenant.clone(),
            workflow: publish.workflow.clone(),
            lane: self.decision.lane,
            mode: self.decision.mode,
            completion: self.decision.completion,
            kind: publish.kind.clone(),
            payload: publish.payload.clone(),
            data_key: self.data_key,
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
            // What tells of a bad end is not told of: a broken workflow would tell itself for ever.
            on_failure: self.decision.on_failure.clone().filter(|_| self.caused_by.is_none()),
            caused_by: self.caused_by.map(|id| id.uuid()),
            native: self.native.clone(),
        }
    }

    pub(crate) fn settle(&mut self, app: &App, accepted: Accepted) -> Fate {
        let (slot, charge) = (self.slot.take(), self.charge.take());
        let (publish, decision) = (&self.publish, &self.decision);
        let (outcome, fate) = match accepted {
            Accepted::New => ("new", Fate::New),
            Accepted::Replayed(id) => ("replayed", Fate::Replayed(id)),
            Accepted::KeyConflict(id) => ("conflict", Fate::KeyConflict(id)),
            Accepted::TenantClosed => ("tenant_closed", Fate::TenantClosed),
        };
        metrics::counter!("bridge_publish_total", "lane" => decision.lane.as_str(), "outcome" => outcome)
            .increment(1);
        if let Fate::New = fate {
            app.busiest.accepted(&publish.tenant);
            // A repeat takes nothing of a quota: its charge is dropped.
            if let Some(charge) = charge {
                charge.keep();
            }
            tracing::info!(
                target: STEPS, step = "accepted", execution_id = %self.id, tenant_id = publish.tenant.as_str(),
                trace_id = self.traceparent.as_deref().and_then(trace::trace_id), workflow_id = publish.workflow.as_str(),
                lane = decision.lane.as_str(), mode = %decision.mode, completion = %decision.completion,
                decided_by = decision.decided_by, decided_because = decision.reason, "accepted"
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

fn decide(app: &App, publish: &Publish, way: Way) -> Result<Decision, Problem> {
    let asked = Asked {
        lane: publish.lane,
        completion: publish.completion,
        delayed: publish.schedule.deliver_at.is_some(),
        batch: way == Way::Queued,
    };
    let fault = |field: &'static str, message| invalid(vec![FieldError { field: field.into(), message }]);
    let routes = app.routes.load();
    if !app.routing.is_loaded() {
        return Err(not_ready());
    }
    let decision = routes
        .decide(&publish.tenant, &publish.workflow, publish.kind.as_deref(), asked)
        .map_err(|error| fault("workflow_id", error.to_string()))?;
    if decision.completion == Completion::Callback {
        if !app.limits.callbacks {
            return Err(fault("completion", NO_CALLBACKS.to_owned()));
        }
        let target = routes.target(&publish.tenant, &publish.workflow, decision.lane);
        let delay = publish.schedule.deliver_at.map(|at| (at - app.clock.now()).to_std().unwrap_or_default());
        let ends = delay.unwrap_or_default() + target.callback_timeout;
        if ends >= app.limits.payload_retention {
            return Err(fault(
                "completion",
                format!(
                    "the delay and the route's callback_timeout_s end after {} s, and the payload is kept {} s; shorten one of them",
                    ends.as_secs(),
                    app.limits.payload_retention.as_secs()
                ),
            ));
        }
    }
    Ok(decision)
}

const NO_CALLBACKS: &str = "\"callback\" needs an address that workflows can report to, and the bridge has none: have the operator set \
                            BRIDGE_CALLBACK_BASE_URL or BRIDGE_PUBLIC_URL, or use \"response\"";

/// Accepts one. Runs on a task of its own: a caller that hangs up neither stops it nor frees its memory too early.
pub async fn one(
    app: &AppState,
    candidate: Candidate,
    mut share: Share,
) -> Result<(Candidate, Fate), Problem> {
    let app = app.clone();
    on_its_own(async move {
        let mut candidate = candidate;
        seal(&app, std::slice::from_mut(&mut candidate), &mut share).await?;
        let accepted =
            app.store.accept(candidate.row(&app), app.limits.accept_patience).await.map_err(refused)?;
        failpoint::hit("publisher.accepted");
        trace::event("committed");
        let fate = candidate.settle(&app, accepted);
        drop(share);
        Ok((candidate, fate))
    })
    .await
}

/// Accepts many in one transaction: all become durable or none.
pub async fn all(
    app: &AppState,
    mut candidates: Vec<Candidate>,
    mut share: Share,
) -> Result<Vec<(Candidate, Fate)>, Problem> {
    let app = app.clone();
    on_its_own(async move {
        seal(&app, &mut candidates, &mut share).await?;
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
                fates[index] = Some(candidates[index].settle(&app, accepted));
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

/// To its end, whether or not the caller stays for the answer.
pub async fn on_its_own<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a request's work failed in an unforeseen way");
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
