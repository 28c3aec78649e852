//! An execution that is about to be written: decided, with its place in the hand-off.

use bridge_protocol::{Decision, ExecutionId, Mode};
use bridge_service::clock::entropy;
use bridge_service::directory::Tenant;
use bridge_service::steps::STEPS;
use bridge_service::{Problem, trace};
use bridge_store::{Accepted, Idempotency, NativeClaim, NewExecution};
use std::time::Duration;
use uuid::Uuid;

use super::Fate;
use super::decide::{Way, decide};
use crate::allowance::Charge;
use crate::app::{App, AppState};
use crate::handoff::Slot;
use crate::outbound::Message;
use crate::parse::Publish;

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
    caused_by: Option<Uuid>,
    /// It is born running, and fired here.
    pub(crate) native: Option<NativeClaim>,
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
        Ok(told.caused_by(Some(of.uuid())))
    }

    /// Also a replay of what tells of a bad end tells of it, and is itself not told of.
    #[must_use]
    pub fn caused_by(self, by: Option<Uuid>) -> Self {
        Self { caused_by: by, ..self }
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
            caused_by: self.caused_by,
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
