//! May this execution be fired now? A slot is a place at its workflow, at its host and in the whole
//! process, and a pass of its endpoint's breaker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bridge_protocol::{Lane, TenantId, WorkflowId};
use tokio::time::Instant;
use url::Url;

use crate::breaker::{Breakers, Pass};
use crate::gate::{Gates, Place};
use crate::turnstile::{Turn, Turnstile};

/// Where requests go: scheme, host, port and path, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Arc<str>);

impl Endpoint {
    pub fn of(url: &Url) -> Self {
        let port = url.port_or_known_default().unwrap_or_default();
        let host = url.host_str().unwrap_or_default();
        Self(format!("{}://{host}:{port}{}", url.scheme(), url.path()).into())
    }

    /// `host:port`.
    pub fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or(&*self.0, |(_, rest)| rest);
        rest.split_once('/').map_or(rest, |(host, _)| host)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is limited: the workflow, the host it is fired at, the tenant's lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotKey {
    workflow: (TenantId, WorkflowId),
    turn: (TenantId, Lane),
    host: Arc<str>,
    endpoint: Endpoint,
}

impl SlotKey {
    pub fn new(tenant: &TenantId, workflow: &WorkflowId, lane: Lane, url: &Url) -> Self {
        let port = url.port_or_known_default().unwrap_or_default();
        Self {
            workflow: (tenant.clone(), workflow.clone()),
            turn: (tenant.clone(), lane),
            host: format!("{}:{port}", url.host_str().unwrap_or_default()).into(),
            endpoint: Endpoint::of(url),
        }
    }

    /// `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }
}

#[derive(Debug, Clone, Copy)]
pub struct SlotLimits {
    pub global: usize,
    pub per_host: usize,
    /// For workflows whose route does not say.
    pub per_workflow: usize,
    /// How long one that has its place at workflow and host waits for its turn.
    pub global_wait: Duration,
}

impl Default for SlotLimits {
    fn default() -> Self {
        Self { global: 512, per_host: 256, per_workflow: 128, global_wait: Duration::from_secs(30) }
    }
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlotReason {
    Concurrency,
    Host,
    /// The endpoint is paused; a probe may pass then.
    Breaker {
        retry_after: Duration,
    },
    Global,
}

impl NoSlotReason {
    /// A bounded label for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Host => "host",
            Self::Breaker { .. } => "breaker",
            Self::Global => "global",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no slot within the wait: {}", .reason.as_str())]
pub struct NoSlot {
    pub reason: NoSlotReason,
}

impl From<NoSlotReason> for NoSlot {
    fn from(reason: NoSlotReason) -> Self {
        Self { reason }
    }
}

#[derive(Debug, Clone)]
pub struct Slots {
    limits: SlotLimits,
    workflows: Gates<(TenantId, WorkflowId)>,
    hosts: Gates<Arc<str>>,
    turns: Turnstile<(TenantId, Lane)>,
    breakers: Breakers,
}

/// The right to fire once; dropping it frees its places.
#[derive(Debug)]
pub struct Slot {
    key: SlotKey,
    pass: Pass,
    _turn: Turn<(TenantId, Lane)>,
    _host: Place<Arc<str>>,
    _workflow: Place<(TenantId, WorkflowId)>,
}

impl Slot {
    pub fn key(&self) -> &SlotKey {
        &self.key
    }

    /// How the endpoint did, for its breaker; not called when nothing was sent.
    pub fn report(&mut self, well: bool) {
        self.pass.report(well);
    }
}

impl Slots {
    pub fn new(limits: SlotLimits, breakers: Breakers) -> Self {
        Self {
            limits,
            workflows: Gates::new(),
            hosts: Gates::new(),
            turns: Turnstile::new(limits.global),
            breakers,
        }
    }

    /// The narrow places come first, so that what waits for a stuck workflow holds nothing that
    /// others need. Among those of its tenant and lane that wait for a global place the highest
    /// `priority` goes first. Cancel-safe: a dropped future leaves every queue.
    pub async fn acquire(
        &self,
        key: &SlotKey,
        max_concurrency: Option<u32>,
        priority: u8,
        deadline: Instant,
    ) -> Result<Slot, NoSlot> {
        let breaker = |retry_after| NoSlotReason::Breaker { retry_after };
        self.breakers.look(&key.endpoint).map_err(breaker)?;
        let most = self.limits.per_workflow;
        // A route may ask for less than the operator gives, never for more.
        let cap = max_concurrency.map_or(most, |cap| (cap.max(1) as usize).min(most));
        let workflow =
            self.workflows.enter(&key.workflow, cap, deadline).await.ok_or(NoSlotReason::Concurrency)?;
        let host =
            self.hosts.enter(&key.host, self.limits.per_host, deadline).await.ok_or(NoSlotReason::Host)?;
        let turn_by = deadline.max(Instant::now() + self.limits.global_wait);
        let turn = self.turns.enter(&key.turn, priority, turn_by).await.ok_or(NoSlotReason::Global)?;
        let pass = self.breakers.admit(&key.endpoint).map_err(breaker)?;
        Ok(Slot { key: key.clone(), pass, _turn: turn, _host: host, _workflow: workflow })
    }

    /// Global places that nobody holds.
    pub fn free(&self) -> usize {
        self.turns.free()
    }

    pub fn breakers(&self) -> &Breakers {
        &self.breakers
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
