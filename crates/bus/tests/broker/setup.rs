//! What every test needs: the broker's address, a tenant of its own, and waiting for a state.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bridge_bus::roles::{self, SigningKeyFile};
use bridge_bus::{
    Admin, BrokerAuth, BusConfig, Delivery, Outgoing, Producers, Subscriptions, Tls, TopicPlan,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub const SUBSCRIPTION: &str = "bridge-consumer";
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn required(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!("{name} is not set: this test needs a real Pulsar broker, run ./scripts/test"),
    }
}

/// As a superuser: what a role may do is the business of the tests in `access`.
pub fn config() -> BusConfig {
    BusConfig {
        service_url: required("BRIDGE_TEST_PULSAR_URL"),
        http_url: required("BRIDGE_TEST_PULSAR_HTTP"),
        auth: BrokerAuth::TokenFile(required("BRIDGE_TEST_PULSAR_ADMIN_TOKEN_FILE").into()),
        ..BusConfig::default()
    }
}

pub fn admin_as(auth: BrokerAuth) -> Admin {
    Admin::new(&config().http_url, auth, Tls::default(), PATIENCE).unwrap()
}

pub fn admin() -> Admin {
    admin_as(config().auth)
}

pub fn signing_key() -> SigningKeyFile {
    SigningKeyFile::read(required("BRIDGE_TEST_PULSAR_SECRET_KEY").as_ref()).unwrap()
}

/// A token of the role, good for `lasts` from now.
#[allow(clippy::disallowed_methods, reason = "the broker goes by the wall clock")]
pub fn token(role: &str, lasts: Option<Duration>) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = bridge_protocol::Time::from_timestamp_secs(now.as_secs() as i64).unwrap();
    roles::mint(role, &signing_key(), lasts, now).unwrap()
}

pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", RandomState::new().hash_one(prefix))
}

/// A tenant and namespace of the test's own.
pub struct Bench {
    pub admin: Admin,
    pub config: BusConfig,
    pub tenant: String,
    pub namespace: String,
    pub stop: CancellationToken,
}

impl Bench {
    pub async fn new() -> Self {
        let config = config();
        let admin = admin();
        let tenant = unique("bus");
        let namespace = format!("{tenant}/workflows");
        let clusters = admin.clusters().await.unwrap();
        admin.create_tenant(&tenant, &clusters).await.unwrap();
        admin.create_namespace(&namespace).await.unwrap();
        Self { admin, config, tenant, namespace, stop: CancellationToken::new() }
    }

    /// A plain topic with the consumers' subscription.
    pub async fn topic(&self, name: &str) -> String {
        let topic = format!("persistent://{}/{name}", self.namespace);
        self.admin.create_topic(&topic).await.unwrap();
        self.admin.create_subscription(&topic, SUBSCRIPTION).await.unwrap();
        topic
    }

    pub async fn producers(&self) -> Producers {
        let producers = Producers::start(self.config.clone(), self.stop.child_token());
        until("the producers to be up", || async { producers.is_up() }).await;
        producers
    }

    pub fn receive(&self, topics: &[&String], permits: usize) -> (Subscriptions, mpsc::Receiver<Delivery>) {
        let (sink, deliveries) = mpsc::channel(1024);
        let plans = topics.iter().map(|topic| TopicPlan { topic: topic.to_string(), permits }).collect();
        (Subscriptions::start(self.config.clone(), plans, sink, self.stop.child_token()), deliveries)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn message(body: impl Into<String>) -> Outgoing {
    Outgoing { body: body.into(), properties: vec![("execution_id".into(), "1".into())] }
}

/// Polls until it holds, or fails and says what did not happen.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn next(deliveries: &mut mpsc::Receiver<Delivery>) -> Delivery {
    tokio::time::timeout(PATIENCE, deliveries.recv())
        .await
        .expect("a delivery in time")
        .expect("an open sink")
}
