//! A bridge of one test's own on the shared parts: its database, its tenants and topics, its daemons.

use std::time::Duration;

use bridge_protocol::{Keyring, TenantId};
use bridge_store::{Store, StoreConfig};
use chrono::Utc;
use tempfile::TempDir;

use crate::api::{Api, Book, state_of};
use crate::broker::Broker;
use crate::chaos::ChaosProxy;
use crate::daemon::{Daemon, free_port};
use crate::endpoint::Endpoint;
use crate::parts::Shared;
use crate::settings::{Places, Settings, Tenant, keyring};
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
    /// Between the daemons and Postgres, when it was asked for.
    pub proxy: Option<ChaosProxy>,
    book: Book,
    directory: TempDir,
    finished: bool,
}

pub struct Builder {
    settings: Settings,
    database_url: Option<String>,
    pulsar: Option<(String, String)>,
    publisher_environment: Vec<(&'static str, String)>,
    consumer: Option<Vec<(&'static str, String)>>,
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

    /// The route of a workflow is active from the daemons' next start on.
    pub fn activate(&self, workflow: &str) -> anyhow::Result<()> {
        let file = self.directory.path().join("bridge.toml");
        let text = std::fs::read_to_string(&file)?;
        let held = format!("workflow = {workflow:?}\nis_active = false");
        anyhow::ensure!(text.contains(&held), "{workflow} is not held");
        Ok(std::fs::write(file, text.replace(&held, &format!("workflow = {workflow:?}\nis_active = true")))?)
    }

    /// A second daemon of the same configuration.
    pub fn another(&self, name: &'static str) -> (Daemon, Vec<(&'static str, String)>) {
        let port = free_port();
        let key = if name == "bridge-consumer" { "BRIDGE_CONSUMER__BIND" } else { "BRIDGE_PUBLISHER__BIND" };
        (Daemon::new(name, self.directory.path(), port), vec![(key, format!("127.0.0.1:{port}"))])
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
    pub async fn finish(mut self) -> anyhow::Result<()> {
        self.settle().await?;
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

    /// The TOML lines of a route, for every tenant.
    pub fn route(mut self, workflow: &str, lines: &str) -> Self {
        self.settings.routes.push((workflow.to_owned(), lines.to_owned()));
        self
    }

    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    pub fn database(mut self, url: &str) -> Self {
        self.database_url = Some(url.to_owned());
        self
    }

    pub fn pulsar(mut self, service_url: &str, http_url: &str) -> Self {
        self.pulsar = Some((service_url.to_owned(), http_url.to_owned()));
        self
    }

    /// The publisher dies at this place.
    pub fn publisher_dies_at(mut self, place: &str) -> Self {
        self.publisher_environment.push(("BRIDGE_FAILPOINT", place.to_owned()));
        self
    }

    pub fn consumer_dies_at(mut self, place: &str) -> Self {
        self.consumer.get_or_insert_default().push(("BRIDGE_FAILPOINT", place.to_owned()));
        self
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

    pub async fn start(self) -> anyhow::Result<World> {
        let directory = tempfile::Builder::new().prefix("bridge-world-").tempdir()?;
        let (database_url, pulsar_url, pulsar_http) = self.parts().await?;
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
            pulsar_url: pulsar_url.clone(),
            pulsar_http: pulsar_http.clone(),
            publisher_port: free_port(),
            consumer_port: free_port(),
            webhook_url: endpoint.url(),
            keyring_file: directory.path().join("keyring.toml").display().to_string(),
        };
        let keys = keyring("test-1");
        std::fs::write(&places.keyring_file, &keys)?;
        std::fs::write(directory.path().join("bridge.toml"), self.settings.toml(&places))?;
        let publisher = Daemon::new("bridge-publisher", directory.path(), places.publisher_port);
        let consumer = Daemon::new("bridge-consumer", directory.path(), places.consumer_port);
        let book = Book::default();
        let first = &self.settings.tenants[0];
        let mut world = World {
            api: Api::new(publisher.url(), &first.id, &first.token, book.clone()),
            tenants: self.settings.tenants,
            endpoint,
            publisher,
            consumer,
            broker: Broker::new(&pulsar_url, &pulsar_http)?,
            store,
            sql: Sql::new(database_url),
            keyring: Keyring::from_toml(&keys)?,
            proxy,
            book,
            directory,
            finished: false,
        };
        world.broker.provision(&world.tenant_ids()).await?;
        world.publisher.start(&borrowed(&self.publisher_environment))?;
        if let Some(environment) = &self.consumer {
            world.consumer.start(&borrowed(environment))?;
            world.consumer.ready().await;
        }
        world.publisher.ready().await;
        Ok(world)
    }

    async fn parts(&self) -> anyhow::Result<(String, String, String)> {
        let shared_database = || crate::parts::shared("BRIDGE_TEST_DATABASE_URL");
        let server = Sql::new(self.database_url.clone().unwrap_or_else(shared_database));
        let database_url = server.create_database(&crate::unique("bridge-test")).await?;
        let (pulsar_url, pulsar_http) = match &self.pulsar {
            Some(own) => own.clone(),
            None => {
                let shared = Shared::from_env();
                (shared.pulsar_url, shared.pulsar_http)
            }
        };
        Ok((database_url, pulsar_url, pulsar_http))
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
