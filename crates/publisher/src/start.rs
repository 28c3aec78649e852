//! Puts the publisher together and runs it to its end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bridge_access::Access;
use bridge_bus::{Admin, Producers};
use bridge_fire::Webhooks;
use bridge_protocol::{RouteTable, TenantId, TimerPolicy};
use bridge_service::Lifecycle;
use bridge_service::Routing;
use bridge_service::catalogue::{self, By};
use bridge_service::clock::{SharedClock, SystemClock};
use bridge_service::config::Config;
use bridge_service::daemon::Started;
use bridge_service::directory::Directory;
use bridge_service::expiry::Expiries;
use bridge_service::health::{Health, HealthSlot, Reading, Status, Weight};
use bridge_service::heartbeat;
use bridge_service::keyring::{KeyringFile, Use};
use bridge_service::serve::{ServeLimits, serve};
use bridge_service::signing_gate::SigningGate;
use bridge_service::tally::Tally;
use bridge_service::telemetry::TelemetryGuard;
use bridge_store::{Store, StoreError};
use bridge_webhook::{Breakers, Slots, WebhookClient};
use metrics::gauge;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::allowance::{self, Allowances, Throttle};
use crate::app::{App, Limits, router};
use crate::budget::Budget;
use crate::busiest::Busiest;
use crate::canary;
use crate::data_keys::{self, AtRest};
use crate::handoff::Handoff;
use crate::in_flight::InFlight;
use crate::jobs;
use crate::keyring_audit;
use crate::measures;
use crate::members::Members;
use crate::native::Native;
use crate::observe;
use crate::outbound::Outbound;
use crate::relay::{self, Relay, RelayLimits};
use crate::waiters::Waiters;

/// How often Postgres is asked how it is.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub async fn run(started: Started) -> anyhow::Result<TelemetryGuard> {
    let Started { config, lifecycle, telemetry, insecure_dev } = started;
    catalogue::register(By::Publisher);
    observe::begin();
    let listener = TcpListener::bind(config.publisher.bind)
        .await
        .with_context(|| format!("{} cannot be listened on; change publisher.bind", config.publisher.bind))?;
    let store = Store::open(config.store("bridge-publisher"))?;
    refuse_a_wrong_setup(&store).await?;
    let path = config.signing.keyring_file.as_deref().context("signing.keyring_file is not set")?;
    let keyring = KeyringFile::load(path, Use::Sign)?;
    let clock = SystemClock::shared();
    let vault = config.vault()?;
    let directory = Directory::new(store.clone(), vault.clone());
    let routing = Routing::new(store.clone(), config.route_defaults())?;
    // Together: each waits for its time limit while Postgres is away.
    let ((), keys) =
        tokio::join!(first_look(&routing, &directory), SigningGate::open(keyring.shared(), store.clone()));
    let access = callers(&config, &directory, &clock, insecure_dev)?;
    let tally = Tally::new(clock.clone());
    let allowances = Arc::new(Allowances::default());
    // The producers outlive the soft stop: what was accepted before it is still handed off.
    let producers = Producers::start(config.bus(), lifecycle.hard.clone());
    let outbound = Arc::new(Outbound {
        producers: producers.clone(),
        keys: keys.clone(),
        names: config.topic_names(),
        issuer: config.signing.issuer.clone(),
        lifetime: config.signing.message_lifetime_s.get(),
        clock: clock.clone(),
    });
    let in_flight = InFlight::default();
    let own_flight = in_flight.clone();
    let on_their_way = TaskTracker::new();
    let routes = routing.table();

    let health = Health::default();
    let postgres = health.slot("postgres", Weight::Essential, Some(LOOK_EVERY * 6));
    let broker = producers.clone();
    health.source("pulsar", Weight::Helpful, move || match broker.is_up() {
        true => Reading::now(Status::Ok, ""),
        false => Reading::now(Status::Down, "executions are accepted and published when it is back"),
    });
    lifecycle.spawn(watch(store.clone(), postgres, lifecycle.soft.clone()));
    lifecycle.spawn(keys.clone().watch(lifecycle.soft.clone()));
    let (kids, signing) = (keyring.shared(), keyring.shared());
    lifecycle.spawn(heartbeat::run(
        store.clone(),
        "publisher",
        move || kids.load().kids(),
        directory.clone(),
        routing.clone(),
        move || serde_json::json!({ "signing": keys.kid(), "broker_up": producers.is_up() }),
        lifecycle.soft.clone(),
    ));
    lifecycle.spawn(keyring_audit::run(keyring.shared(), store.clone(), lifecycle.soft.clone()));
    lifecycle.spawn(keyring.watch(lifecycle.soft.clone()));
    let expiries = Expiries::new(config.broker_auth(), config.tls());
    let stop = || lifecycle.soft.clone();
    lifecycle.spawn(bridge_service::measures::run(store.clone(), expiries, clock.clone(), stop()));
    lifecycle.spawn(measures::run(store.clone(), signing, path.to_owned(), clock.clone(), stop()));
    let busiest = Busiest::new(config.telemetry.tenants_named);
    lifecycle.spawn(busiest.clone().run(stop()));
    let every = config.auth.directory_poll_ms.get();
    lifecycle.spawn(routing.clone().watch(directory.clone(), every, lifecycle.soft.clone()));
    lifecycle.spawn(access.clone().run(lifecycle.soft.clone()));
    let at_rest = at_rest(&config, &store, &directory, &clock, &lifecycle);
    lifecycle.spawn(relay::maintain(store.clone(), clock.clone(), lifecycle.soft.clone()));
    lifecycle.spawn(relay::expire_results(store.clone(), lifecycle.soft.clone()));
    lifecycle.spawn(relay::announce(store.clone(), outbound.clone(), lifecycle.soft.clone()));
    let relay = Relay {
        store: store.clone(),
        outbound: outbound.clone(),
        in_flight: in_flight.clone(),
        routes: routes.clone(),
        admin: Admin::new(
            &config.pulsar.http_url,
            config.broker_auth(),
            config.tls(),
            config.pulsar.operation_timeout_ms.get(),
        )?,
        subscription: config.pulsar.subscription.clone(),
        limits: relay_limits(&config),
        tasks: on_their_way.clone(),
    };
    lifecycle.spawn(relay.run(lifecycle.soft.clone()));

    // Requests of the drain are counted too: these two end after the last of them.
    let counting = CancellationToken::new();
    let counted = TaskTracker::new();
    counted.spawn(tally.clone().run(store.clone(), counting.clone()));
    counted.spawn(allowance::keep(allowances.clone(), store.clone(), directory.clone(), counting.clone()));

    let client = WebhookClient::new(config.webhook_client())?;
    let guard = client.guard().clone();
    let natives = TaskTracker::new();
    let native = Native {
        hooks: Webhooks {
            routes: routes.clone(),
            directory: directory.clone(),
            slots: Slots::new(config.slot_limits(), Breakers::new(config.breaker())),
            client,
            clock: clock.clone(),
            canary: config.canary_tenant(),
        },
        lease_margin: config.consumer.lease_margin_ms.get(),
        write_patience: config.database.write_patience_ms.get(),
        slot_wait: config.publisher.native_slot_wait_ms.get(),
        largest: config.publisher.native_payload_bytes,
        tasks: natives.clone(),
        hard: lifecycle.hard.clone(),
    };
    warn_of_a_short_drain(&routes.load(), config.publisher.drain_ms.get());
    let waiters =
        Waiters::new(config.publisher.waiters, config.publisher.result_turn_ms.get(), lifecycle.soft.clone());
    lifecycle.spawn(waiters.clone().run(store.clone()));

    let app = Arc::new(App {
        store: store.clone(),
        directory,
        vault,
        access,
        tally,
        allowances,
        token_requests: Throttle::per_minute(config.auth.token_requests_per_minute),
        failed_logins: Throttle::per_minute(config.auth.token_requests_per_minute),
        credential_changes: Throttle::per_minute(config.publisher.credential_changes_per_minute),
        route_changes: Throttle::per_minute(config.publisher.route_changes_per_minute),
        at_rest,
        handoff: Handoff::new(outbound, in_flight, config.publisher.handoff, on_their_way.clone()),
        native,
        waiters,
        routes,
        routing,
        guard,
        members: Members::new(store.clone()),
        names: config.topic_names(),
        clock,
        budget: Budget::new(config.publisher.inflight_requests, config.publisher.inflight_bytes),
        limits: Limits::new(&config),
        jaeger_url: config.telemetry.jaeger_url.clone(),
        public_url: config
            .publisher
            .public_url
            .as_deref()
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned(),
        issuer: config.access().issuer,
        trusted_proxies: config.trusted_proxies(),
        health,
        metrics: telemetry.metrics(),
        busiest,
        canary: config.canary.clone(),
    });
    let limits = ServeLimits {
        connections: config.publisher.max_connections,
        header_timeout: config.publisher.header_timeout_ms.get(),
        write_timeout: config.publisher.write_timeout_ms.get(),
    };
    gauge!("bridge_global_slots").set(config.consumer.global_slots as f64);
    lifecycle.spawn(measures::at_work(app.clone(), own_flight, lifecycle.soft.clone()));
    lifecycle.spawn(relay::tell(app.clone(), lifecycle.soft.clone()));
    lifecycle.spawn(jobs::run(app.clone(), lifecycle.soft.clone()));
    lifecycle.spawn(canary::run(app.clone(), config.canary.clone(), lifecycle.soft.clone()));
    tracing::info!(address = %listener.local_addr()?, "the publisher listens");
    let (router, served) = (router(app), lifecycle.clone());
    lifecycle.spawn(async move {
        serve(listener, router, limits, served).await;
        // What is fired natively goes on without its caller, to the end that is written.
        natives.close();
        natives.wait().await;
        // Requests are over, so nothing new is handed off; what is on its way gets its receipt.
        on_their_way.close();
        on_their_way.wait().await;
        counting.cancel();
        counted.close();
        counted.wait().await;
    });
    lifecycle.stop(config.publisher.drain_ms.get()).await;
    store.close().await;
    Ok(telemetry)
}

/// Whoever calls right after the start should be known. Without Postgres nobody is, and callers are told to wait.
async fn first_look(routing: &Routing, directory: &Directory) {
    if let Err(error) = routing.first_look(directory).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "starting without the routes, tenants and credentials; requests are refused until they are read"
        );
    }
}

/// Who decides on callers. Nothing falls open, and a publisher that nobody could use says so at once.
fn callers(
    config: &Config,
    directory: &Directory,
    clock: &SharedClock,
    insecure_dev: bool,
) -> anyhow::Result<Access> {
    if insecure_dev {
        let tenant = TenantId::parse(&config.pulsar.tenant).context("pulsar.tenant is no tenant's id")?;
        return Ok(Access::insecure(tenant));
    }
    let nobody = directory.is_loaded() && directory.snapshot().by_id.is_empty();
    if nobody && config.auth.issuers.is_empty() {
        anyhow::bail!("nobody could log in: run `bridgectl admin bootstrap`, or configure auth.issuers");
    }
    Ok(Access::new(config.access(), directory.clone(), clock.clone())?)
}

fn at_rest(
    config: &Config,
    store: &Store,
    directory: &Directory,
    clock: &SharedClock,
    lifecycle: &Lifecycle,
) -> AtRest {
    if !config.encryption.payloads {
        return AtRest::Plain;
    }
    let (at_rest, asked) = AtRest::sealed();
    let (store, directory, clock) = (store.clone(), directory.clone(), clock.clone());
    lifecycle.spawn(data_keys::make(asked, store, directory, clock, lifecycle.hard.clone()));
    at_rest
}

/// A database that is away comes back; one that is set up wrongly does not.
async fn refuse_a_wrong_setup(store: &Store) -> anyhow::Result<()> {
    match store.check().await {
        Ok(()) => Ok(()),
        Err(error @ StoreError::Unavailable(_)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "starting without Postgres; requests wait for it"
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps the state of Postgres fresh, so that nobody who asks has to wait.
async fn watch(store: Store, slot: HealthSlot, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let look = bridge_service::measures::pulse(&store);
        let Some(pulse) = stop.run_until_cancelled(look).await else { return };
        match pulse {
            Ok(pulse) => {
                let standby = if pulse.synchronous_standby { "with" } else { "without" };
                slot.set(Status::Ok, format!("{standby} a synchronous standby"));
            }
            Err(error) => slot.set(Status::Down, error.to_string()),
        }
    }
}

/// What is fired natively and has no answer when the time to leave is over ends with an unknown outcome.
fn warn_of_a_short_drain(routes: &RouteTable, drain: Duration) {
    if let Some(longest) = routes.longest_native().filter(|longest| *longest > drain) {
        tracing::warn!(
            drain_ms = drain.as_millis() as u64,
            longest_timeout_ms = longest.as_millis() as u64,
            "a native route's time-out is longer than publisher.drain_ms: at a stop its executions may be cut off; make \
             drain_ms longer, or the route's timeout_ms shorter"
        );
    }
}

fn relay_limits(config: &Config) -> RelayLimits {
    let relay = &config.relay;
    RelayLimits {
        poll: relay.poll_ms.get(),
        batch: relay.batch as usize,
        policy: TimerPolicy {
            patience: relay.patience_ms.get(),
            max_patience: relay.max_patience_ms.get(),
            takeover_grace: relay.takeover_grace_ms.get(),
            ..TimerPolicy::default()
        },
        backlog_max_age: relay.backlog_max_age_ms.get(),
        publishing: config.pulsar.produce_in_flight,
    }
}
