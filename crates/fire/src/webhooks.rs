//! Sends one request and tells the breaker how the endpoint did.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bridge_protocol::{Lane, RouteTable, TenantId, WorkflowId};
use bridge_service::Directory;
use bridge_service::clock::SharedClock;
use bridge_service::directory::Tenant;
use bridge_service::trace;
use bridge_webhook::{Fire, FireResult, Minted, NoSlot, Slot, Slots, WebhookClient};
use bytes::Bytes;
use metrics::{counter, gauge, histogram};
use tokio::time::Instant;
use tracing::Instrument;

use crate::aim::Aim;
use crate::bar::Bar;
use crate::heavy::heavy;
use crate::login::{NoLogin, auth, login};
use crate::request::{Attempt, request, span};

/// What every attempt needs, put together once at start.
#[derive(Clone)]
pub struct Webhooks {
    pub routes: Arc<ArcSwap<RouteTable>>,
    /// Tenants with their secrets, credentials and data keys, as of a moment ago.
    pub directory: Directory,
    pub slots: Slots,
    pub client: WebhookClient,
    pub clock: SharedClock,
    /// The canary's tenant, where it flies: what it does is no traffic.
    pub canary: Option<TenantId>,
}

impl Webhooks {
    pub fn tenant(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.directory.snapshot().tenant(id).cloned()
    }

    /// Its figures are `bridge_canary_*`. Among those of the traffic its successes would hide the failures of users, and
    /// its failures would be theirs.
    pub fn is_canary(&self, id: &TenantId) -> bool {
        self.canary.as_ref() == Some(id)
    }

    /// What stands between an execution and its webhook, for metrics.
    pub fn show(&self) {
        gauge!("bridge_breakers_open").set(self.slots.breakers().open_count() as f64);
        gauge!("bridge_global_slots_free").set(self.slots.free() as f64);
    }

    /// # Errors
    /// When the route's `webhook_url` is not a URL.
    pub fn aim(&self, tenant: &TenantId, workflow: WorkflowId, lane: Lane) -> Result<Aim, url::ParseError> {
        Aim::of(&self.routes.load(), tenant, workflow, lane)
    }

    /// What keeps it from being fired at this moment, by the routes and holds of now.
    pub fn bar(&self, tenant: &TenantId, aim: &Aim) -> Option<Bar> {
        let routes = self.routes.load();
        let hold = routes.hold(tenant, &aim.workflow, aim.lane, Some(aim.key.host()));
        let newer =
            (routes.revision() != aim.revision).then(|| routes.target(tenant, &aim.workflow, aim.lane));
        Bar::of(self.tenant(tenant).as_deref(), hold, newer.as_ref().unwrap_or(&aim.target))
    }

    /// Whether the routes have changed so that it would be fired in another way now.
    pub fn has_moved(&self, tenant: &TenantId, aim: &Aim) -> bool {
        let routes = self.routes.load();
        routes.revision() != aim.revision && routes.target(tenant, &aim.workflow, aim.lane) != aim.target
    }

    /// A slot before `deadline`. Cancel-safe.
    ///
    /// # Errors
    /// What was full, or the endpoint's breaker.
    pub async fn slot(&self, aim: &Aim, deadline: Instant) -> Result<Slot, NoSlot> {
        let target = &aim.target;
        self.slots.acquire(&aim.key, target.max_concurrency, target.priority, deadline).await
    }

    /// One request, within the route's time-out. Who has a lease sees to it that enough of it remains.
    ///
    /// # Errors
    /// What bars it by now; then nothing was sent.
    pub async fn fire(
        &self,
        attempt: &Attempt<'_>,
        aim: &Aim,
        mut slot: Slot,
        payload: Bytes,
    ) -> Result<FireResult, Bar> {
        if let Some(bar) = self.bar(attempt.tenant, aim) {
            return Err(bar);
        }
        let tenant = self.tenant(attempt.tenant).ok_or(Bar::Unknown)?;
        let secrets = match &tenant.webhook_secrets {
            none if none.is_empty() => return Err(Bar::Secret),
            secrets => secrets,
        };
        let login = login(Some(&tenant), &aim.target)?;
        let (span, now) = (span(aim, attempt), self.clock.now());
        let (body, mut headers) = span
            .in_scope(|| heavy(payload.len(), || request(attempt, aim.target.body, secrets, &payload, now)));
        if let Some(login) = login {
            let (execution, tenant, now) = (attempt.execution, attempt.tenant, now.timestamp());
            let minted = Minted { execution, tenant, body: &body, now };
            heavy(body.len(), || auth(&login).apply(&mut headers, &minted))
                .map_err(|why| NoLogin::unusable(&aim.target, why))?;
        }
        // Signing a large payload takes a while: what is in force by now lets nothing leave.
        if let Some(bar) = self.bar(attempt.tenant, aim) {
            return Err(bar);
        }
        // The envelope holds a copy: a payload need not stay twice while the webhook thinks.
        drop(payload);
        let lane = attempt.lane.as_str();
        gauge!("bridge_webhooks_in_flight").increment(1.0);
        gauge!("n8n_active_workflows").increment(1.0);
        let begun = Instant::now();
        let sending = self.client.fire(Fire { url: &aim.url, body, headers, timeout: aim.target.timeout });
        let result = sending.instrument(span.clone()).await;
        gauge!("bridge_webhooks_in_flight").decrement(1.0);
        gauge!("n8n_active_workflows").decrement(1.0);
        let (took, kind) = (begun.elapsed().as_secs_f64(), result.kind());
        if !self.is_canary(attempt.tenant) {
            histogram!("bridge_webhook_seconds", "lane" => lane).record(took);
            histogram!("n8n_request_duration_seconds", "lane" => lane).record(took);
            counter!("bridge_webhook_requests_total", "lane" => lane, "answer" => kind).increment(1);
            counter!("n8n_requests_total", "lane" => lane, "status" => kind).increment(1);
        }
        match result.status() {
            Some(status) => {
                span.record("http.response.status_code", i64::from(status));
                if status >= 400 {
                    trace::failed(&span, &status.to_string());
                }
            }
            None => trace::failed(&span, result.kind()),
        }
        if let Some(well) = result.endpoint_is_well() {
            slot.report(well);
        }
        Ok(result)
    }
}
