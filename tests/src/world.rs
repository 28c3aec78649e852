//! A bridge of one test's own on the shared parts: its database, its tenants and topics, its daemons.

use std::time::Duration;

use anyhow::Context;
use bridge_protocol::{Keyring, Route, RouteName, TenantId, WorkflowId};
use bridge_store::{Store, StoreConfig};
use chrono::Utc;
use tempfile::TempDir;

use crate::api::{Api, Book, state_of};
use crate::broker::Broker;
use crate::chaos::ChaosProxy;
use crate::daemon::{CONSUMER, Daemon, PUBLISHER, free_port};
use crate::endpoint::Endpoint;
use crate::parts::Pulsar;
use crate::register::Registrar;
use crate::settings::{Places, Settings, Tenant, keyring, master_keys};
use crate::sql::Sql;
use crate::wait::eventually;

pub struct World {
    /// The first tenant's.
    pub api: Api,
    pub tenants: Vec<Tenant>,
    pub endpoint: Endpoint,
    pub publisher: Daemon,
    pub consumer: Daemon,
    pub broker: Broker,
    pub store: Store,
    pub sql: Sql,
    pub keyring: Keyring,
    pub pulsar: Pulsar,
    /// Writes tenants and credentials as the administrators' routes do.
    pub registrar: Registrar,
    /// An API key with the scope admin, and nothing else.
    pub admin_token: String,
    /// Between the daemons and Postgres, when it was asked for.
    pub proxy: Option<ChaosProxy>,
    book: Book,
    directory: TempDir,
    finished: bool,
}

pub struct Builder {
    settings: Settings,
    database_url: Option<String>,
    pulsar: Option<Pulsar>,
    publisher_environment: Vec<(&'static str, String)>,
    consumer: Option<Vec<(&'static str, String)>>,
    starts_publisher: bool,
    behind_proxy: bool,
}

impl World {
    pub fn build() -> Builder {
        let settings = Settings { tenants: vec![Tenant::new()], routes: Vec::new(), overrides: Vec::new() };
        Builder {
            settings,
            database_url: None,
            pulsar: None,
            publisher_environment: Vec::new(),
            consumer: Some(Vec::new()),
            starts_publisher: true,
            behind_proxy: false,
        }
    }

    pub async fn start() -> anyhow::Result<Self> {
        Self::build().start().await
    }

    pub fn tenant(&self) -> TenantId {
        self.tenant_id(0)
    }

    pub fn tenant_id(&self, number: usize) -> TenantId {
        TenantId::parse(&self.tenants[number].id).unwrap()
    }

    pub fn tenant_ids(&self) -> Vec<TenantId> {
        (0..self.tenants.len()).map(|number| self.tenant_id(number)).collect()
    }

    pub fn api_of(&self, number: usize) -> Api {
        let tenant = &self.tenants[number];
        Api::new(self.publisher.url(), &tenant.id, &tenant.token, self.book.clone())
    }

    /// Until every daemon works with what the administrators wrote last.
    pub async fn directory_is_current(&self) {
        let behind = "members m, directory_revision r WHERE (m.detail->>'directory')::bigint < r.revision";
        eventually("every daemon to have loaded the directory", async || {
            match self.sql.count(behind).await {
                Ok(0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// The administrators' API.
    pub fn admin(&self) -> Api {
        self.api.with_token(&self.admin_token)
    }

    /// The file with the daemons' configuration; keyring.toml and master.keys lie beside it.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Lifts `is_active = false` from the route of a workflow, for every tenant.
    pub async fn activate(&self, workflow: &str) -> anyhow::Result<()> {
        let name = RouteName::Workflow(WorkflowId::parse(workflow)?);
        for tenant in self.tenant_ids() {
            let row = self.store.route(&tenant, &name).await?.and_then(|row| row.route);
            let route = row.with_context(|| format!("{workflow} has no route"))?;
            anyhow::ensure!(!route.is_active, "{workflow} is not held");
            let active = Route { is_active: true, ..route };
            self.registrar.put_route(&tenant, workflow, &active).await?;
        }
        Ok(())
    }

    /// A second daemon of the same configuration.
    pub fn another(&self, name: &'static str) -> (Daemon, Vec<(&'static str, String)>) {
        let port = free_port();
        let key = if name == CONSUMER { "BRIDGE_CONSUMER__BIND" } else { "BRIDGE_PUBLISHER__BIND" };
        let daemon = Daemon::new(name, self.directory.path(), port, &self.pulsar);
        (daemon, vec![(key, format!("127.0.0.1:{port}"))])
    }

    /// The invariant that lets the bridge lose every message of the broker.
    pub async fn every_live_execution_has_its_timer(&self) -> anyhow::Result<()> {
        let without = self.store.live_without_timer().await?;
        anyhow::ensure!(without.is_empty(), "live executions without a timer: {without:?}");
        Ok(())
    }

    /// Waits until every accepted execution has ended as expected and was delivered, and checks the invariants.
    pub async fn settle(&self) -> anyhow::Result<()> {
        self.every_live_execution_has_its_timer().await?;
        let book = self.book.lock().unwrap().clone();
        let apis: Vec<Api> = (0..self.tenants.len()).map(|number| self.api_of(number)).collect();
        for (id, (tenant, expected)) in &book {
            let api = apis.iter().find(|api| api.tenant == *tenant).unwrap();
            eventually(&format!("{id} to end as {expected}"), async || {
                let seen = api.show(id).await.map_err(|error| format!("{error:#}"))?;
                if state_of(&seen) == *expected { Ok(()) } else { Err(seen.to_string()) }
            })
            .await;
        }
        let counts = self.endpoint.counts();
        let lost: Vec<_> = book
            .iter()
            .filter(|(id, (_, expected))| *expected == "succeeded" && !counts.contains_key(*id))
            .collect();
        anyhow::ensure!(lost.is_empty(), "recorded as delivered and never seen by the endpoint: {lost:?}");
        self.every_live_execution_has_its_timer().await
    }

    /// `settle`, then both daemons leave politely.
    pub async fn finish(self) -> anyhow::Result<()> {
        self.settle().await?;
        self.leave().await
    }

    /// For a world whose executions cannot all be looked at any more.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        self.every_live_execution_has_its_timer().await?;
        self.nothing_secret_was_written().await?;
        let (publisher, consumer) = (&mut self.publisher, &mut self.consumer);
        tokio::try_join!(leave_politely(publisher), leave_politely(consumer))?;
        self.store.close().await;
        self.finished = true;
        Ok(())
    }

    /// Executions that were delivered more than once.
    pub fn duplicates(&self) -> Vec<(String, usize)> {
        self.endpoint.counts().into_iter().filter(|(_, count)| *count > 1).collect()
    }
}

async fn leave_politely(daemon: &mut Daemon) -> anyhow::Result<()> {
    if daemon.runs() {
        let status = daemon.leave().await?;
        anyhow::ensure!(status.success(), "{} left with {status}", daemon.name());
    }
    Ok(())
}

impl Builder {
    pub fn tenants(mut self, count: usize) -> Self {
        self.settings.tenants = (0..count).map(|_| Tenant::new()).collect();
        self
    }

    /// One more tenant, after the others.
    pub fn also(mut self, tenant: Tenant) -> Self {
        self.settings.tenants.push(tenant);
        self
    }

    /// The TOML lines of a route, for every tenant.
    pub fn route(mut self, workflow: &str, lines: &str) -> Self {
        self.settings.routes.push((workflow.to_owned(), lines.to_owned()));
        self
    }

    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Its daemons send their spans to the shared collector.
    pub fn traced(self) -> Self {
        let quoted = |name| format!("{:?}", crate::parts::shared(name));
        self.set("telemetry.otlp_endpoint", &quoted("BRIDGE_TEST_OTEL_COLLECTOR_GRPC"))
            .set("telemetry.jaeger_url", &quoted("BRIDGE_TEST_JAEGER_QUERY_URL"))
    }

    pub fn database(mut self, url: &str) -> Self {
        self.database_url = Some(url.to_owned());
        self
    }

    pub fn pulsar(mut self, pulsar: Pulsar) -> Self {
        self.pulsar = Some(pulsar);
        self
    }

    pub fn publisher_environment(mut self, name: &'static str, value: &str) -> Self {
        self.publisher_environment.push((name, value.to_owned()));
        self
    }

    /// `__OWN__` in the value stands for the first tenant.
    pub fn publisher_environment_of_tenant(self, name: &'static str, value: &str) -> Self {
        let value = value.replace("__OWN__", &self.settings.tenants[0].id);
        self.publisher_environment(name, &value)
    }

    pub fn consumer_environment(mut self, name: &'static str, value: &str) -> Self {
        self.consumer.get_or_insert_default().push((name, value.to_owned()));
        self
    }

    /// The publisher dies at this place.
    pub fn publisher_dies_at(self, place: &str) -> Self {
        self.publisher_environment("BRIDGE_FAILPOINT", place)
    }

    pub fn consumer_dies_at(self, place: &str) -> Self {
        self.consumer_environment("BRIDGE_FAILPOINT", place)
    }

    /// The daemons, and only they, reach Postgres through `World::proxy`.
    pub fn behind_proxy(mut self) -> Self {
        self.behind_proxy = true;
        self
    }

    /// The consumer is started by the test, later.
    pub fn without_consumer(mut self) -> Self {
        self.consumer = None;
        self
    }

    /// The publisher is started by the test, later.
    pub fn without_publisher(mut self) -> Self {
        self.starts_publisher = false;
        self
    }

    pub async fn start(self) -> anyhow::Result<World> {
        let directory = tempfile::Builder::new().prefix("bridge-world-").tempdir()?;
        let database_url = self.own_database().await?;
        let pulsar = self.pulsar.clone().unwrap_or_else(Pulsar::shared);
        let store = Store::open(StoreConfig::new(&database_url))?;
        store.migrate(Utc::now()).await?;
        let endpoint = Endpoint::start().await?;
        let (proxy, daemons_url) = if self.behind_proxy {
            let (proxy, url) = ChaosProxy::before(&database_url).await?;
            (Some(proxy), url)
        } else {
            (None, database_url.clone())
        };
        let places = Places {
            database_url: daemons_url,
            pulsar: pulsar.clone(),
            publisher_port: free_port(),
            consumer_port: free_port(),
            webhook_url: endpoint.url(),
            keyring_file: directory.path().join("keyring.toml").display().to_string(),
            master_keys_file: directory.path().join("master.keys").display().to_string(),
        };
        let keys = keyring("test-1");
        std::fs::write(&places.keyring_file, &keys)?;
        let master = master_keys("m1");
        std::fs::write(&places.master_keys_file, &master)?;
        let registrar = Registrar::new(store.clone(), &master)?;
        for tenant in &self.settings.tenants {
            registrar.tenant(tenant).await?;
        }
        for tenant in &self.settings.tenants {
            for (workflow, lines) in &self.settings.routes {
                registrar.route(&TenantId::parse(&tenant.id)?, workflow, lines).await?;
            }
        }
        let admin_token = registrar.admin().await?;
        std::fs::write(directory.path().join("bridge.toml"), self.settings.toml(&places))?;
        let publisher = Daemon::new(PUBLISHER, directory.path(), places.publisher_port, &pulsar);
        let consumer = Daemon::new(CONSUMER, directory.path(), places.consumer_port, &pulsar);
        let book = Book::default();
        let first = &self.settings.tenants[0];
        let mut world = World {
            api: Api::new(publisher.url(), &first.id, &first.token, book.clone()),
            tenants: self.settings.tenants,
            endpoint,
            publisher,
            consumer,
            broker: Broker::new(&pulsar)?,
            store,
            sql: Sql::new(database_url),
            keyring: Keyring::from_toml(&keys)?,
            pulsar,
            registrar,
            admin_token,
            proxy,
            book,
            directory,
            finished: false,
        };
        world.broker.provision(&world.tenant_ids()).await?;
        if self.starts_publisher {
            world.publisher.start(&borrowed(&self.publisher_environment))?;
        }
        if let Some(environment) = &self.consumer {
            world.consumer.start(&borrowed(environment))?;
            world.consumer.ready().await;
        }
        if self.starts_publisher {
            world.publisher.ready().await;
        }
        Ok(world)
    }

    async fn own_database(&self) -> anyhow::Result<String> {
        let shared = || crate::parts::shared("BRIDGE_TEST_DATABASE_URL");
        let server = Sql::new(self.database_url.clone().unwrap_or_else(shared));
        server.create_database(&crate::unique("bridge-test")).await
    }
}

pub fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// How much time a test gives to what must not happen.
pub const A_MOMENT: Duration = Duration::from_millis(600);

impl Drop for World {
    fn drop(&mut self) {
        if !self.finished {
            for daemon in [&self.publisher, &self.consumer] {
                eprintln!("--- {} said last:\n{}\n---", daemon.name(), daemon.log_tail(25));
            }
        }
    }
}
