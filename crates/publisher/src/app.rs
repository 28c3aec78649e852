//! The state of the HTTP API and its router.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::routing::{get, post};
use axum::{Router, middleware};
use bridge_protocol::{RouteTable, TopicNames};
use bridge_service::clock::SharedClock;
use bridge_service::config::Config;
use bridge_service::health::Health;
use bridge_service::problem;
use bridge_store::Store;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::auth::Tokens;
use crate::budget::Budget;
use crate::handoff::Handoff;
use crate::{observe, routes};

/// Room for everything of a request that is not its payload.
const ENVELOPE: usize = 64 * 1024;

pub struct App {
    pub store: Store,
    pub handoff: Handoff,
    pub routes: Arc<ArcSwap<RouteTable>>,
    pub names: TopicNames,
    pub clock: SharedClock,
    pub tokens: Tokens,
    pub budget: Budget,
    pub limits: Limits,
    /// The API's address as callers see it; empty: links are relative.
    pub public_url: String,
    pub metrics: PrometheusHandle,
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
    /// When the timer of a handed-off execution rings.
    pub patience: Duration,
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
            patience: config.relay.patience_ms.get(),
        }
    }

    pub fn body_bytes(&self) -> usize {
        self.payload_bytes + ENVELOPE
    }
}

pub fn router(app: AppState, health: &Health) -> Router {
    Router::new()
        .route("/pulsar/publish", post(routes::publish::handle))
        .route("/pulsar/publish/batch", post(routes::batch::handle))
        .route("/pulsar/executions", get(routes::executions::handle))
        .route("/pulsar/executions/{id}", get(routes::execution::handle))
        .route("/pulsar/executions/{id}/replay", post(routes::replay::handle))
        .route_layer(middleware::from_fn(observe::observe))
        .route("/metrics", get(routes::metrics::handle))
        .merge(health.router())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(middleware::from_fn(problem::negotiate))
        .with_state(app)
}

#[cfg(test)]
mod tests;
