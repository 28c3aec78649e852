//! The state of the HTTP API and its router.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::{Router, middleware};
use bridge_access::Access;
use bridge_protocol::{RouteTable, TopicNames};
use bridge_service::clock::SharedClock;
use bridge_service::config::{Canary, Config};
use bridge_service::directory::Directory;
use bridge_service::health::Health;
use bridge_service::problem;
use bridge_service::routing::Routing;
use bridge_service::tally::Tally;
use bridge_service::vault::Vault;
use bridge_store::Store;
use bridge_webhook::Guard;
use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::allowance::{Allowances, Throttle};
use crate::budget::Budget;
use crate::busiest::Busiest;
use crate::data_keys::AtRest;
use crate::endpoints::{self, Need};
use crate::handoff::Handoff;
use crate::jobs::JobLimits;
use crate::members::Members;
use crate::native::Native;
use crate::waiters::Waiters;
use crate::{access, observe};

/// Room for everything of a request that is not its payload.
pub const ENVELOPE: usize = 64 * 1024;

pub struct App {
    pub store: Store,
    /// Tenants, credentials and keys, in memory.
    pub directory: Directory,
    /// Seals the secrets that the administrative routes write.
    pub vault: Vault,
    pub access: Access,
    /// Refused logins.
    pub tally: Tally,
    /// What the tenants may use.
    pub allowances: Arc<Allowances>,
    /// By address.
    pub token_requests: Throttle,
    /// By client and address. A table of its own: one kind must not crowd out the other.
    pub failed_logins: Throttle,
    /// By tenant.
    pub credential_changes: Throttle,
    pub route_changes: Throttle,
    pub at_rest: AtRest,
    pub handoff: Handoff,
    /// Fires what does not go through the broker.
    pub native: Native,
    /// Callers that wait for an end.
    pub waiters: Waiters,
    pub routes: Arc<ArcSwap<RouteTable>>,
    /// Reads the routes anew.
    pub routing: Routing,
    /// Which addresses the webhooks that tenants write may have.
    pub guard: Guard,
    /// What the daemons say of themselves.
    pub members: Members,
    pub names: TopicNames,
    pub clock: SharedClock,
    pub budget: Budget,
    pub limits: Limits,
    /// The API's address as callers see it; empty: links are relative.
    pub public_url: String,
    /// Where people look at traces.
    pub jaeger_url: Option<String>,
    /// The built-in issuer's address: absolute, also without a public URL.
    pub issuer: String,
    pub trusted_proxies: Vec<IpNet>,
    pub health: Health,
    pub metrics: PrometheusHandle,
    /// Beside them: who publishes most.
    pub busiest: Busiest,
    pub canary: Canary,
}

pub type AppState = Arc<App>;

#[derive(Debug, Clone)]
pub struct Limits {
    pub payload_bytes: usize,
    pub body_timeout: Duration,
    pub batch_rows: usize,
    pub max_delay: Duration,
    /// How long an accept is retried while Postgres is away.
    pub accept_patience: Duration,
    /// The most of a result that is kept.
    pub result_bytes: usize,
    /// The longest that a caller may wait for a result.
    pub result_wait: Duration,
    /// Whether workflows know where to report their results.
    pub callbacks: bool,
    /// A delay and a callback's time-out together end before the payload is gone.
    pub payload_retention: Duration,
    /// When the timer of a handed-off execution rings.
    pub patience: Duration,
    pub jobs: JobLimits,
    /// How long our own tokens are good: a key that signs no more must verify them for that long.
    pub token_lifetime: Duration,
}

impl Limits {
    pub fn new(config: &Config) -> Self {
        let publisher = &config.publisher;
        Self {
            payload_bytes: publisher.max_payload_bytes,
            body_timeout: publisher.body_timeout_ms.get(),
            batch_rows: publisher.batch_rows,
            max_delay: publisher.max_delay_s.get(),
            accept_patience: config.database.accept_patience_ms.get(),
            result_bytes: config.webhook.max_result_bytes,
            result_wait: config.publisher.result_wait_max_s.get(),
            callbacks: config.callback_base_url().is_some(),
            payload_retention: config.retention.payloads_days.duration(),
            patience: config.relay.patience_ms.get(),
            jobs: JobLimits::new(publisher),
            token_lifetime: config.auth.token_lifetime_s.get(),
        }
    }
}

pub fn router(app: AppState) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints::all() {
        let need = endpoint.access;
        let checked = endpoint
            .handler
            .route_layer(middleware::from_fn_with_state((app.clone(), need), access::enforce));
        // What asks how the publisher is does not count as its work.
        let observed = match need {
            Need::Open if !is_work(endpoint.path) => checked,
            _ => checked.route_layer(middleware::from_fn(observe::observe)),
        };
        router = router.route(endpoint.path, observed);
    }
    router
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(middleware::from_fn(problem::readable_path))
        .layer(middleware::from_fn(problem::negotiate))
        .with_state(app)
}

/// Of the routes without a need: tokens and callbacks.
fn is_work(path: &str) -> bool {
    path.starts_with("/oauth2") || path.starts_with("/pulsar")
}

#[cfg(test)]
mod tests;
