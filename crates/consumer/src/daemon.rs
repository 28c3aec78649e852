//! Puts the parts together, runs them, and takes them down in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use bridge_bus::{Admin, Subscriptions};
use bridge_fire::Webhooks;
use bridge_service::catalogue::{self, By};
use bridge_service::clock::SystemClock;
use bridge_service::daemon::Started;
use bridge_service::expiry::Expiries;
use bridge_service::health::{Health, Weight};
use bridge_service::keyring::{KeyringFile, SharedKeyring, Use};
use bridge_service::serve::{ServeLimits, serve};
use bridge_service::tally::Tally;
use bridge_service::telemetry::TelemetryGuard;
use bridge_service::{Config, Directory, Lifecycle, Routing, heartbeat};
use bridge_store::{Store, StoreError};
use bridge_webhook::{Breakers, Slots, WebhookClient};
use metrics::gauge;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::data_keys::DataKeys;
use crate::heal::Healer;
use crate::payload::LargePayloads;
use crate::rejected::PerMinute;
use crate::said::{HoldsMet, Said};
use crate::works::{Settings, Works};
use crate::{intake, readiness, release, signing, tenants, vitals};

/// Deliveries between the topics' tasks and ours; each already holds a permit of its topic.
const SINK: usize = 64;
const SERVE_LIMITS: ServeLimits = ServeLimits {
    connections: 64,
    header_timeout: Duration::from_secs(10),
    write_timeout: Duration::from_secs(30),
};
/// Postgres says that it lives at least this often, or readiness doubts it.
const PULSE_MAX_AGE: Duration = Duration::from_secs(30);
/// For one question about a backlog.
const ADMIN_LIMIT: Duration = Duration::from_secs(5);
/// For the last acknowledgements to reach the broker.
const CLOSING: Duration = Duration::from_secs(8);

pub async fn run(started: Started) -> anyhow::Result<TelemetryGuard> {
    let Started { config, lifecycle, telemetry, .. } = started;
    catalogue::register(By::Consumer);
    let path = config.signing.keyring_file.clone().context("signing.keyring_file is missing")?;
    let keyring = KeyringFile::load(&path, Use::Verify)?;
    let algorithm = config.signing.algorithm;
    signing::check(algorithm, &keyring.shared().load(), &path)?;
    let store = Store::open(config.store("bridge-consumer"))?;
    let routing = Routing::new(store.clone(), config.route_defaults())?;
    let works = Arc::new(works(&config, store, &routing, keyring.shared(), &lifecycle)?);
    match works.store.check().await {
        Ok(()) => {}
        // It comes up later; until then readiness says that it is missing.
        Err(error @ StoreError::Unavailable(_)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "starting without Postgres");
        }
        Err(error) => return Err(error.into()),
    }
    // Before the first message: where it goes, who is suspended, and who has which keys.
    if let Err(error) = routing.first_look(&works.hooks.directory).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "starting without routes and tenants");
    }
    let bind = config.consumer.bind;
    let listener =
        TcpListener::bind(bind).await.with_context(|| format!("consumer.bind {bind} cannot be used"))?;

    let (sink, deliveries) = mpsc::channel(SINK);
    let bus = config.bus();
    let admin = Admin::new(&config.pulsar.http_url, config.broker_auth(), config.tls(), ADMIN_LIMIT)?;
    // The topics come with the directory.
    let subscriptions = Arc::new(Subscriptions::start(bus, Vec::new(), sink, lifecycle.soft.clone()));
    let healer = Arc::new(Healer::new(
        subscriptions.clone(),
        admin,
        config.pulsar.subscription.clone(),
        config.consumer.heal_after_ms.get(),
    ));

    let health = Health::default();
    let postgres = health.slot("postgres", Weight::Essential, Some(PULSE_MAX_AGE));
    let (subscribed, watcher, listed) =
        (subscriptions.clone(), healer.clone(), works.hooks.directory.clone());
    health.source("pulsar", Weight::Essential, move || readiness::read(&subscribed, &watcher, &listed));
    let listed = works.hooks.directory.clone();
    health.source("directory", Weight::Essential, move || readiness::directory(&listed));
    let keys = works.keyring.clone();
    health.source("keyring", Weight::Helpful, move || signing::read(algorithm, &keys.load()));
    let rendered = telemetry.metrics();
    let router = Router::new().route("/metrics", get(async move || rendered.render())).merge(health.router());

    let soft = lifecycle.soft.clone();
    lifecycle.spawn(serve(listener, router, SERVE_LIMITS, lifecycle.clone()));
    lifecycle.spawn(keyring.watch(soft.clone()));
    let (every, directory) = (config.auth.directory_poll_ms.get(), works.hooks.directory.clone());
    lifecycle.spawn(routing.clone().watch(directory, every, soft.clone()));
    let expiries = Expiries::new(config.broker_auth(), config.tls());
    let clock = works.hooks.clock.clone();
    lifecycle.spawn(bridge_service::measures::run(works.store.clone(), expiries, clock, soft.clone()));
    gauge!("bridge_global_slots").set(config.consumer.global_slots as f64);
    lifecycle.spawn(works.tally.clone().run(works.store.clone(), soft.clone()));
    lifecycle.spawn(beat(&works, &routing, subscriptions.clone(), soft.clone()));
    let following = tenants::follow(works.clone(), subscriptions.clone(), config.consumer.topic_permits);
    until(&lifecycle, following);
    until(&lifecycle, release::follow(works.clone(), routing.changes()));
    until(&lifecycle, vitals::run(works.clone(), postgres));
    until(&lifecycle, healer.run());
    let taken = lifecycle.tracker.clone();
    lifecycle.spawn(intake::run(works.clone(), deliveries, taken, lifecycle.hard.clone()));
    let tenants = works.hooks.directory.snapshot().tenants.len();
    tracing::info!(%bind, tenants, "consumer started");

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

fn works(
    config: &Config,
    store: Store,
    routing: &Routing,
    keyring: SharedKeyring,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Works> {
    let consumer = &config.consumer;
    let clock = SystemClock::shared();
    Ok(Works {
        hooks: Webhooks {
            routes: routing.table(),
            directory: Directory::new(store.clone(), config.vault()?),
            slots: Slots::new(config.slot_limits(), Breakers::new(config.breaker())),
            client: WebhookClient::new(config.webhook_client())?,
            clock: clock.clone(),
            canary: config.canary_tenant(),
        },
        data_keys: DataKeys::default(),
        store,
        keyring,
        names: config.topic_names(),
        tally: Tally::new(clock),
        rejected: PerMinute::new(consumer.forged_per_minute),
        said: Said::default(),
        holds: HoldsMet::default(),
        settings: Settings {
            subscription: config.pulsar.subscription.clone(),
            slot_wait: consumer.slot_wait_ms.get(),
            lease_margin: consumer.lease_margin_ms.get(),
            write_patience: config.database.write_patience_ms.get(),
            max_result_bytes: config.webhook.max_result_bytes,
            seal_results: config.encryption.payloads,
            callback_base: config.callback_base_url(),
        },
        large: LargePayloads::new(consumer.large_payload_bytes),
        soft: lifecycle.soft.clone(),
    })
}

fn beat(
    works: &Arc<Works>,
    routing: &Routing,
    subscriptions: Arc<Subscriptions>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (keyring, told) = (works.keyring.clone(), works.clone());
    let (keys, detail) = (move || keyring.load().kids(), move || vitals::detail(&told, &subscriptions));
    let directory = works.hooks.directory.clone();
    heartbeat::run(works.store.clone(), "consumer", keys, directory, routing.clone(), detail, stop)
}

/// Runs to the soft stop.
fn until(lifecycle: &Lifecycle, work: impl Future<Output = ()> + Send + 'static) {
    let soft = lifecycle.soft.clone();
    lifecycle.spawn(async move {
        soft.run_until_cancelled(work).await;
    });
}
