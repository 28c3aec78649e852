//! Puts the parts together, runs them, and takes them down in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use bridge_bus::{Admin, Subscriptions, TopicPlan};
use bridge_protocol::{Lane, TenantId, TopicNames, WebhookSecret, WebhookSecretError};
use bridge_service::clock::SystemClock;
use bridge_service::config::Tenant;
use bridge_service::daemon::Started;
use bridge_service::health::{Health, Weight};
use bridge_service::keyring::{KeyringFile, SharedKeyring, Use};
use bridge_service::serve::{ServeLimits, serve};
use bridge_service::telemetry::TelemetryGuard;
use bridge_service::{Config, Lifecycle};
use bridge_store::{Store, StoreError};
use bridge_webhook::{Breakers, Slots, WebhookClient};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::heal::Healer;
use crate::payload::LargePayloads;
use crate::rejected::PerMinute;
use crate::works::{Settings, Works};
use crate::{intake, measures, readiness, vitals};

/// Deliveries between the topics' tasks and ours; each already holds a permit of its topic.
const SINK: usize = 64;
const SERVE_LIMITS: ServeLimits = ServeLimits { connections: 64, header_timeout: Duration::from_secs(10) };
/// Postgres says that it lives at least this often, or readiness doubts it.
const PULSE_MAX_AGE: Duration = Duration::from_secs(30);
/// For one question about a backlog.
const ADMIN_LIMIT: Duration = Duration::from_secs(5);
/// For the last acknowledgements to reach the broker.
const CLOSING: Duration = Duration::from_secs(8);

pub async fn run(started: Started) -> anyhow::Result<TelemetryGuard> {
    let Started { config, lifecycle, telemetry } = started;
    measures::register();
    let path = config.signing.keyring_file.clone().context("signing.keyring_file is missing")?;
    let keyring = KeyringFile::load(&path, Use::Verify)?;
    let works = Arc::new(works(&config, keyring.shared(), &lifecycle)?);
    match works.store.check().await {
        Ok(()) => {}
        // It comes up later; until then readiness says that it is missing.
        Err(error @ StoreError::Unavailable(_)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "starting without Postgres");
        }
        Err(error) => return Err(error.into()),
    }
    let bind = config.consumer.bind;
    let listener =
        TcpListener::bind(bind).await.with_context(|| format!("consumer.bind {bind} cannot be used"))?;

    let (sink, deliveries) = mpsc::channel(SINK);
    let topics = topics(&config.tenants, &works.names, config.consumer.topic_permits);
    let subscriptions = Arc::new(Subscriptions::start(config.bus(), topics, sink, lifecycle.soft.clone()));
    let admin = Admin::new(&config.pulsar.http_url, config.broker_auth(), ADMIN_LIMIT)?;
    let healer = Arc::new(Healer::new(
        subscriptions.clone(),
        admin,
        config.pulsar.subscription.clone(),
        config.consumer.heal_after_ms.get(),
    ));

    let health = Health::default();
    let postgres = health.slot("postgres", Weight::Essential, Some(PULSE_MAX_AGE));
    let (subscribed, watcher) = (subscriptions.clone(), healer.clone());
    health.source("pulsar", Weight::Essential, move || readiness::read(&subscribed, &watcher));
    let rendered = telemetry.metrics();
    let router = Router::new().route("/metrics", get(async move || rendered.render())).merge(health.router());

    let soft = lifecycle.soft.clone();
    lifecycle.spawn(serve(listener, router, SERVE_LIMITS, lifecycle.clone()));
    lifecycle.spawn(keyring.watch(soft.clone()));
    let (pulse, healing) = (vitals::run(works.clone(), postgres), healer.run());
    let (pulse_until, healing_until) = (soft.clone(), soft);
    lifecycle.spawn(async move { pulse_until.run_until_cancelled(pulse).await });
    lifecycle.spawn(async move { healing_until.run_until_cancelled(healing).await });
    let taken = lifecycle.tracker.clone();
    lifecycle.spawn(intake::run(works.clone(), deliveries, taken, lifecycle.hard.clone()));
    tracing::info!(%bind, tenants = config.tenants.len(), "consumer started");

    let clean = lifecycle.stop(config.consumer.drain_ms.get()).await;
    if tokio::time::timeout(CLOSING, subscriptions.drained()).await.is_err() {
        tracing::warn!("the subscriptions did not close in time; unacknowledged messages come again");
    }
    works.store.close().await;
    if !clean {
        tracing::warn!("some executions were cut off; their timers see to them");
    }
    Ok(telemetry)
}

fn works(config: &Config, keyring: SharedKeyring, lifecycle: &Lifecycle) -> anyhow::Result<Works> {
    let consumer = &config.consumer;
    Ok(Works {
        store: Store::open(config.store("bridge-consumer"))?,
        keyring,
        names: config.topic_names(),
        routes: config.route_table()?,
        secrets: secrets(&config.tenants)?,
        slots: Slots::new(config.slot_limits(), Breakers::new(config.breaker())),
        client: WebhookClient::new(config.webhook_client())?,
        clock: SystemClock::shared(),
        rejected: PerMinute::new(consumer.forged_per_minute),
        settings: Settings {
            subscription: config.pulsar.subscription.clone(),
            slot_wait: consumer.slot_wait_ms.get(),
            lease_margin: consumer.lease_margin_ms.get(),
            write_patience: config.database.write_patience_ms.get(),
            max_result_bytes: config.webhook.max_result_bytes,
        },
        large: LargePayloads::new(consumer.large_payload_bytes),
        soft: lifecycle.soft.clone(),
    })
}

fn secrets(tenants: &[Tenant]) -> Result<HashMap<TenantId, Vec<WebhookSecret>>, WebhookSecretError> {
    let mut all = HashMap::new();
    for tenant in tenants {
        let parsed = tenant.webhook_secrets.iter().map(|secret| WebhookSecret::parse(secret.expose()));
        all.insert(tenant.id.clone(), parsed.collect::<Result<_, _>>()?);
    }
    Ok(all)
}

fn topics(tenants: &[Tenant], names: &TopicNames, permits: usize) -> Vec<TopicPlan> {
    let plan = |tenant: &Tenant, lane: &Lane| TopicPlan { topic: names.topic(&tenant.id, *lane), permits };
    tenants.iter().flat_map(|tenant| Lane::ALL.iter().map(move |lane| plan(tenant, lane))).collect()
}
